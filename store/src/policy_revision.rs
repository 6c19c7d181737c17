//! Policy documents that were active, read.

use gatewright_schemas::WorkspaceId;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Store, StoreError, Time};

/// A policy document that was made the active one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct PolicyRevision {
    pub workspace_id: String,
    pub revision: i64,
    pub activated_at: Time,
    pub activated_by: String,
    pub enforcement_mode: String,
    pub previous_mode: Option<String>,
    /// In hexadecimal.
    pub digest: String,
    pub document: String,
}

/// The revisions before `before` (`i64::MAX` for the first page), the latest first.
pub async fn list(
    store: &Store,
    workspace: &WorkspaceId,
    before: i64,
    limit: u32,
) -> Result<Vec<PolicyRevision>, StoreError> {
    sqlx::query_as!(
        PolicyRevision,
        r#"select workspace_id, revision, activated_at, activated_by, enforcement_mode, previous_mode,
            encode(digest, 'hex') as "digest!", document
         from policy_revisions
         where workspace_id = $1 and revision < $2
         order by revision desc limit $3"#,
        workspace.as_str(),
        before,
        i64::from(limit)
    )
    .fetch_all(&store.pool)
    .await
    .map_err(StoreError::during("list policy revisions"))
}
