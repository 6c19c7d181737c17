//! Principals, read.

use gatewright_schemas::WorkspaceId;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Store, StoreError, Time};

/// On whose authority calls are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct Principal {
    pub workspace_id: String,
    pub principal_id: String,
    pub principal_type: Option<String>,
    pub actor_id: Option<String>,
    pub quarantined_at: Option<Time>,
    pub quarantine_reason: Option<String>,
    pub quarantined_by: Option<String>,
}

/// The principals of a workspace by id: at most `limit`, those after the id `after` (empty for the first page).
pub async fn list(
    store: &Store,
    workspace: &WorkspaceId,
    after: &str,
    limit: u32,
) -> Result<Vec<Principal>, StoreError> {
    sqlx::query_as!(
        Principal,
        r#"select workspace_id, principal_id, principal_type, actor_id, quarantined_at as "quarantined_at: Time",
            quarantine_reason, quarantined_by
         from principals
         where workspace_id = $1 and principal_id > $2
         order by principal_id limit $3"#,
        workspace.as_str(),
        after,
        i64::from(limit)
    )
    .fetch_all(&store.pool)
    .await
    .map_err(StoreError::during("list principals"))
}
