//! The gate from outside: what it answers, that it fails closed, and that nothing slips past it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test says what is wrong by failing"
)]

mod cases;
mod delegations;
mod documents;
mod explanations;
mod holes;
mod hosts;
mod matrix;
mod model;
mod permits;
mod properties;
mod redaction;
mod remembered;
mod replays;
mod scenes;
mod vault;
mod world;
