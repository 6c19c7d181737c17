//! Remembered approvals, read.

use gatewright_schemas::{Actor, ReasonCode, Timestamp, WorkspaceId};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{Store, StoreError, Time};

/// An approval that holds for like calls.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct Remembered {
    pub workspace_id: String,
    pub remembered_id: String,
    pub approval_id: String,
    pub principal_id: String,
    #[schemars(with = "Actor")]
    pub actor: Value,
    pub effect: String,
    pub tool_name: String,
    #[schemars(with = "Vec<String>")]
    pub hosts: Value,
    /// In hexadecimal.
    pub input_digest: Option<String>,
    /// In hexadecimal.
    pub definition_digest: String,
    #[schemars(with = "Vec<ReasonCode>")]
    pub findings: Value,
    #[schemars(with = "Vec<String>")]
    pub approved_by: Value,
    pub remembered_at: Time,
    pub expires_at: Time,
    pub revoked_at: Option<Time>,
    pub revoked_by: Option<String>,
    pub revoked_reason: Option<String>,
}

/// Whether a remembered approval holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Like calls go without asking.
    Holds,
    /// Somebody took it back.
    Revoked,
    /// Its time is over.
    Expired,
}

impl State {
    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }
}

/// A remembered approval, and whether it holds.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Standing {
    /// What is remembered.
    #[serde(flatten)]
    pub remembered: Remembered,
    /// Whether it holds.
    pub state: State,
}

impl Standing {
    /// As it is at `now`.
    pub fn at(now: Timestamp, remembered: Remembered) -> Self {
        Self {
            state: match remembered.revoked_at {
                Some(_) => State::Revoked,
                None if *remembered.expires_at <= now => State::Expired,
                None => State::Holds,
            },
            remembered,
        }
    }
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
