//! The tables on a real Postgres: migrations, what is refused, what dashboards see, and the tables beside the stream.

mod aside;
mod dashboards;
mod migrations;
mod server;
mod writing;
