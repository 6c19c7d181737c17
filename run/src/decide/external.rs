//! What an outside agent can do to its run: open a step, ask for a call, and say that it is done.

use gatewright_schemas::{
    Digest, ErrorInfo, EventBody, ReasonCode, RunStatus, Stage, StepId, StepStatus, ToolCallId,
    event::{RunCompleted, StepCreated, ToolRequested},
    submission::limit,
};
use serde_json::Value;

use super::Undecided;
use crate::{Decided, Progress, RunState};

/// A tool call as an outside agent asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRequest {
    /// The step that it believes to be open.
    pub step_id: StepId,
    /// The tool's name; white space around it is ignored.
    pub tool: String,
    /// The input, its secrets replaced by references.
    pub input: Value,
    /// The key under which it may ask again without a second call coming of it.
    pub request_key: String,
    /// The sandbox it asks for, as it was written.
    pub sandbox_permissions: Option<String>,
    /// On whose authority, where that is not the run's own.
    pub policy: Value,
    /// Under what digest its secrets are kept; none when it has none.
    pub secrets: Option<Digest>,
}

/// Opens a step, and closes the one before.
pub fn open_step(state: &RunState, title: Option<String>) -> Result<Decided, Undecided> {
    let progress = waiting(state)?;
    if progress.plan.steps.len() >= limit::EXTERNAL_STEPS {
        return Err(Undecided::TooLong);
    }
    let number = u32::try_from(progress.plan.steps.len() + 1).unwrap_or(u32::MAX);
    let mut decided = Decided::on(state);
    decided.close_open_step(StepStatus::Succeeded)?;
    decided.push(EventBody::StepCreated(StepCreated { number, title }))?;
    Ok(decided)
}

/// Records that the agent asks for a call; the run can then be woken. Answers with the call's id too.
pub fn request_call(
    state: &RunState,
    request: CallRequest,
) -> Result<(Decided, ToolCallId), Undecided> {
    let progress = waiting(state)?;
    let open = progress.step_id().filter(|_| progress.step_open);
    if open != Some(&request.step_id) {
        return Err(Undecided::StepNotOpen);
    }
    if progress.plan.calls().count() >= limit::EXTERNAL_CALLS {
        return Err(Undecided::TooLong);
    }
    let tool_call_id = progress.next_call_id().ok_or(Undecided::StepNotOpen)?;
    let mut decided = Decided::on(state);
    decided.push(EventBody::ToolRequested(ToolRequested {
        tool_call_id: tool_call_id.clone(),
        tool_name: request.tool.trim().to_owned(),
        input: request.input,
        request_key: request.request_key,
        sandbox_permissions: request.sandbox_permissions,
        policy: request.policy,
        secrets: request.secrets,
    }))?;
    Ok((decided, tool_call_id))
}

/// Ends the run: its agent is done, or gives up.
pub fn complete(
    state: &RunState,
    succeeded: bool,
    by: &str,
    reason: Option<String>,
) -> Result<Decided, Undecided> {
    let progress = waiting(state)?;
    let completed = RunCompleted {
        succeeded_calls: progress.succeeded_calls,
        failed_calls: progress.failed_calls,
    };
    let mut decided = Decided::on(state);
    if succeeded {
        decided.close_open_step(StepStatus::Succeeded)?;
        decided.push(EventBody::RunCompleted(completed))?;
    } else {
        let reason = reason.unwrap_or_else(|| format!("`{by}` gave the run up"));
        decided.fail(ErrorInfo::new(
            Stage::Lifecycle,
            ReasonCode::ActorGaveUp,
            reason,
        ))?;
    }
    Ok(decided)
}

/// The run, if it waits for its agent.
fn waiting(state: &RunState) -> Result<&Progress, Undecided> {
    let progress = state.progress.as_ref().ok_or(Undecided::NotFound)?;
    if progress.status.is_terminal() {
        return Err(Undecided::Ended);
    }
    if !progress.is_external() {
        return Err(Undecided::NotExternal);
    }
    if progress.status != RunStatus::WaitingActor {
        return Err(Undecided::Busy);
    }
    Ok(progress)
}
