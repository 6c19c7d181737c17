//! What a run is made of, from the read tables: its steps, its tool calls, and what the gate said of them.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use gatewright_schemas::{RunId, WorkspaceId};
use gatewright_store::{
    decision::{self, Decision},
    step::{self, Step},
    tool_call::{self, ToolCall},
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Api,
    caller::Caller,
    problem::Problem,
    request::{Asked, MOST_PAGE, Page, asked, existing, limit_of, page},
};

/// Which of them are listed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    workspace: Option<WorkspaceId>,
    /// The `next` of the page before.
    after: Option<String>,
    #[schemars(range(min = 1, max = MOST_PAGE))]
    limit: Option<u32>,
}

/// Whose parts, behind what, and how many.
struct Wanted {
    workspace: WorkspaceId,
    run: RunId,
    after: Option<String>,
    limit: u32,
}

async fn wanted(
    api: &Api,
    caller: &Caller,
    run: &str,
    query: Asked<Listed>,
) -> Result<Wanted, Problem> {
    let query = asked(query)?;
    let workspace = caller.workspace(query.workspace)?;
    let (run, _) = existing(api, &workspace, run).await?;
    Ok(Wanted {
        workspace,
        run,
        after: query.after,
        limit: limit_of(query.limit)?,
    })
}

impl Wanted {
    /// The cursor, read by `read`; `first` where there is none.
    fn after<T>(&self, first: T, read: impl Fn(&str) -> Option<T>) -> Result<T, Problem> {
        let bad = || Problem::bad_request("after: the `next` of a page, as it stands there");
        match &self.after {
            Some(text) => read(text).ok_or_else(bad),
            None => Ok(first),
        }
    }
}

/// A page of the run's steps, in order.
pub(super) async fn steps(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(run): Path<String>,
    query: Asked<Listed>,
) -> Result<Json<Page<Step>>, Problem> {
    let wanted = wanted(&api, &caller, &run, query).await?;
    let after = wanted.after(0, |text| text.parse().ok())?;
    let limit = wanted.limit;
    let found = step::of_run(api.tables()?, &wanted.workspace, &wanted.run, after, limit).await?;
    Ok(page(found, limit, |step| step.number.to_string()))
}

/// A page of the run's tool calls, in order, with their inputs and outputs.
pub(super) async fn tool_calls(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(run): Path<String>,
    query: Asked<Listed>,
) -> Result<Json<Page<ToolCall>>, Problem> {
    let wanted = wanted(&api, &caller, &run, query).await?;
    let after = wanted.after((0, 0), |text| {
        let (step, call) = text.split_once('.')?;
        Some((step.parse().ok()?, call.parse().ok()?))
    })?;
    let limit = wanted.limit;
    let found =
        tool_call::of_run(api.tables()?, &wanted.workspace, &wanted.run, after, limit).await?;
    Ok(page(found, limit, |call| {
        format!("{}.{}", call.step_number, call.call_number)
    }))
}

/// A page of the gate's answers for the run's calls, in order.
pub(super) async fn decisions(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(run): Path<String>,
    query: Asked<Listed>,
) -> Result<Json<Page<Decision>>, Problem> {
    let wanted = wanted(&api, &caller, &run, query).await?;
    let after = wanted.after(0, |text| text.parse().ok())?;
    let limit = wanted.limit;
    let found =
        decision::of_run(api.tables()?, &wanted.workspace, &wanted.run, after, limit).await?;
    Ok(page(found, limit, |decision| decision.seq.to_string()))
}
