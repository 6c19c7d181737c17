//! Approvals over HTTP: what waits, what was asked, and the decision, made in the name of the key.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use gatewright_schemas::{ApprovalId, Command, KeyRole, RunId, RunStatus, Timestamp, WorkspaceId};
use gatewright_store::approval::{self, Approval, Place};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Api,
    caller::Caller,
    problem::Problem,
    request::{
        Asked, Body, MOST_PAGE, Page, accepted, asked, existing, give, limit_of, named, page, read,
    },
};

/// Which approvals are listed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    workspace: Option<WorkspaceId>,
    status: Option<Wanted>,
    /// The `next` of the page before.
    #[schemars(regex(pattern = r"^[0-9]{1,18}\.[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){4}$"))]
    after: Option<String>,
    #[schemars(range(min = 1, max = MOST_PAGE))]
    limit: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wanted {
    /// Those that somebody has to decide, the most urgent first.
    Waiting,
    /// Whatever became of them, the latest first.
    All,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApproveBody {
    /// Why, for a person.
    #[serde(default)]
    reason: Option<String>,
    /// For how long like calls may go without asking, in seconds.
    #[serde(default)]
    #[schemars(range(min = 1))]
    remember_s: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DenyBody {
    /// Why, for a person.
    #[serde(default)]
    reason: Option<String>,
}

/// A decision that was counted.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ApprovalDecision")]
pub(super) struct Decided {
    workspace_id: WorkspaceId,
    run_id: RunId,
    approval_id: ApprovalId,
    /// Yes or no.
    approved: bool,
    /// In whose name: the key's.
    by: String,
    /// Where the run stands.
    run_status: Option<RunStatus>,
}

/// A page of approvals, from the read tables.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    query: Asked<Listed>,
) -> Result<Json<Page<Approval>>, Problem> {
    let query = asked(query)?;
    let workspace = caller.workspace_or_all(query.workspace)?;
    let (workspace, limit) = (workspace.as_ref(), limit_of(query.limit)?);
    let place = query.after.as_deref().map(place).transpose()?;
    let (place, tables) = (place.as_ref(), api.tables()?);
    let is_waiting = query.status.unwrap_or(Wanted::Waiting) == Wanted::Waiting;
    let found = if is_waiting {
        approval::waiting(tables, workspace, place, limit).await?
    } else {
        approval::list(tables, workspace, place, limit).await?
    };
    Ok(page(found, limit, |last| {
        let at = if is_waiting {
            last.expires_at
        } else {
            last.requested_at
        };
        format!("{}.{}", at.as_micros(), last.approval_id)
    }))
}

/// A place as a page named it.
fn place(cursor: &str) -> Result<Place, Problem> {
    let parts = cursor.split_once('.');
    let place = parts.and_then(|(at, id)| {
        let approval: ApprovalId = id.parse().ok()?;
        // Workspace, run, step, call, and the number of the request.
        (approval.as_str().split('.').count() == 5).then_some(())?;
        Some(Place {
            at: Timestamp::from_micros(at.parse().ok()?),
            approval_id: approval.to_string(),
        })
    });
    place.ok_or_else(|| Problem::bad_request("after: the `next` of a page, as it stands there"))
}

/// One approval, with the exact input.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(approval): Path<String>,
) -> Result<Json<Approval>, Problem> {
    let missing = || Problem::not_found("there is no such approval");
    let (id, workspace, run) = named::<ApprovalId>(&caller, &approval)?.ok_or_else(missing)?;
    let found = approval::show(api.tables()?, &workspace, &run, &id).await?;
    found.map(Json).ok_or_else(missing)
}

/// Says yes.
pub(super) async fn approve(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(approval): Path<String>,
    body: Body,
) -> Result<Json<Decided>, Problem> {
    caller.must_be(KeyRole::Approver)?;
    let ApproveBody { reason, remember_s } = read(body)?;
    decide(&api, &caller, &approval, true, reason, remember_s).await
}

/// Says no.
pub(super) async fn deny(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(approval): Path<String>,
    body: Body,
) -> Result<Json<Decided>, Problem> {
    caller.must_be(KeyRole::Approver)?;
    let DenyBody { reason } = read(body)?;
    decide(&api, &caller, &approval, false, reason, None).await
}

/// Whoever decides is the key's name, whatever the request says.
async fn decide(
    api: &Api,
    caller: &Caller,
    approval: &str,
    approve: bool,
    reason: Option<String>,
    remember_s: Option<u64>,
) -> Result<Json<Decided>, Problem> {
    let missing = || Problem::not_found("there is no such approval");
    let (approval_id, workspace, run) =
        named::<ApprovalId>(caller, approval)?.ok_or_else(missing)?;
    let (run, _) = existing(api, &workspace, run.as_str())
        .await
        .map_err(|problem| problem.unless_missing(missing))?;
    let command = Command::DecideApproval {
        approval_id: approval_id.clone(),
        approve,
        reason,
        remember_s,
    };
    let reply = give(api, caller, &workspace, &run, command).await?;
    let (run_id, run_status, _) = accepted(reply)?;
    Ok(Json(Decided {
        workspace_id: workspace,
        run_id,
        approval_id,
        approved: approve,
        by: caller.name().to_owned(),
        run_status,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_is_one() {
        let found = place("1700000000000000.acme.r.1.1.a1").unwrap();
        assert_eq!(found.at.as_micros(), 1_700_000_000_000_000);
        assert_eq!(found.approval_id, "acme.r.1.1.a1");
        for bad in [
            "",
            "1",
            "x.acme",
            "1.",
            "1.a b",
            "1.'",
            "0.5",
            "1.acme.r.1.1",
        ] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
