//! The contracts of the fleet, end to end, on real servers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod approvals;
mod contract_tool_policy;
mod contract_tool_runner;
mod crashes;
mod credentials;
mod dashboard;
mod egress;
mod external_agent;
mod foreign;
mod forgeries;
mod http;
mod http_approvals;
mod http_authority;
mod http_calls;
mod http_contract;
mod http_history;
mod operations;
mod orphans;
mod outages;
mod promises;
mod quotas;
mod refusals;
#[cfg(target_os = "linux")]
mod sandbox;
mod secrets;
mod submissions;
mod three_nodes;
mod traces;
mod twice;
mod zombies;

/// The program that the tests start where they need a process to kill.
const FLEET_ROLE: &str = env!("CARGO_BIN_EXE_fleet_role");
