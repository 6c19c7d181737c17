//! Capability tokens and principals over HTTP: lists from the read tables, changes by commands in the key's name.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use gatewright_schemas::{
    ActorType, CapabilityTokenId, Command, KeyRole, PrincipalId, Reply, RunId, Scopes, Timestamp,
    WorkspaceId,
};
use gatewright_store::{
    capability::{self, Capability},
    principal::{self, Principal},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Api,
    caller::Caller,
    problem::Problem,
    request::{
        Asked, Body, MOST_PAGE, Page, Where, accepted, asked, created, give, limit_of, page, read,
    },
};

/// Which of them are listed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    pub(super) workspace: Option<WorkspaceId>,
    /// The `next` of the page before.
    pub(super) after: Option<String>,
    #[schemars(range(min = 1, max = MOST_PAGE))]
    pub(super) limit: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantBody {
    /// Its id; derived when absent.
    #[serde(default)]
    token_id: Option<CapabilityTokenId>,
    /// Its holder.
    to: PrincipalId,
    /// The principal that grants it. With a parent, that must be the parent's holder.
    by: PrincipalId,
    /// The token it is delegated from.
    #[serde(default)]
    parent: Option<CapabilityTokenId>,
    /// What it covers.
    scopes: Scopes,
    /// From when on it no longer holds.
    #[serde(default)]
    valid_until: Option<Timestamp>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisterBody {
    principal_id: PrincipalId,
    /// What kind of thing it is.
    principal_type: ActorType,
    /// The agent's, user's or service's own id.
    #[schemars(length(min = 1, max = 200))]
    actor_id: String,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WhyBody {
    /// Why, for a person.
    #[serde(default)]
    pub(super) reason: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QuarantineBody {
    /// Why, for a person.
    reason: String,
}

/// A capability token that was granted or revoked.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TokenChanged {
    workspace_id: WorkspaceId,
    token_id: CapabilityTokenId,
}

/// A principal that was made known, quarantined or released.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PrincipalChanged {
    workspace_id: WorkspaceId,
    principal_id: PrincipalId,
}

/// A page of a workspace's capability tokens, by id.
pub(super) async fn capabilities(
    State(api): State<Arc<Api>>,
    caller: Caller,
    query: Asked<Listed>,
) -> Result<Json<Page<Capability>>, Problem> {
    let query = asked(query)?;
    let workspace = caller.workspace(query.workspace)?;
    let limit = limit_of(query.limit)?;
    let after = query.after.as_deref().unwrap_or_default();
    let found = capability::list(api.tables()?, &workspace, after, limit).await?;
    Ok(page(found, limit, |token| token.token_id.clone()))
}

/// One capability token.
pub(super) async fn capability(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(token): Path<String>,
    query: Asked<Where>,
) -> Result<Json<Capability>, Problem> {
    let workspace = caller.workspace(asked(query)?.workspace)?;
    let token = token.parse().map_err(|_| no_capability())?;
    let found = capability::show(api.tables()?, &workspace, &token).await?;
    found.map(Json).ok_or_else(no_capability)
}

fn no_capability() -> Problem {
    Problem::not_found("there is no such capability token in the workspace")
}

/// Grants a capability token.
pub(super) async fn grant(
    State(api): State<Arc<Api>>,
    caller: Caller,
    query: Asked<Where>,
    body: Body,
) -> Result<Response, Problem> {
    let workspace = administered(&caller, query)?;
    let body: GrantBody = read(body)?;
    let command = Command::GrantCapability {
        token_id: body.token_id,
        to: body.to,
        by: body.by,
        parent: body.parent,
        scopes: body.scopes,
        valid_until: body.valid_until,
    };
    let (_, _, token_id) = created(change(&api, &caller, &workspace, command).await?)?;
    let location = HeaderValue::from_str(&format!("/v1/capabilities/{token_id}"));
    let answer = Json(TokenChanged {
        workspace_id: workspace,
        token_id,
    });
    let mut response = (StatusCode::CREATED, answer).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Revokes a capability token, and with it all that descend from it.
pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(token): Path<String>,
    query: Asked<Where>,
    body: Body,
) -> Result<Json<TokenChanged>, Problem> {
    let workspace = administered(&caller, query)?;
    let WhyBody { reason } = read(body)?;
    let token_id: CapabilityTokenId = token.parse().map_err(|_| no_capability())?;
    let there = api.fleet.capability(&workspace, &token_id).await?;
    there.ok_or_else(no_capability)?;
    let command = Command::RevokeCapability {
        token_id: token_id.clone(),
        reason,
    };
    accepted(change(&api, &caller, &workspace, command).await?)?;
    Ok(Json(TokenChanged {
        workspace_id: workspace,
        token_id,
    }))
}

/// A page of a workspace's principals, by id.
pub(super) async fn principals(
    State(api): State<Arc<Api>>,
    caller: Caller,
    query: Asked<Listed>,
) -> Result<Json<Page<Principal>>, Problem> {
    let query = asked(query)?;
    let workspace = caller.workspace(query.workspace)?;
    let limit = limit_of(query.limit)?;
    let after = query.after.as_deref().unwrap_or_default();
    let found = principal::list(api.tables()?, &workspace, after, limit).await?;
    Ok(page(found, limit, |principal| {
        principal.principal_id.clone()
    }))
}

/// Makes a principal known.
pub(super) async fn register(
    State(api): State<Arc<Api>>,
    caller: Caller,
    query: Asked<Where>,
    body: Body,
) -> Result<Response, Problem> {
    let workspace = administered(&caller, query)?;
    let body: RegisterBody = read(body)?;
    let command = Command::RegisterPrincipal {
        principal_id: body.principal_id,
        principal_type: body.principal_type,
        actor_id: body.actor_id,
    };
    let (_, _, principal_id) = created(change(&api, &caller, &workspace, command).await?)?;
    let answer = Json(PrincipalChanged {
        workspace_id: workspace,
        principal_id,
    });
    Ok((StatusCode::CREATED, answer).into_response())
}

/// Forbids a principal everything.
pub(super) async fn quarantine(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(principal): Path<String>,
    query: Asked<Where>,
    body: Body,
) -> Result<Json<PrincipalChanged>, Problem> {
    let command = |principal_id, QuarantineBody { reason }| Command::QuarantinePrincipal {
        principal_id,
        reason,
    };
    change_principal(&api, &caller, &principal, query, body, command).await
}

/// Lifts a quarantine.
pub(super) async fn release(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(principal): Path<String>,
    query: Asked<Where>,
    body: Body,
) -> Result<Json<PrincipalChanged>, Problem> {
    let command = |principal_id, WhyBody { reason }| Command::ReleasePrincipal {
        principal_id,
        reason,
    };
    change_principal(&api, &caller, &principal, query, body, command).await
}

/// Gives the command that `command` makes of the principal and the body.
async fn change_principal<B: DeserializeOwned>(
    api: &Api,
    caller: &Caller,
    principal: &str,
    query: Asked<Where>,
    body: Body,
    command: impl FnOnce(PrincipalId, B) -> Command,
) -> Result<Json<PrincipalChanged>, Problem> {
    let workspace = administered(caller, query)?;
    let body = read(body)?;
    let principal_id = known(api, &workspace, principal).await?;
    let command = command(principal_id.clone(), body);
    accepted(change(api, caller, &workspace, command).await?)?;
    Ok(Json(PrincipalChanged {
        workspace_id: workspace,
        principal_id,
    }))
}

/// The workspace whose authority the caller may change.
fn administered(caller: &Caller, query: Asked<Where>) -> Result<WorkspaceId, Problem> {
    caller.must_be(KeyRole::Admin)?;
    caller.workspace(asked(query)?.workspace)
}

async fn known(api: &Api, workspace: &WorkspaceId, text: &str) -> Result<PrincipalId, Problem> {
    let missing = || Problem::not_found("there is no such principal in the workspace");
    let id: PrincipalId = text.parse().map_err(|_| missing())?;
    let there = api.fleet.principal(workspace, &id).await?;
    there.map(|_| id).ok_or_else(missing)
}

/// Gives a command to the authority.
pub(super) async fn change(
    api: &Api,
    caller: &Caller,
    workspace: &WorkspaceId,
    command: Command,
) -> Result<Reply, Problem> {
    give(api, caller, workspace, &RunId::authority(), command).await
}
