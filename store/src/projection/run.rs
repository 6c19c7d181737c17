//! A row of `runs`.

use gatewright_schemas::{
    ApprovalId, ErrorInfo, Lane, RunId, RunStatus, Timestamp, WorkspaceId, WriterId, Zone,
};

use super::{copy::Row, row::Table};

/// A row of `runs`.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct RunRow {
    pub created_sequence: i64,
    pub last_sequence: i64,
    pub last_seq: i64,
    pub created_at: Timestamp,
    pub moved_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub not_before: Option<Timestamp>,
    pub deadline: Option<Timestamp>,
    pub wait_expires_at: Option<Timestamp>,
    pub lease: Option<i64>,
    pub attempt: i32,
    pub succeeded_calls: i32,
    pub failed_calls: i32,
    pub denied_calls: i32,
    pub workspace_id: WorkspaceId,
    pub run_id: RunId,
    pub status: RunStatus,
    pub zone: Zone,
    pub lane: Option<Lane>,
    pub worker: Option<WriterId>,
    pub principal_id: Option<String>,
    pub capability_token_id: Option<String>,
    pub retry_of: Option<RunId>,
    pub waiting_approval_id: Option<ApprovalId>,
    pub title: Option<String>,
    pub room_id: Option<String>,
    pub thread_id: Option<String>,
    pub correlation_id: Option<String>,
    pub requested_run_id: Option<String>,
    pub error: Option<ErrorInfo>,
}

impl Table for RunRow {
    const COPY: &'static str = "copy runs (created_sequence, last_sequence, last_seq, created_at, moved_at, started_at, \
        ended_at, not_before, deadline, wait_expires_at, lease, attempt, succeeded_calls, failed_calls, denied_calls, \
        workspace_id, run_id, status, zone, lane, worker, principal_id, capability_token_id, retry_of, \
        waiting_approval_id, title, room_id, thread_id, correlation_id, requested_run_id, error) \
        from stdin (format binary)";
    const FIELDS: i16 = 31;

    fn fields(&self, row: &mut Row<'_>) {
        row.bigint(self.created_sequence);
        row.bigint(self.last_sequence);
        row.bigint(self.last_seq);
        row.time(self.created_at);
        row.time(self.moved_at);
        row.time(self.started_at);
        row.time(self.ended_at);
        row.time(self.not_before);
        row.time(self.deadline);
        row.time(self.wait_expires_at);
        row.bigint(self.lease);
        row.integer(self.attempt);
        row.integer(self.succeeded_calls);
        row.integer(self.failed_calls);
        row.integer(self.denied_calls);
        row.word(self.workspace_id.as_str());
        row.word(self.run_id.as_str());
        row.word(self.status.as_str());
        row.word(self.zone.as_str());
        row.word(self.lane.map(Lane::as_str));
        row.word(self.worker.as_ref().map(AsRef::as_ref));
        row.text(self.principal_id.as_deref());
        row.text(self.capability_token_id.as_deref());
        row.word(self.retry_of.as_ref().map(AsRef::as_ref));
        row.word(self.waiting_approval_id.as_ref().map(AsRef::as_ref));
        row.text(self.title.as_deref());
        row.text(self.room_id.as_deref());
        row.text(self.thread_id.as_deref());
        row.text(self.correlation_id.as_deref());
        row.text(self.requested_run_id.as_deref());
        row.jsonb(self.error.as_ref());
    }
}
