//! A run asks a person, parks, and goes on or fails with the answer.

use gatewright_schemas::{
    ApprovalId, ErrorInfo, EventBody, ReasonCode, Stage,
    event::{
        ApprovalDecided, ApprovalExpired, ApprovalQuestion, ApprovalRequested, RunSuspended,
        ToolFailed, WaitingFor,
    },
};

use super::{
    Asked, Turn, Undecided,
    call::{intents, push_refusals},
};
use crate::{Decided, PlannedCall, RunState};

/// Asks for an approval of `call` and parks the run.
pub fn park_for_approval(
    state: &RunState,
    turn: Option<Turn>,
    call: &PlannedCall,
    asked: &[Asked],
    request: ApprovalRequested,
) -> Result<Decided, Undecided> {
    let mut decided = Decided::on(state);
    decided.begin(turn)?;
    decided.open_step()?;
    push_refusals(&mut decided, call, asked)?;
    push_request(&mut decided, request)?;
    Ok(decided)
}

pub(super) fn push_request(
    decided: &mut Decided,
    request: ApprovalRequested,
) -> Result<(), Undecided> {
    let waiting_for = WaitingFor::Approval {
        approval_id: request.approval_id.clone(),
        expires_at: request.expires_at,
    };
    decided.push(EventBody::ApprovalRequested(request))?;
    decided.push(EventBody::RunSuspended(RunSuspended { waiting_for }))?;
    Ok(())
}

/// Who answered an approval, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A person decided.
    Decided {
        /// Yes or no.
        approved: bool,
        /// Who.
        by: String,
        /// Why, for a person.
        reason: Option<String>,
    },
    /// Nobody did, in time.
    Expired,
}

/// Records the answer. With a yes the run can be woken; with a no, or none in time, the call and the run fail.
pub fn answer_approval(
    state: &RunState,
    approval_id: &ApprovalId,
    verdict: Verdict,
) -> Result<Decided, Undecided> {
    let progress = state.progress.as_ref().ok_or(Undecided::NotFound)?;
    if progress.status.is_terminal() {
        return Err(Undecided::Ended);
    }
    let request = match &progress.waiting {
        Some(waiting)
            if waiting.approved.is_none() && waiting.request.approval_id == *approval_id =>
        {
            waiting.request.clone()
        }
        _ => return Err(Undecided::NotWaiting),
    };
    let approval_id = approval_id.clone();
    let mut decided = Decided::on(state);
    let refusal = match verdict {
        Verdict::Decided {
            approved,
            by,
            reason,
        } => {
            let refusal = (!approved).then(|| {
                let because = reason
                    .as_deref()
                    .map(|r| format!(": {r}"))
                    .unwrap_or_default();
                (
                    ReasonCode::ApprovalDenied,
                    format!("`{by}` denied the approval{because}"),
                )
            });
            decided.push(EventBody::ApprovalDecided(ApprovalDecided {
                approval_id,
                approved,
                by,
                reason,
            }))?;
            refusal
        }
        Verdict::Expired => {
            decided.push(EventBody::ApprovalExpired(ApprovalExpired { approval_id }))?;
            Some((
                ReasonCode::ApprovalExpired,
                "nobody decided in time".to_owned(),
            ))
        }
    };
    let Some((code, reason)) = refusal else {
        return Ok(decided);
    };
    let error = |stage| ErrorInfo::new(stage, code, reason).of_tool(&request.tool_name);
    match request.question {
        ApprovalQuestion::MakeTheCall => {
            let error = ErrorInfo {
                blocked: true,
                ..error(Stage::ToolPolicy)
            };
            decided.push(EventBody::ToolFailed(ToolFailed {
                tool_call_id: request.tool_call_id,
                tool_name: request.tool_name,
                error: error.clone(),
                executions: intents(state),
                duration_us: 0,
            }))?;
            decided.fail(error)?;
        }
        // The call was recorded as failed when the question was asked; with leave to go on that alone is no reason to fail.
        ApprovalQuestion::GoOnAfterUnknownOutcome => {
            let lost = progress.fatal.clone();
            decided.fail(lost.unwrap_or_else(|| error(Stage::Recovery)))?;
        }
    }
    Ok(decided)
}
