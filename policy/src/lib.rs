//! The gate: may this tool call happen, and why?
//!
//! Start at [`authorize_tool_call`] (in `authorize.rs`): it gathers the facts, asks the thirteen checks of `checks/` in order,
//! weighs what they object to, and hands out a [`Permit`] when, and only when, nothing stops the call.
//! A tool's `execute` takes that permit by value, and nothing but this crate can make one.
//!
//! Pure: no I/O, no clock, no ids, no randomness, no panic on any input.
//! What is known of the world comes in as a [`Snapshot`]; the time and the quota's answer come in as arguments.
//! Not here: executing tools, reserving quotas, asking people, resolving names, following redirects.
//!
//! Read on in [`document`] for what platform teams write, in [`host`] for how hosts are told apart, in [`explain`] for
//! what `gatewright policy explain` shows.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")
)]

pub mod address;
pub mod approval;
mod authorize;
mod checks;
mod compiled;
pub mod context;
pub mod delegation;
pub mod document;
pub mod explain;
mod facts;
pub mod grant;
pub mod host;
mod name_set;
mod permit;
pub mod quota;
pub mod redact;
pub mod replay;
pub mod request;
pub mod snapshot;

pub use authorize::{
    Answer, EgressAnswer, authorize_egress, authorize_tool_call, egress_quota_needed,
    escalated_profile, quota_needed,
};
pub use compiled::CompiledPolicy;
pub use context::{InvalidContext, PolicyContext};
pub use delegation::{DelegationRefused, DelegationRequest, delegate};
pub use document::{DocumentFault, DocumentFaults, EscalatedProfile, PolicyDocument};
pub use explain::{
    CallExplanation, CheckReport, CheckResult, Explanation, RunExplanation, explain_egress,
    explain_tool_call,
};
pub use grant::{Grant, GrantState};
pub use host::{DomainPattern, Host};
pub use permit::{EgressPermit, Permit};
pub use quota::{Quota, QuotaAnswer, QuotaWindow};
pub use replay::Replay;
pub use request::{EgressRequest, ToolCallRequest, ToolFacts};
pub use snapshot::Snapshot;
