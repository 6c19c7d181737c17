//! The wire contract from outside: schemas, samples, limits, and that what is written reads back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

#[path = "../../examples/generate/catalog.rs"]
mod catalog;
mod commands;
mod events;
mod files;
mod limits;
mod messages;
mod round_trips;
mod schema_files;
mod submissions;
