//! The projector on a real Postgres, and its loop on a real nats-server.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "in a test a panic is the report"
)]

mod folding;
mod following;
mod history;
mod server;
