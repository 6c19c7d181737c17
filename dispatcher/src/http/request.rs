//! What handlers share: reading a request, giving a command, answering a page.

use std::{str::FromStr, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{
        Query,
        rejection::{BytesRejection, QueryRejection},
    },
    http::StatusCode,
};
use gatewright_schemas::{
    Command, CommandMessage, KeyRole, Reply, RunId, RunStatus, StoredCommit, WorkspaceId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Api, caller::Caller, problem::Problem};

/// How long a dispatcher's answer is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// Items of a page, where the caller does not say.
const PAGE: u32 = 50;
/// Items of a page at most.
pub(super) const MOST_PAGE: u32 = 500;

/// What a request's body is read as.
pub(super) type Body = Result<Bytes, BytesRejection>;

/// Which workspace is meant.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Where {
    pub(super) workspace: Option<WorkspaceId>,
}

/// A query, or what is wrong with it.
pub(super) type Asked<T> = Result<Query<T>, QueryRejection>;

/// Gives a command in the caller's name.
pub(super) async fn give(
    api: &Api,
    caller: &Caller,
    workspace: &WorkspaceId,
    run: &RunId,
    command: Command,
) -> Result<Reply, Problem> {
    let message = CommandMessage {
        issued_by: caller.name().to_owned(),
        command,
    };
    Ok(api
        .fleet
        .command(workspace, run, &message, PATIENCE)
        .await?)
}

/// Gives the command that `command` makes of the body, to the run of a path, if the caller has the role.
/// Answers with the workspace and the dispatcher's reply.
pub(super) async fn order<B: DeserializeOwned>(
    api: &Api,
    caller: &Caller,
    role: KeyRole,
    run: &str,
    query: Asked<Where>,
    body: Body,
    command: impl FnOnce(B) -> Command,
) -> Result<(WorkspaceId, Reply), Problem> {
    caller.must_be(role)?;
    let workspace = caller.workspace(asked(query)?.workspace)?;
    let command = command(read(body)?);
    let (run, _) = existing(api, &workspace, run).await?;
    let reply = give(api, caller, &workspace, &run, command).await?;
    Ok((workspace, reply))
}

/// What was accepted: the run, where it stands, what came into being.
pub(super) fn accepted(
    reply: Reply,
) -> Result<(RunId, Option<RunStatus>, Option<String>), Problem> {
    match reply {
        Reply::Accepted {
            run_id,
            status,
            created,
        } => Ok((run_id, status, created)),
        Reply::Refused {
            reason_code,
            reason,
            violations,
            ..
        } => Err(Problem::refused(reason_code, reason, violations)),
    }
}

/// The same, where something must have come into being.
pub(super) fn created<Id: FromStr>(
    reply: Reply,
) -> Result<(RunId, Option<RunStatus>, Id), Problem> {
    let (run_id, status, created) = accepted(reply)?;
    let created = created.and_then(|created| created.parse().ok());
    let created = created
        .ok_or_else(|| Problem::unavailable("the dispatcher did not name what came into being"))?;
    Ok((run_id, status, created))
}

/// The run of a path, and its last commit. The authority is a run of its own kind, and none of these.
pub(super) async fn existing(
    api: &Api,
    workspace: &WorkspaceId,
    run: &str,
) -> Result<(RunId, StoredCommit), Problem> {
    let missing = || {
        Problem::not_found(format!(
            "there is no such run in the workspace `{workspace}`"
        ))
    };
    let run: RunId = run.parse().map_err(|_| missing())?;
    if run == RunId::authority() {
        return Err(missing());
    }
    let last = api.fleet.last_commit(workspace, &run).await?;
    last.map(|last| (run, last)).ok_or_else(missing)
}

/// An id that begins with a workspace and a run, and both of them, if the caller may see that workspace; none when it is no such id.
pub(super) fn named<Id: FromStr>(
    caller: &Caller,
    text: &str,
) -> Result<Option<(Id, WorkspaceId, RunId)>, Problem> {
    let mut parts = text.split('.');
    let (Some(workspace), Some(run)) = (parts.next(), parts.next()) else {
        return Ok(None);
    };
    let (Ok(id), Ok(workspace), Ok(run)) = (text.parse(), workspace.parse(), run.parse()) else {
        return Ok(None);
    };
    Ok(Some((id, caller.workspace(Some(workspace))?, run)))
}

/// The query, or what is wrong with it.
pub(super) fn asked<T>(query: Asked<T>) -> Result<T, Problem> {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    Ok(query)
}

/// The body as JSON; none at all is an empty object.
pub(super) fn read<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let raw = bytes(body)?;
    let raw: &[u8] = if raw.is_empty() { b"{}" } else { &raw };
    serde_json::from_slice(raw).map_err(|error| {
        let problem = Problem::bad_request(format!("the body cannot be read: {error}"));
        match error.classify() {
            serde_json::error::Category::Data => {
                problem.with_status(StatusCode::UNPROCESSABLE_ENTITY)
            }
            _ => problem,
        }
    })
}

/// The body as it came.
pub(super) fn bytes(body: Body) -> Result<Bytes, Problem> {
    body.map_err(|error| Problem::new(error.status(), error.body_text()))
}

/// How many items a page is to have.
pub(super) fn limit_of(wanted: Option<u32>) -> Result<u32, Problem> {
    match wanted.unwrap_or(PAGE) {
        limit @ 1..=MOST_PAGE => Ok(limit),
        _ => Err(Problem::bad_request(format!(
            "limit: from 1 to {MOST_PAGE}"
        ))),
    }
}

/// A page of a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Page<T> {
    /// Its items, in the order of the list.
    pub(super) items: Vec<T>,
    /// The `after` of the next page; absent at the end.
    pub(super) next: Option<String>,
}

/// A page of a list, and the cursor to go on behind it: `cursor` of its last item, where there may be more.
pub(super) fn page<T>(items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Json<Page<T>> {
    let is_full = u32::try_from(items.len()) == Ok(limit);
    let next = items.last().filter(|_| is_full).map(cursor);
    Json(Page { items, next })
}
