//! The run from outside: what each decision appends, which events can follow on which state, and what holds of every history.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod admission;
mod approvals;
mod bodies;
mod calls;
mod endings;
mod external;
mod folding;
mod matrix;
mod model;
mod properties;
mod recovery;
mod steps;
mod world;
