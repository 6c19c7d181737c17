//! Runs of outside agents over HTTP: opening a step, and saying that the run is done. Its calls are in [`super::tool_call`].

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use gatewright_schemas::{Command, KeyRole};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{
    Api,
    caller::Caller,
    prefer,
    problem::Problem,
    request::{Asked, Body, Where, accepted, asked, existing, give, order, read},
};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StepBody {
    /// What people call it.
    #[serde(default)]
    #[schemars(length(max = 200))]
    title: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CompleteBody {
    /// Whether the agent did what it was to do.
    #[serde(default = "yes")]
    succeeded: bool,
    /// Why, for a person.
    #[serde(default)]
    #[schemars(length(max = 2000))]
    reason: Option<String>,
}

fn yes() -> bool {
    true
}

/// Opens a step; one that was open is closed. Asked again under the same key, it answers with the step there is.
pub(super) async fn open_step(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(run): Path<String>,
    query: Asked<Where>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.must_be(KeyRole::Actor)?;
    let workspace = caller.workspace(asked(query)?.workspace)?;
    let request_key = prefer::key_of(&headers)?;
    let StepBody { title } = read(body)?;
    let (run, _) = existing(&api, &workspace, &run).await?;
    let command = Command::OpenStep { title, request_key };
    let reply = give(&api, &caller, &workspace, &run, command).await?;
    let (run_id, status, step_id) = accepted(reply)?;
    let body = json!({
        "workspace_id": workspace, "run_id": run_id, "step_id": step_id, "run_status": status,
    });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Ends the run: its agent is done, or gives up.
pub(super) async fn complete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(run): Path<String>,
    query: Asked<Where>,
    body: Body,
) -> Result<Response, Problem> {
    let complete = |CompleteBody { succeeded, reason }| Command::CompleteRun { succeeded, reason };
    let actor = KeyRole::Actor;
    let (workspace, reply) = order(&api, &caller, actor, &run, query, body, complete).await?;
    let (run_id, status, _) = accepted(reply)?;
    let body = json!({ "workspace_id": workspace, "run_id": run_id, "status": status });
    Ok(Json(body).into_response())
}
