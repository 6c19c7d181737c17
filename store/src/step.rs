//! Steps, read.

use gatewright_schemas::{RunId, WorkspaceId};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Store, StoreError, Time};

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct Step {
    pub step_id: String,
    pub number: i32,
    pub title: Option<String>,
    pub status: String,
    pub created_at: Time,
    pub ended_at: Option<Time>,
}

/// The steps of a run, in order: at most `limit`, those after number `after`.
pub async fn of_run(
    store: &Store,
    workspace: &WorkspaceId,
    run: &RunId,
    after: i32,
    limit: u32,
) -> Result<Vec<Step>, StoreError> {
    sqlx::query_as!(
        Step,
        r#"select step_id, number, title, status, created_at, ended_at as "ended_at: Time"
         from steps
         where workspace_id = $1 and run_id = $2 and number > $3
         order by number limit $4"#,
        workspace.as_str(),
        run.as_str(),
        after,
        i64::from(limit)
    )
    .fetch_all(&store.pool)
    .await
    .map_err(StoreError::during("read the steps of a run"))
}
