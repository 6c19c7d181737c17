//! The private servers, with the real programs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod cluster;
mod nats;
mod orphans;
mod postgres;
mod support;
