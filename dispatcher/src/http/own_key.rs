//! What the key of a request is good for.

use axum::Json;
use serde_json::{Value, json};

use super::caller::Caller;

/// The caller's name, roles and workspace (null: all of them).
pub(super) async fn show(caller: Caller) -> Json<Value> {
    Json(json!({
        "name": caller.name(), "roles": caller.roles(), "workspace_id": caller.own_workspace(),
    }))
}
