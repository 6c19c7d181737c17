//! What the key of a request is good for.

use axum::Json;
use gatewright_schemas::{KeyRole, WorkspaceId};
use schemars::JsonSchema;
use serde::Serialize;

use super::caller::Caller;

/// A key, as its holder sees it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct OwnKey {
    /// In whose name it acts.
    name: String,
    roles: Vec<KeyRole>,
    /// The one workspace that it is good for; null for all.
    workspace_id: Option<WorkspaceId>,
}

/// The caller's own key.
pub(super) async fn show(caller: Caller) -> Json<OwnKey> {
    Json(OwnKey {
        name: caller.name().to_owned(),
        roles: caller.roles().to_vec(),
        workspace_id: caller.own_workspace().cloned(),
    })
}
