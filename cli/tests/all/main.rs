//! The binary on real servers: what it prints, how it ends, what it leaves behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a test says what is wrong by failing, and a story is told from its beginning to its end"
)]

mod audit;
mod demo;
mod deployment;
mod dev;
mod doctor;
mod keys;
mod nats_config;
mod nats_tls;
mod operators;
mod replays;
mod roles;
mod runs;
mod settings;
mod support;
mod tools;
