//! The `gatewright` binary: every role of a fleet, and every verb of its operators.
//!
//! - [`args`] is the command line; each noun has a file of its own.
//! - [`settings`] reads what is set on the command line, in the environment and in files, and tells all faults at once.
//! - [`out`] prints data to standard output, as tables, JSON or ids; [`exit`] says how a command ends.
//! - [`role`] is what the roles share.
//!
//! Not here: anything that speaks to NATS or Postgres itself (`bus`, `store`), any decision (`policy`), any step of a run (`run`).

pub mod approval;
pub mod args;
pub mod audit;
pub mod bench;
pub mod capability;
pub mod completions;
pub mod context;
pub mod demo;
pub mod dev;
pub mod dispatcher;
pub mod dlq;
pub mod doctor;
pub mod escape;
pub mod exit;
pub mod health;
pub mod input;
pub mod issue;
pub mod key;
pub mod logs;
mod metrics;
pub mod migrate;
pub mod nats_config;
pub mod out;
pub mod period;
pub mod policy;
pub mod principal;
pub mod private;
pub mod progress;
pub mod projector;
pub mod provision;
pub mod quota;
pub mod role;
pub mod run;
pub mod schema;
pub mod settings;
pub mod signal;
pub mod target;
pub mod tool;
pub mod worker;
