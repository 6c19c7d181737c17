//! The projector on a real Postgres, and its loop on a real nats-server.

mod folding;
mod following;
mod history;
mod server;
