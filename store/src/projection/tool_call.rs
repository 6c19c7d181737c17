//! A row of `tool_calls`.

use gatewright_schemas::{
    ApprovalId, Effect, ErrorInfo, RunId, Timestamp, ToolCallId, ToolCallStatus, WorkspaceId,
};

use super::{copy::Row, row::Table};

/// A row of `tool_calls`.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct ToolCallRow {
    pub requested_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub duration_us: Option<i64>,
    pub invoked_seq: Option<i64>,
    pub ended_seq: Option<i64>,
    pub step_number: i32,
    pub call_number: i32,
    pub invocations: i32,
    pub executions: i32,
    pub idempotent: Option<bool>,
    pub workspace_id: WorkspaceId,
    pub run_id: RunId,
    pub tool_call_id: ToolCallId,
    pub status: ToolCallStatus,
    pub effect: Option<Effect>,
    pub approval_id: Option<ApprovalId>,
    pub tool_name: String,
    pub input_digest: Option<[u8; 32]>,
    pub error: Option<ErrorInfo>,
}

impl Table for ToolCallRow {
    const COPY: &'static str = "copy tool_calls (requested_at, started_at, ended_at, duration_us, invoked_seq, ended_seq, \
        step_number, call_number, invocations, executions, idempotent, workspace_id, run_id, tool_call_id, status, \
        effect, approval_id, tool_name, input_digest, error) from stdin (format binary)";
    const FIELDS: i16 = 20;

    fn fields(&self, row: &mut Row<'_>) {
        row.time(self.requested_at);
        row.time(self.started_at);
        row.time(self.ended_at);
        row.bigint(self.duration_us);
        row.bigint(self.invoked_seq);
        row.bigint(self.ended_seq);
        row.integer(self.step_number);
        row.integer(self.call_number);
        row.integer(self.invocations);
        row.integer(self.executions);
        row.boolean(self.idempotent);
        row.word(self.workspace_id.as_str());
        row.word(self.run_id.as_str());
        row.word(self.tool_call_id.as_str());
        row.word(self.status.as_str());
        row.word(self.effect.map(Effect::as_str));
        row.word(self.approval_id.as_ref().map(AsRef::as_ref));
        row.text(self.tool_name.as_str());
        row.bytes(self.input_digest.as_ref().map(<[u8; 32]>::as_slice));
        row.jsonb(self.error.as_ref());
    }
}
