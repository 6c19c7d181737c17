//! Runs of outside agents over HTTP: opening a step, and saying that the run is done. Its calls are in [`super::tool_call`].

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use gatewright_schemas::{Command, KeyRole, RunId, RunStatus, StepId, WorkspaceId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Api,
    caller::Caller,
    prefer,
    problem::Problem,
    request::{Asked, Body, Where, asked, created, existing, give, order, read},
    run::answer,
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

/// A step that is open.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct StepOpened {
    workspace_id: WorkspaceId,
    run_id: RunId,
    step_id: StepId,
    /// Where its run stands.
    run_status: Option<RunStatus>,
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
    let (run_id, run_status, step_id) = created(reply)?;
    let opened = StepOpened {
        workspace_id: workspace,
        run_id,
        step_id,
        run_status,
    };
    Ok((StatusCode::CREATED, Json(opened)).into_response())
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
    answer(&workspace, reply, StatusCode::OK)
}
