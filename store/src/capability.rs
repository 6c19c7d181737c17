//! Capability tokens, read.

use gatewright_schemas::{CapabilityTokenId, Scopes, WorkspaceId};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{Store, StoreError, Time};

/// A capability token.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct Capability {
    pub workspace_id: String,
    pub token_id: String,
    pub issued_to_principal_id: String,
    pub granted_by_principal_id: String,
    pub parent_token_id: Option<String>,
    #[schemars(with = "Scopes")]
    pub scopes: Value,
    pub granted_at: Time,
    pub valid_until: Option<Time>,
    pub revoked_at: Option<Time>,
    pub revoked_by: Option<String>,
    pub revoked_reason: Option<String>,
}

macro_rules! select_capabilities {
    ($tail:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Capability,
            r#"select workspace_id, token_id, issued_to_principal_id, granted_by_principal_id, parent_token_id, scopes,
                granted_at, valid_until as "valid_until: Time", revoked_at as "revoked_at: Time", revoked_by,
                revoked_reason
             from capability_tokens "# + $tail
            $(, $argument)*
        )
    };
}

/// The tokens of a workspace by id: at most `limit`, those after the id `after` (empty for the first page).
pub async fn list(
    store: &Store,
    workspace: &WorkspaceId,
    after: &str,
    limit: u32,
) -> Result<Vec<Capability>, StoreError> {
    select_capabilities!(
        "where workspace_id = $1 and token_id > $2 order by token_id limit $3",
        workspace.as_str(),
        after,
        i64::from(limit)
    )
    .fetch_all(&store.pool)
    .await
    .map_err(StoreError::during("list capability tokens"))
}

/// One token.
pub async fn show(
    store: &Store,
    workspace: &WorkspaceId,
    token: &CapabilityTokenId,
) -> Result<Option<Capability>, StoreError> {
    select_capabilities!(
        "where workspace_id = $1 and token_id = $2",
        workspace.as_str(),
        token.as_str()
    )
    .fetch_optional(&store.pool)
    .await
    .map_err(StoreError::during("read a capability token"))
}
