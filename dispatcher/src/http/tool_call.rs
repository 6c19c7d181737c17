//! One tool call of an outside agent: asking for it, asking again with the approval that it needed, looking at it.
//!
//! It is recorded, gated and executed as every other; what is here waits for the events that say what came of it.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use gatewright_schemas::{
    ApprovalId, Command, KeyRole, ReasonCode, RunId, StepId, ToolCallId, ToolCallStatus,
    WorkspaceId,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Api,
    caller::Caller,
    outcome::{Outcome, Until},
    prefer,
    problem::Problem,
    request::{Body, created, existing, give, named, read},
};

/// A call as it is asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CallBody {
    /// The tool's name.
    #[schemars(length(min = 1, max = 200))]
    tool: String,
    /// Its input.
    #[serde(default = "nothing")]
    input: Value,
    /// `use_default` or `require_escalated`.
    #[serde(default)]
    #[schemars(length(max = 200))]
    sandbox_permissions: Option<String>,
    /// On whose authority, where that is not the run's own.
    #[serde(default)]
    policy: Value,
    /// The approval that this very call was told to wait for.
    #[serde(default)]
    approval_id: Option<String>,
}

/// The input of a call that states none.
fn nothing() -> Value {
    Value::Object(Map::new())
}

/// Asks for a call of an open step: the answer is its output, why it was not made, or the approval to wait for.
pub(super) async fn ask(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(step): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.must_be(KeyRole::Actor)?;
    let missing = || Problem::not_found("there is no such step");
    let (workspace, run, step) = step_of(&api, &caller, &step, missing).await?;
    let (wait, key) = (prefer::wait_of(&headers), prefer::key_of(&headers)?);
    let body: CallBody = read(body)?;
    let approved = match &body.approval_id {
        Some(approval) => Some(asked_before(&api, &workspace, &run, &step, approval).await?),
        None => None,
    };
    let command = Command::RequestToolCall {
        step_id: step,
        tool: body.tool,
        input: body.input,
        sandbox_permissions: body.sandbox_permissions,
        policy: body.policy,
        request_key: approved.clone().or(key),
    };
    let reply = give(&api, &caller, &workspace, &run, command).await?;
    let (_, _, call): (_, _, ToolCallId) = created(reply).map_err(|problem| {
        let is_other = problem.reason_code() == Some(ReasonCode::RequestKeyConflict);
        if approved.is_some() && is_other {
            let detail = "the approval is of another call: it holds for the very tool, input, sandbox and policy that were asked for";
            return Problem::refused(Some(ReasonCode::ApprovalInputMismatch), detail, Vec::new());
        }
        problem
    })?;
    // Whoever comes with an approval waits for the decision too.
    let until = if approved.is_some() {
        Until::Ended
    } else {
        Until::Answered
    };
    let outcome = api.outcome(&workspace, &run, &call, until, wait).await?;
    answer(outcome, wait)
}

/// A call, as far as it has come; `Prefer: wait=…` waits for its end.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(call): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Outcome>, Problem> {
    let missing = || Problem::not_found("there is no such tool call");
    let (step, _) = call.rsplit_once('.').ok_or_else(missing)?;
    let (workspace, run, _) = step_of(&api, &caller, step, missing).await?;
    let call: ToolCallId = call.parse().map_err(|_| missing())?;
    let is_said = headers.contains_key("prefer");
    let wait = if is_said {
        prefer::wait_of(&headers)
    } else {
        Duration::ZERO
    };
    let outcome = api
        .outcome(&workspace, &run, &call, Until::Ended, wait)
        .await?;
    match outcome.status {
        Some(_) => Ok(Json(outcome)),
        None => Err(missing()),
    }
}

/// The workspace, run and step that a step's id names, if the caller may see them; else `missing`.
async fn step_of(
    api: &Api,
    caller: &Caller,
    text: &str,
    missing: impl Fn() -> Problem,
) -> Result<(WorkspaceId, RunId, StepId), Problem> {
    let (step, workspace, run) = named::<StepId>(caller, text)?.ok_or_else(&missing)?;
    let number = text.split('.').skip(2);
    let is_step = number.clone().count() == 1
        && number
            .flat_map(str::bytes)
            .all(|byte| byte.is_ascii_digit());
    if !is_step {
        return Err(missing());
    }
    let (run, _) = existing(api, &workspace, run.as_str())
        .await
        .map_err(|problem| problem.unless_missing(missing))?;
    Ok((workspace, run, step))
}

/// The key of the request that an approval was asked for.
async fn asked_before(
    api: &Api,
    workspace: &WorkspaceId,
    run: &RunId,
    step: &StepId,
    approval: &str,
) -> Result<String, Problem> {
    let missing = || {
        let detail = "no call of this step asked for such an approval";
        Problem::refused(Some(ReasonCode::ApprovalNotFound), detail, Vec::new())
    };
    let approval: ApprovalId = approval.parse().map_err(|_| missing())?;
    let (call, _) = approval.as_str().rsplit_once('.').ok_or_else(missing)?;
    let call: ToolCallId = call.parse().map_err(|_| missing())?;
    let until = Until::Answered;
    let outcome = api
        .outcome(workspace, run, &call, until, Duration::ZERO)
        .await?;
    let is_of_step = outcome.step_id.as_ref() == Some(step);
    let has_asked = outcome.approval_id.as_ref() == Some(&approval);
    outcome
        .request_key
        .filter(|_| is_of_step && has_asked)
        .ok_or_else(missing)
}

/// Its output, why it failed, or 202 and where to look.
fn answer(outcome: Outcome, wait: Duration) -> Result<Response, Problem> {
    if let Some(problem) = outcome.problem() {
        return Err(problem);
    }
    let status = if outcome.status == Some(ToolCallStatus::Succeeded) {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let location = HeaderValue::from_str(&outcome.location());
    let applied = HeaderValue::from_str(&format!("wait={}", wait.as_secs()));
    let mut response = (status, Json(outcome)).into_response();
    let headers = response.headers_mut();
    if let (Ok(location), Ok(applied)) = (location, applied) {
        headers.insert(header::LOCATION, location);
        headers.insert("preference-applied", applied);
    }
    Ok(response)
}
