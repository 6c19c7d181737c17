//! Runs over HTTP: submitting, looking at, cancelling and retrying them.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use gatewright_schemas::{Command, KeyRole, Lane, Reply, RunId, RunStatus, WorkspaceId, Zone};
use gatewright_store::run::{self, Filter, Run};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Api,
    caller::Caller,
    problem::Problem,
    request::{
        Asked, Body, MOST_PAGE, PATIENCE, Page, Where, accepted, asked, bytes, existing, limit_of,
        order, page,
    },
};

/// Which runs are listed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    workspace: Option<WorkspaceId>,
    /// Words separated by commas; none are all.
    #[schemars(regex(
        pattern = r"^((queued|running|waiting_approval|waiting_actor|succeeded|failed|cancelled|rejected)(,(queued|running|waiting_approval|waiting_actor|succeeded|failed|cancelled|rejected))*)?$"
    ))]
    status: Option<String>,
    zone: Option<Zone>,
    lane: Option<Lane>,
    after: Option<i64>,
    #[schemars(range(min = 1, max = MOST_PAGE))]
    limit: Option<u32>,
}

/// How many runs are looked through for those of a zone or lane, before the page is cut.
const MOST_SEARCHED: u32 = 5_000;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelBody {
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryBody {
    #[serde(default)]
    new_run_id: Option<RunId>,
}

/// Submits a run: 201 when it is new, 200 when it was there.
pub(super) async fn submit(
    State(api): State<Arc<Api>>,
    caller: Caller,
    query: Asked<Where>,
    body: Body,
) -> Result<Response, Problem> {
    caller.must_be(KeyRole::Submitter)?;
    let workspace = caller.workspace(asked(query)?.workspace)?;
    let raw = bytes(body)?;
    // What is no JSON goes on as it is: the fleet says what is wrong with it, and keeps it.
    let run: Option<Value> = serde_json::from_slice(&raw).ok();
    let id = run.as_ref().and_then(|run| run.get("run_id")?.as_str());
    let was_there = match id.and_then(|id| id.parse::<RunId>().ok()) {
        Some(id) => api.fleet.last_commit(&workspace, &id).await?.is_some(),
        None => false,
    };
    let payload = match run {
        Some(mut run) => {
            name_actor(&mut run, caller.name());
            run.to_string().into_bytes()
        }
        None => raw.to_vec(),
    };
    let reply = api.fleet.submit(&workspace, payload, PATIENCE).await?;
    let status = if was_there {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    answer(&workspace, reply, status)
}

/// Where a submission names no actor, the key acts: so whoever submitted the run is known when somebody is to approve its calls.
fn name_actor(run: &mut Value, name: &str) {
    let Some(run) = run.as_object_mut() else {
        return;
    };
    let mut below = run;
    for field in ["input", "runtime", "policy"] {
        let next = below.entry(field).or_insert_with(|| json!({}));
        if field == "policy" && next.is_null() {
            *next = json!({});
        }
        // What is no object is for the fleet to refuse.
        let Some(next) = next.as_object_mut() else {
            return;
        };
        below = next;
    }
    let is_said = |field: &str| below.get(field).is_some_and(|value| !value.is_null());
    if !is_said("actor_type") && !is_said("actor_id") {
        below.insert("actor_type".into(), "service".into());
        below.insert("actor_id".into(), name.into());
    }
}

/// A page of runs, the youngest first, from the read tables.
///
/// A page of one zone or lane may hold fewer than there are, and name a `next`: the search goes on there.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    query: Asked<Listed>,
) -> Result<Json<Page<Run>>, Problem> {
    let query = asked(query)?;
    let words = query.status.as_deref().filter(|words| !words.is_empty());
    let words = words.into_iter().flat_map(|words| words.split(','));
    let statuses: Result<Vec<RunStatus>, _> = words.map(str::parse).collect();
    let limit = limit_of(query.limit)?;
    let mut filter = Filter {
        workspace: caller.workspace_or_all(query.workspace)?,
        statuses: statuses.map_err(|error| Problem::bad_request(format!("status: {error}")))?,
        zone: query.zone,
        lane: query.lane,
        before: query.after,
        from: 0,
        limit,
    };
    let tables = api.tables()?;
    let mut reached = None;
    if filter.zone.is_some() || filter.lane.is_some() {
        reached = run::reach(tables, &filter, MOST_SEARCHED).await?;
        filter.from = reached.unwrap_or(0);
    }
    let runs = run::list(tables, &filter).await?;
    let Json(mut found) = page(runs, limit, |run| run.created_sequence.to_string());
    found.next = found.next.or(reached.map(|reached| reached.to_string()));
    Ok(Json(found))
}

/// A run as it is shown.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "RunShown")]
pub(super) enum Shown {
    /// All that is known of it.
    Whole(Box<Run>),
    /// Where it stands, while the read tables do not have it yet.
    Brief {
        workspace_id: WorkspaceId,
        run_id: RunId,
        status: Option<RunStatus>,
        /// The sequence of its last commit.
        last_sequence: u64,
    },
}

/// A run: where it stands as the stream says, and all else as the read tables have it by now.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(run): Path<String>,
    query: Asked<Where>,
) -> Result<Json<Shown>, Problem> {
    let workspace = caller.workspace(asked(query)?.workspace)?;
    let (run, last) = existing(&api, &workspace, &run).await?;
    let row = match api.options.store.get() {
        Some(store) => run::show(store, &workspace, &run).await?,
        None => None,
    };
    Ok(Json(match row {
        Some(mut row) => {
            if let Some(status) = last.status {
                status.as_str().clone_into(&mut row.status);
            }
            row.last_sequence = i64::try_from(last.sequence).unwrap_or(i64::MAX);
            Shown::Whole(Box::new(row))
        }
        None => Shown::Brief {
            workspace_id: workspace,
            run_id: run,
            status: last.status,
            last_sequence: last.sequence,
        },
    }))
}

/// Ends a run now.
pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(run): Path<String>,
    query: Asked<Where>,
    body: Body,
) -> Result<Response, Problem> {
    let cancel = |CancelBody { reason }| Command::Cancel { reason };
    let submitter = KeyRole::Submitter;
    let (workspace, reply) = order(&api, &caller, submitter, &run, query, body, cancel).await?;
    answer(&workspace, reply, StatusCode::OK)
}

/// Begins a failed or cancelled run anew, under a new id.
pub(super) async fn retry(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(run): Path<String>,
    query: Asked<Where>,
    body: Body,
) -> Result<Response, Problem> {
    let retry = |RetryBody { new_run_id }| Command::Retry { new_run_id };
    let submitter = KeyRole::Submitter;
    let (workspace, reply) = order(&api, &caller, submitter, &run, query, body, retry).await?;
    answer(&workspace, reply, StatusCode::CREATED)
}

/// A run that was submitted, ended or begun anew.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Answer {
    workspace_id: WorkspaceId,
    run_id: RunId,
    /// Where it stands.
    status: Option<RunStatus>,
    /// The new run, where one was begun anew.
    created: Option<String>,
}

/// The dispatcher's answer; a refusal is a problem.
pub(super) fn answer(
    workspace: &WorkspaceId,
    reply: Reply,
    ok: StatusCode,
) -> Result<Response, Problem> {
    let (run_id, status, created) = accepted(reply)?;
    let answer = Answer {
        workspace_id: workspace.clone(),
        run_id,
        status,
        created,
    };
    Ok((ok, Json(answer)).into_response())
}
