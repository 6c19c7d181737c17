//! What the worker promises, tool by tool.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

#[cfg(target_os = "linux")]
mod declared;
mod egress_address;
mod egress_limits;
mod egress_redirect;
mod egress_request;
mod egress_secrets;
mod egress_tls;
#[cfg(target_os = "linux")]
mod exec_command;
mod gate;
#[cfg(target_os = "linux")]
mod sandbox;
#[cfg(target_os = "linux")]
mod sandbox_attacks;
mod server;
mod tools;
