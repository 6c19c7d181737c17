//! Remembered approvals, read.

use gatewright_schemas::WorkspaceId;
use serde::Serialize;
use serde_json::Value;

use crate::{Store, StoreError, Time};

/// An approval that holds for like calls.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct Remembered {
    pub workspace_id: String,
    pub remembered_id: String,
    pub approval_id: String,
    pub principal_id: String,
    pub actor: Value,
    pub effect: String,
    pub tool_name: String,
    pub hosts: Value,
    /// In hexadecimal.
    pub input_digest: Option<String>,
    /// In hexadecimal.
    pub definition_digest: String,
    pub findings: Value,
    pub approved_by: Value,
    pub remembered_at: Time,
    pub expires_at: Time,
    pub revoked_at: Option<Time>,
    pub revoked_by: Option<String>,
    pub revoked_reason: Option<String>,
}

/// The remembered approvals of a workspace by id: at most `limit`, those after the id `after` (empty for the first page).
pub async fn list(
    store: &Store,
    workspace: &WorkspaceId,
    after: &str,
    limit: u32,
) -> Result<Vec<Remembered>, StoreError> {
    sqlx::query_as!(
        Remembered,
        r#"select workspace_id, remembered_id, approval_id, principal_id, actor, effect, tool_name, hosts,
            encode(input_digest, 'hex') as input_digest, encode(definition_digest, 'hex') as "definition_digest!",
            findings, approved_by, remembered_at, expires_at, revoked_at as "revoked_at: Time", revoked_by, revoked_reason
         from remembered_approvals
         where workspace_id = $1 and remembered_id > $2
         order by remembered_id limit $3"#,
        workspace.as_str(),
        after,
        i64::from(limit)
    )
    .fetch_all(&store.pool)
    .await
    .map_err(StoreError::during("list remembered approvals"))
}
