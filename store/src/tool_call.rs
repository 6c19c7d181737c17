//! Tool calls, read.

use gatewright_schemas::{ErrorInfo, RunId, WorkspaceId};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{Store, StoreError, Time};

/// A tool call of a run, with its input and output.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct ToolCall {
    pub tool_call_id: String,
    pub step_number: i32,
    pub call_number: i32,
    pub tool_name: String,
    pub status: String,
    pub effect: Option<String>,
    pub idempotent: Option<bool>,
    pub approval_id: Option<String>,
    /// In hexadecimal.
    pub input_digest: Option<String>,
    /// Absent when the call was never invoked.
    pub input: Option<Value>,
    /// Absent when the call did not succeed.
    pub output: Option<Value>,
    pub invocations: i32,
    pub executions: i32,
    pub duration_us: Option<i64>,
    pub requested_at: Time,
    pub started_at: Option<Time>,
    pub ended_at: Option<Time>,
    #[schemars(with = "Option<ErrorInfo>")]
    pub error: Option<Value>,
}

/// The tool calls of a run, in order: at most `limit`, those after the call (step number, call number) `after`.
pub async fn of_run(
    store: &Store,
    workspace: &WorkspaceId,
    run: &RunId,
    after: (i32, i32),
    limit: u32,
) -> Result<Vec<ToolCall>, StoreError> {
    sqlx::query!(
        r#"select c.tool_call_id, c.step_number, c.call_number, c.tool_name, c.status, c.effect, c.idempotent,
            c.approval_id, encode(c.input_digest, 'hex') as input_digest,
            i.data::text as invoked, o.data::text as ended,
            c.invocations, c.executions, c.duration_us, c.requested_at, c.started_at, c.ended_at, c.error
         from (select * from tool_calls
            where workspace_id = $1 and run_id = $2 and (step_number, call_number) > ($3, $4)
            order by step_number, call_number limit $5) as c
         left join lateral (select data from events
            where workspace_id = c.workspace_id and run_id = c.run_id and seq = c.invoked_seq limit 1) as i on true
         left join lateral (select data from events
            where workspace_id = c.workspace_id and run_id = c.run_id and seq = c.ended_seq limit 1) as o on true
         order by c.step_number, c.call_number"#,
        workspace.as_str(),
        run.as_str(),
        after.0,
        after.1,
        i64::from(limit)
    )
    .map(|row| ToolCall {
        tool_call_id: row.tool_call_id,
        step_number: row.step_number,
        call_number: row.call_number,
        tool_name: row.tool_name,
        status: row.status,
        effect: row.effect,
        idempotent: row.idempotent,
        approval_id: row.approval_id,
        input_digest: row.input_digest,
        input: field(row.invoked, "input"),
        output: field(row.ended, "output"),
        invocations: row.invocations,
        executions: row.executions,
        duration_us: row.duration_us,
        requested_at: row.requested_at.into(),
        started_at: row.started_at.map(Into::into),
        ended_at: row.ended_at.map(Into::into),
        error: row.error,
    })
    .fetch_all(&store.pool)
    .await
    .map_err(StoreError::during("read the tool calls of a run"))
}

/// A field of an event's data. Taken out here: Postgres cannot look into JSON that holds a NUL character.
fn field(data: Option<String>, name: &str) -> Option<Value> {
    let mut data: Value = serde_json::from_str(&data?).ok()?;
    data.get_mut(name).map(Value::take)
}
