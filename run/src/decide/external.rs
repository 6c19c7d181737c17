//! What an outside agent can do to its run: open a step, ask for a call, and say that it is done.

use gatewright_schemas::{
    Digest, ErrorInfo, EventBody, ReasonCode, RunStatus, Stage, StepId, StepStatus, ToolCallId,
    event::{StepCreated, ToolRequested},
    submission::limit,
};
use serde_json::Value;

use super::Undecided;
use crate::{Decided, PlannedCall, PlannedStep, Progress, RunState};

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

/// What comes of an agent's request for something that gets an `Id`.
#[derive(Debug)]
pub enum Requested<Id> {
    /// It is decided now, and can be appended.
    Now(Box<Decided>, Id),
    /// It was asked for before, under the same key.
    Before(Id),
}

/// Opens a step, and closes the one before.
pub fn open_step(
    state: &RunState,
    title: Option<String>,
    request_key: String,
) -> Result<Requested<StepId>, Undecided> {
    let progress = external(state)?;
    if let Some(step) = progress.step_of_request(&request_key) {
        return if step.title == title {
            Ok(Requested::Before(step.step_id.clone()))
        } else {
            Err(Undecided::KeyTaken)
        };
    }
    let progress = waiting(state)?;
    let number = progress.plan.steps.len() + 1;
    if number > limit::EXTERNAL_STEPS {
        return Err(Undecided::TooLong);
    }
    let step_id = StepId::of(&state.workspace_id, &state.run_id, number);
    let mut decided = Decided::on(state);
    decided.close_open_step(StepStatus::Succeeded)?;
    decided.push(EventBody::StepCreated(StepCreated {
        number: u32::try_from(number).unwrap_or(u32::MAX),
        title,
        request_key: Some(request_key),
    }))?;
    Ok(Requested::Now(Box::new(decided), step_id))
}

/// Records that the agent asks for a call; the run can then be woken.
pub fn request_call(
    state: &RunState,
    request: CallRequest,
) -> Result<Requested<ToolCallId>, Undecided> {
    let progress = external(state)?;
    if let Some((step, call)) = progress.call_of_request(&request.request_key) {
        return if is_same(&request, step, call) {
            Ok(Requested::Before(call.tool_call_id.clone()))
        } else {
            Err(Undecided::KeyTaken)
        };
    }
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
    Ok(Requested::Now(Box::new(decided), tool_call_id))
}

/// Whether the request asks for what the call is. Secrets are not compared: they are not kept once the call is over.
fn is_same(request: &CallRequest, step: &PlannedStep, call: &PlannedCall) -> bool {
    let policy = call.request.as_ref().map(|r| &r.policy);
    request.step_id == step.step_id
        && request.tool.trim() == call.tool_name
        && request.input == call.input
        && request.sandbox_permissions == call.sandbox_permissions
        && Some(&request.policy) == policy
}

/// Ends the run: its agent is done, or gives up.
pub fn complete(
    state: &RunState,
    succeeded: bool,
    by: &str,
    reason: Option<String>,
) -> Result<Decided, Undecided> {
    waiting(state)?;
    let mut decided = Decided::on(state);
    if succeeded {
        decided.close_open_step(StepStatus::Succeeded)?;
        decided.complete()?;
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

/// The run, if it is an outside agent's.
fn external(state: &RunState) -> Result<&Progress, Undecided> {
    let progress = state.progress.as_ref().ok_or(Undecided::NotFound)?;
    if progress.is_external() {
        Ok(progress)
    } else if progress.status.is_terminal() {
        Err(Undecided::Ended)
    } else {
        Err(Undecided::NotExternal)
    }
}

/// The run, if it waits for its agent.
fn waiting(state: &RunState) -> Result<&Progress, Undecided> {
    let progress = external(state)?;
    if progress.status.is_terminal() {
        return Err(Undecided::Ended);
    }
    if progress.status != RunStatus::WaitingActor {
        return Err(Undecided::Busy);
    }
    Ok(progress)
}
