//! A call whose outcome nobody knows: its intent is recorded, its outcome is not, and it may not be repeated.

use gatewright_schemas::{
    Decision, ErrorInfo, EventBody, OnUnknownOutcome, ReasonCode, Stage,
    event::{ApprovalQuestion, ApprovalRequested, Likeness, ToolFailed},
};

use super::{Terms, Turn, Undecided, approval::push_request};
use crate::{Decided, OpenCall, PlannedCall, RunState};

/// Records that nobody knows whether the open call took effect. The run fails, goes on or asks a person, as it wished.
///
/// `why` is told to people; `terms` are those of such a question; `events` are recorded before.
pub fn lose(
    state: &RunState,
    turn: Option<Turn>,
    call: &PlannedCall,
    open: &OpenCall,
    events: Vec<EventBody>,
    why: &str,
    terms: Terms,
) -> Result<Decided, Undecided> {
    let progress = state.progress.as_ref().ok_or(Undecided::NotFound)?;
    let asks =
        progress.created.submission.input.runtime.on_unknown_outcome == OnUnknownOutcome::AskHuman;
    let context = progress.context_of(call).as_ref().ok();
    let request = ApprovalRequested {
        approval_id: progress.next_approval_id(&call.tool_call_id),
        question: ApprovalQuestion::GoOnAfterUnknownOutcome,
        tool_call_id: call.tool_call_id.clone(),
        tool_name: open.tool_name.clone(),
        definition_digest: open.definition_digest.clone(),
        input: open.shown_input.clone(),
        input_digest: open.input_digest.clone(),
        principal_id: context.and_then(|context| context.principal_id.clone()),
        asked_by: context.map(|context| context.actor.clone()),
        hosts: Vec::new(),
        effect: None,
        sandbox_permissions: call.sandbox_permissions.clone(),
        decision: None,
        sandbox_profile: None,
        likeness: Likeness::Input,
        approvers: terms.approvers,
        expires_at: terms.until,
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
