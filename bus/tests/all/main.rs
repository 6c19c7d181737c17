//! The bus against a real nats-server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod append;
mod authority;
mod layout;
mod queue;
mod quota;
mod quota_ledger;
mod quota_outages;
mod service;
mod support;
mod vault;
