//! A fleet on real servers, for the end-to-end contracts in `tests/all/`.
//!
//! - [`Fleetlet`] starts a private nats-server and Postgres and runs dispatchers, workers and projectors in this process.
//! - [`Role`](role::Role) is a dispatcher, worker or projector as a process of its own, which can be killed, paused and drained.
//! - [`Proxy`](proxy::Proxy) stands between a role and NATS: it counts what the role publishes, and kills it at a given message.
//! - [`Upstream`](upstream::Upstream) is a real HTTP server on loopback that counts what reaches it.
//! - [`Browser`](browser::Browser) is a headless browser that looks at the dashboard.
//! - [`audit`] reads the whole stream past the product's code and checks the promises over it.
//! - [`outside`] is how a program in another language sees the fleet: plain NATS, plain JSON.
//! - [`Intruder`](intruder::Intruder) has a role's credential and uses it for what it is not for.
//! - [`eventually`] is how tests wait.
//!
//! Everything here panics where something is not as it should be: that is what a test is for.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc
)]

pub mod audit;
pub mod browser;
pub mod collector;
pub mod contract;
pub mod credentials;
mod eventually;
mod fleetlet;
pub mod http;
mod inside;
pub mod intruder;
pub mod outside;
pub mod policy;
pub mod proxy;
pub mod role;
pub mod upstream;

pub use eventually::{eventually, holds_for};
pub use fleetlet::{Fleetlet, connect, run};
pub use inside::Inside;
