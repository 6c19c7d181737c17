//! What a run wants done now.

use gatewright_schemas::RunStatus;

use crate::{OpenCall, PlannedCall, RunState};

/// What a run wants done now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next<'a> {
    /// Nothing: it does not exist, has ended or is parked.
    Nothing,
    /// Ask the gate about this call, and make it if the gate allows.
    Call(&'a PlannedCall),
    /// An intent of an earlier attempt has no outcome: repeat the call if it may be repeated, else record that nobody knows.
    Recover(&'a PlannedCall, &'a OpenCall),
    /// Nothing is left to call: end it.
    Finish,
}

/// What `state` wants done now.
pub fn next(state: &RunState) -> Next<'_> {
    let Some(progress) = &state.progress else {
        return Next::Nothing;
    };
    match progress.status {
        RunStatus::WaitingApproval
        | RunStatus::WaitingActor
        | RunStatus::Succeeded
        | RunStatus::Failed
        | RunStatus::Cancelled
        | RunStatus::Rejected => return Next::Nothing,
        RunStatus::Queued | RunStatus::Running => {}
    }
    if progress.fatal.is_some() {
        return Next::Finish;
    }
    if let (Some(open), Some(call)) = (&progress.open_call, progress.current_call()) {
        return Next::Recover(call, open);
    }
    let this_step = progress.current_call();
    let later_steps = || {
        progress
            .plan
            .steps
            .iter()
            .skip(progress.step + 1)
            .find_map(|step| step.calls.first())
    };
    match this_step.or_else(later_steps) {
        Some(call) => Next::Call(call),
        None => Next::Finish,
    }
}
