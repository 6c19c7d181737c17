//! Approvals that hold for like calls over HTTP: which there are, and taking one back in the key's name.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use gatewright_bus::clock;
use gatewright_schemas::{Command, KeyRole, RememberedApproval, RememberedApprovalId};
use gatewright_store::remembered_approval::{self, Standing};

use super::{
    Api,
    authority::{Listed, WhyBody, change},
    caller::Caller,
    problem::Problem,
    request::{Asked, Body, Page, Where, accepted, asked, limit_of, page, read},
};

/// A page of a workspace's remembered approvals, by id; those that hold no longer too.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    query: Asked<Listed>,
) -> Result<Json<Page<Standing>>, Problem> {
    let query = asked(query)?;
    let workspace = caller.workspace(query.workspace)?;
    let limit = limit_of(query.limit)?;
    let after = query.after.as_deref().unwrap_or_default();
    let found = remembered_approval::list(api.tables()?, &workspace, after, limit).await?;
    let now = clock::now();
    let standing = found
        .into_iter()
        .map(|one| Standing::at(now, one))
        .collect();
    Ok(page(standing, limit, |one: &Standing| {
        one.remembered.remembered_id.clone()
    }))
}

/// Lets a remembered approval hold no longer: the next such call is asked about.
pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(remembered): Path<String>,
    query: Asked<Where>,
    body: Body,
) -> Result<Json<RememberedApproval>, Problem> {
    let missing = || Problem::not_found("there is no such remembered approval in the workspace");
    caller.must_be(KeyRole::Approver)?;
    let workspace = caller.workspace(asked(query)?.workspace)?;
    let WhyBody { reason } = read(body)?;
    let id: RememberedApprovalId = remembered.parse().map_err(|_| missing())?;
    let there = api.fleet.remembered_approval(&workspace, &id).await?;
    there.ok_or_else(missing)?;
    let remembered_id = id.clone();
    let command = Command::ForgetApproval {
        remembered_id,
        reason,
    };
    accepted(change(&api, &caller, &workspace, command).await?)?;
    let revoked = api.fleet.remembered_approval(&workspace, &id).await?;
    revoked.map(Json).ok_or_else(missing)
}
