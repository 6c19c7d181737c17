//! A submission becomes a run, or the record of its refusal.

use gatewright_schemas::{
    EventBody,
    event::{RunCreated, RunRejected, RunSuspended, WaitingFor},
};

use super::Undecided;
use crate::{Decided, Progress, RunState};

/// Creates the run. One of an outside agent waits for it from the beginning.
pub fn admit(state: &RunState, created: RunCreated) -> Result<Decided, Undecided> {
    let mut decided = Decided::on(state);
    decided.push(EventBody::RunCreated(created))?;
    let progress = decided.state().progress.as_ref();
    if progress.is_some_and(Progress::is_external) {
        let waiting_for = WaitingFor::Actor;
        decided.push(EventBody::RunSuspended(RunSuspended { waiting_for }))?;
    }
    Ok(decided)
}

/// Records that a submission was not accepted, in a history of its own.
pub fn reject(state: &RunState, rejected: RunRejected) -> Result<Decided, Undecided> {
    let mut decided = Decided::on(state);
    decided.push(EventBody::RunRejected(rejected))?;
    Ok(decided)
}
