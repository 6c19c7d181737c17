//! The projector on a real Postgres, and its loop on a real nats-server.

mod folding;
mod history;
mod server;
