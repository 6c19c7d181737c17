//! Who asks, by the key that the request carries, and what that key is good for.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{StatusCode, header, request::Parts},
};
use gatewright_bus::keys::Key;
use gatewright_schemas::{KeyRole, WorkspaceId};

use super::{Api, problem::Problem, rate};

/// Who asks.
#[derive(Debug)]
pub(super) struct Caller(Key);

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let text = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, text)| text.trim());
        let known = match text {
            Some(text) => api.fleet.key_of(text).await?,
            None => None,
        };
        let key = known.ok_or_else(|| stranger(parts, api))?;
        if !api.rates.allow(&key.id, Instant::now()) {
            let detail = "this key makes more requests than it may";
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail));
        }
        Ok(Self(key))
    }
}

/// What a request without a good key is answered: a wrong key, a revoked one and none at all alike.
///
/// They are counted by the address that the connection comes from; what the request says of that is anybody's word.
fn stranger(parts: &Parts, api: &Api) -> Problem {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let address = peer.map_or_else(String::new, |peer| rate::address_of(peer.0.ip()));
    if !api.strangers.allow(&address, Instant::now()) {
        let detail = "too many requests without a good key come from this address";
        return Problem::new(StatusCode::TOO_MANY_REQUESTS, detail);
    }
    let detail = "a key is needed: `Authorization: Bearer gw_…`; `gatewright key create` makes one";
    Problem::new(StatusCode::UNAUTHORIZED, detail)
}

impl Caller {
    /// The name that is recorded with what the caller does.
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    /// What the key is good for.
    pub(super) fn roles(&self) -> &[KeyRole] {
        &self.0.roles
    }

    /// The one workspace that the key is good for; none where it is good for all.
    pub(super) fn own_workspace(&self) -> Option<&WorkspaceId> {
        self.0.workspace_id.as_ref()
    }

    /// An error unless the key has the role.
    pub(super) fn must_be(&self, role: KeyRole) -> Result<(), Problem> {
        let roles = &self.0.roles;
        if roles.contains(&role) || roles.contains(&KeyRole::Admin) {
            return Ok(());
        }
        Err(Problem::forbidden(format!(
            "this needs a key with the role `{role}`"
        )))
    }

    /// An error unless the key is good for all workspaces: what is asked for concerns them all.
    pub(super) fn must_be_the_fleets(&self) -> Result<(), Problem> {
        match &self.0.workspace_id {
            None => Ok(()),
            Some(own) => Err(Problem::forbidden(format!(
                "this concerns every workspace, and the key is good for `{own}` only"
            ))),
        }
    }

    /// The workspace that is meant: the key's own, or the one that is asked for where the key is good for all.
    pub(super) fn workspace(&self, wanted: Option<WorkspaceId>) -> Result<WorkspaceId, Problem> {
        self.workspace_or_all(wanted)?.ok_or_else(|| {
            Problem::bad_request("this key is good for all workspaces: say which by `?workspace=`")
        })
    }

    /// The same where all of them may be meant, as in lists.
    pub(super) fn workspace_or_all(
        &self,
        wanted: Option<WorkspaceId>,
    ) -> Result<Option<WorkspaceId>, Problem> {
        match (&self.0.workspace_id, wanted) {
            (None, wanted) => Ok(wanted),
            (Some(own), Some(wanted)) if wanted != *own => Err(Problem::forbidden(format!(
                "this key is good for the workspace `{own}` only"
            ))),
            (Some(own), _) => Ok(Some(own.clone())),
        }
    }
}
