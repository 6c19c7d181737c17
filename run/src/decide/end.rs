//! The ends of a run that no call brings about.

use gatewright_schemas::{
    ErrorInfo, EventBody, EventType, ReasonCode, RunStatus, Stage, StepStatus, event::RunCancelled,
};

use super::{Turn, Undecided, recover::push_unknown};
use crate::{Decided, Impossible, RunState};

/// Ends a run that has nothing left to call; one of an outside agent waits for it again.
pub fn finish(state: &RunState, turn: Option<Turn>) -> Result<Decided, Undecided> {
    let progress = state.progress.as_ref().ok_or(Undecided::NotFound)?;
    if progress.status.is_terminal() {
        return Err(Undecided::Ended);
    }
    let mut decided = Decided::on(state);
    decided.begin(turn)?;
    decided.wind_up()?;
    let goes_on = |status: RunStatus| status.is_terminal() || status.is_parked();
    let has_ended = decided.state().status().is_some_and(goes_on);
    has_ended.then_some(decided).ok_or_else(|| {
        let completed = Impossible {
            event: EventType::RunCompleted,
            state: "has something left to call",
        };
        completed.into()
    })
}

/// Ends the run because somebody asked. A call that is under way ends as one whose outcome nobody knows.
pub fn cancel(state: &RunState, by: String, reason: Option<String>) -> Result<Decided, Undecided> {
    let mut decided = interrupted(state, "the run was cancelled while the tool was running")?;
    decided.close_open_step(StepStatus::Cancelled)?;
    decided.push(EventBody::RunCancelled(RunCancelled { reason, by }))?;
    Ok(decided)
}

/// Fails the run because its deadline has come.
pub fn expire(state: &RunState) -> Result<Decided, Undecided> {
    let mut decided = interrupted(state, "the run's deadline came while the tool was running")?;
    decided.fail(ErrorInfo::new(
        Stage::Lifecycle,
        ReasonCode::DeadlineExceeded,
        "the run did not end before its deadline",
    ))?;
    Ok(decided)
}

/// Fails the run because every worker that took it died on it. `limit` is how often that may happen.
pub fn exhaust(state: &RunState, turn: Option<Turn>, limit: u32) -> Result<Decided, Undecided> {
    let mut decided = Decided::on(state);
    decided.begin(turn)?;
    end_open_call(&mut decided, "every worker that made it died")?;
    decided.fail(ErrorInfo::new(
        Stage::Lifecycle,
        ReasonCode::AttemptsExhausted,
        format!("{limit} workers in a row died or hung at this point of the run"),
    ))?;
    Ok(decided)
}

fn interrupted(state: &RunState, why: &str) -> Result<Decided, Undecided> {
    let progress = state.progress.as_ref().ok_or(Undecided::NotFound)?;
    if progress.status.is_terminal() {
        return Err(Undecided::Ended);
    }
    let mut decided = Decided::on(state);
    end_open_call(&mut decided, why)?;
    Ok(decided)
}

fn end_open_call(decided: &mut Decided, why: &str) -> Result<(), Undecided> {
    match decided
        .state()
        .progress
        .as_ref()
        .and_then(|p| p.open_call.clone())
    {
        Some(open) => push_unknown(decided, &open, why),
        None => Ok(()),
    }
}
