//! A submission becomes a run, or the record of its refusal.

use gatewright_schemas::{
    EventBody,
    event::{RunCreated, RunRejected},
};

use super::Undecided;
use crate::{Decided, RunState};

/// Creates the run.
pub fn admit(state: &RunState, created: RunCreated) -> Result<Decided, Undecided> {
    let mut decided = Decided::on(state);
    decided.push(EventBody::RunCreated(created))?;
    Ok(decided)
}

/// Records that a submission was not accepted, in a history of its own.
pub fn reject(state: &RunState, rejected: RunRejected) -> Result<Decided, Undecided> {
    let mut decided = Decided::on(state);
    decided.push(EventBody::RunRejected(rejected))?;
    Ok(decided)
}
