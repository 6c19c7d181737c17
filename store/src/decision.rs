//! The gate's answers, read.

use gatewright_schemas::{Finding, ReasonCode, RunId, Timestamp, WorkspaceId};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{Store, StoreError, Time, time::parameter};

/// An answer of the gate.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct Decision {
    pub workspace_id: String,
    pub run_id: String,
    pub seq: i64,
    pub decided_at: Time,
    pub tool_call_id: String,
    pub tool_name: String,
    pub category: String,
    pub action_type: Option<String>,
    pub decision: String,
    pub reason_code: String,
    pub reason: String,
    pub enforcement_mode: String,
    pub blocked: bool,
    pub zone: String,
    pub principal_id: Option<String>,
    pub capability_token_id: Option<String>,
    pub policy_revision: Option<i64>,
    #[schemars(with = "Option<Vec<String>>")]
    pub hosts: Option<Value>,
    #[schemars(with = "Option<Vec<Finding>>")]
    pub findings: Option<Value>,
}

macro_rules! select_decisions {
    ($tail:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Decision,
            r#"select workspace_id, run_id, seq, decided_at, tool_call_id, tool_name, category, action_type, decision,
                reason_code, reason, enforcement_mode, blocked, zone, principal_id, capability_token_id,
                policy_revision, hosts, findings
             from policy_decisions "# + $tail
            $(, $argument)*
        )
    };
}

/// The answers for the calls of a run, in order: at most `limit`, those after the event with seq `after` (0 for the first page).
pub async fn of_run(
    store: &Store,
    workspace: &WorkspaceId,
    run: &RunId,
    after: i64,
    limit: u32,
) -> Result<Vec<Decision>, StoreError> {
    select_decisions!(
        "where workspace_id = $1 and run_id = $2 and seq > $3 order by seq limit $4",
        workspace.as_str(),
        run.as_str(),
        after,
        i64::from(limit)
    )
    .fetch_all(&store.pool)
    .await
    .map_err(StoreError::during("read the gate's answers of a run"))
}

/// What was not allowed before `before`, the latest first; only for one reason where one is given.
pub async fn refused(
    store: &Store,
    reason: Option<ReasonCode>,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<Decision>, StoreError> {
    let rows = match reason {
        Some(reason) => {
            select_decisions!(
                "where decision <> 'allow' and reason_code = $1 and decided_at < $2
                 order by decided_at desc, workspace_id, run_id, seq limit $3",
                reason.as_str(),
                parameter(before),
                i64::from(limit)
            )
            .fetch_all(&store.pool)
            .await
        }
        None => {
            select_decisions!(
                "where decision <> 'allow' and decided_at < $1
                 order by decided_at desc, workspace_id, run_id, seq limit $2",
                parameter(before),
                i64::from(limit)
            )
            .fetch_all(&store.pool)
            .await
        }
    };
    rows.map_err(StoreError::during("read what the gate refused"))
}
