//! Requests to the outside, read.

use gatewright_schemas::{RunId, WorkspaceId};
use serde::Serialize;
use serde_json::Value;

use crate::{Store, StoreError, Time};

/// One hop of a request to the outside.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct Egress {
    pub tool_call_id: String,
    pub hop: i32,
    pub status: String,
    pub method: Option<String>,
    pub url: Option<String>,
    pub host: String,
    pub address: Option<String>,
    pub action_type: Option<String>,
    pub http_status: Option<i32>,
    pub requests: i32,
    pub requested_at: Time,
    pub ended_at: Option<Time>,
    pub error: Option<Value>,
}

/// The requests of a run's calls, in order.
pub async fn of_run(
    store: &Store,
    workspace: &WorkspaceId,
    run: &RunId,
    limit: u32,
) -> Result<Vec<Egress>, StoreError> {
    sqlx::query_as!(
        Egress,
        r#"select tool_call_id, hop, status, method, url, host, address, action_type, http_status, requests,
            requested_at, ended_at as "ended_at: Time", error
         from egress_requests
         where workspace_id = $1 and run_id = $2
         order by step_number, call_number, hop limit $3"#,
        workspace.as_str(),
        run.as_str(),
        i64::from(limit)
    )
    .fetch_all(&store.pool)
    .await
    .map_err(StoreError::during("read the requests of a run"))
}
