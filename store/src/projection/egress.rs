//! A row of `egress_requests`.

use gatewright_schemas::{ErrorInfo, RunId, Timestamp, ToolCallId, WorkspaceId};

use super::{copy::Row, row::Table, words::words};

words! {
    /// Where a request to the outside stands.
    pub enum EgressStatus {
        /// It is wanted.
        Requested = "requested",
        /// It went out.
        Allowed = "allowed",
        /// It did not.
        Blocked = "blocked",
    }
}

/// A row of `egress_requests`.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct EgressRow {
    pub requested_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub step_number: i32,
    pub call_number: i32,
    pub hop: i32,
    pub requests: i32,
    pub http_status: Option<i32>,
    pub workspace_id: WorkspaceId,
    pub run_id: RunId,
    pub tool_call_id: ToolCallId,
    pub status: EgressStatus,
    pub method: Option<String>,
    pub action_type: Option<String>,
    pub host: String,
    pub address: Option<String>,
    pub url: Option<String>,
    pub error: Option<ErrorInfo>,
}

impl Table for EgressRow {
    const COPY: &'static str = "copy egress_requests (requested_at, ended_at, step_number, call_number, hop, requests, \
        http_status, workspace_id, run_id, tool_call_id, status, method, action_type, host, address, url, error) \
        from stdin (format binary)";
    const FIELDS: i16 = 17;

    fn fields(&self, row: &mut Row<'_>) {
        row.time(self.requested_at);
        row.time(self.ended_at);
        row.integer(self.step_number);
        row.integer(self.call_number);
        row.integer(self.hop);
        row.integer(self.requests);
        row.integer(self.http_status);
        row.word(self.workspace_id.as_str());
        row.word(self.run_id.as_str());
        row.word(self.tool_call_id.as_str());
        row.word(self.status.as_str());
        row.text(self.method.as_deref());
        row.text(self.action_type.as_deref());
        row.text(self.host.as_str());
        row.text(self.address.as_deref());
        row.text(self.url.as_deref());
        row.jsonb(self.error.as_ref());
    }
}
