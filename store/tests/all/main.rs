//! The tables on a real Postgres: migrations, what is refused, what dashboards see, and the tables beside the stream.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the report"
)]

mod aside;
mod asked;
mod dashboards;
mod grafana;
mod migrations;
mod old_server;
mod plans;
mod seed;
mod server;
mod writing;
