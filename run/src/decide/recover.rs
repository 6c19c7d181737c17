//! A call whose outcome nobody knows: its intent is recorded, its outcome is not, and it may not be repeated.

use gatewright_schemas::{
    Decision, ErrorInfo, EventBody, OnUnknownOutcome, ReasonCode, Stage, Timestamp,
    event::{ApprovalQuestion, ApprovalRequested, ToolFailed},
};

use super::{Turn, Undecided, approval::push_request};
use crate::{Decided, OpenCall, PlannedCall, RunState};

/// Records that nobody knows whether the open call took effect. The run fails, goes on or asks a person, as it wished.
///
/// `why` is told to people; `ask_until` is when such a question lapses; `events` are recorded before.
pub fn lose(
    state: &RunState,
    turn: Option<Turn>,
    call: &PlannedCall,
    open: &OpenCall,
    events: Vec<EventBody>,
    why: &str,
    ask_until: Timestamp,
) -> Result<Decided, Undecided> {
    let progress = state.progress.as_ref().ok_or(Undecided::NotFound)?;
    let asks =
        progress.created.submission.input.runtime.on_unknown_outcome == OnUnknownOutcome::AskHuman;
    let request = ApprovalRequested {
        approval_id: progress.next_approval_id(&call.tool_call_id),
        question: ApprovalQuestion::GoOnAfterUnknownOutcome,
        tool_call_id: call.tool_call_id.clone(),
        tool_name: open.tool_name.clone(),
        definition_digest: open.definition_digest.clone(),
        input: open.shown_input.clone(),
        input_digest: open.input_digest.clone(),
        principal_id: progress
            .context
            .as_ref()
            .ok()
            .and_then(|c| c.principal_id.clone()),
        decision: None,
        sandbox_profile: None,
        expires_at: ask_until,
    };
    let mut decided = Decided::on(state);
    decided.begin(turn)?;
    for body in events {
        decided.push(body)?;
    }
    push_unknown(&mut decided, open, why)?;
    if asks {
        push_request(&mut decided, request)?;
    } else {
        decided.wind_up()?;
    }
    Ok(decided)
}

/// Ends the open call as one whose outcome nobody knows.
pub(super) fn push_unknown(
    decided: &mut Decided,
    open: &OpenCall,
    why: &str,
) -> Result<(), Undecided> {
    let reason = format!("nobody knows whether the call took effect: {why}");
    let error = ErrorInfo {
        decision: Some(Decision::Allow),
        ..ErrorInfo::new(Stage::Recovery, ReasonCode::OutcomeUnknown, reason)
    };
    decided.push(EventBody::ToolFailed(ToolFailed {
        tool_call_id: open.tool_call_id.clone(),
        tool_name: open.tool_name.clone(),
        error: error.of_tool(&open.tool_name),
        executions: open.intents,
        duration_us: 0,
    }))?;
    Ok(())
}
