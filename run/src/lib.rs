//! The run: an event-sourced state machine. Values in, values out.
//!
//! - [`RunState`] is the fold of a run's events. [`RunState::evolve`] is the one step of that fold, live and in replay alike.
//! - [`next`] says what a run wants done now.
//! - [`decide`] holds one function for each thing that can be done to a run; each answers with a [`Decided`]: the events of one commit.
//! - [`Decided::seal`] puts them into envelopes and joins them to the run's hash chain.
//!
//! Not here: any I/O, clock, id generator or randomness, and no decision whether a call may happen: that is `policy`'s.
//! `tool.invoked` can be written only with the [`Permit`](gatewright_policy::Permit) that `policy` gave for that very call.

mod apply;
pub mod decide;
mod decided;
mod grant;
mod next;
pub mod plan;
mod state;

pub use decided::{Decided, Sealed, Stamp};
pub use next::{Next, next};
pub use plan::{Plan, PlannedCall, PlannedStep, Request};
pub use state::{Fate, Impossible, OpenCall, Progress, RunState, Unevolved, Vote, Waiting};
