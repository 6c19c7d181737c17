//! A row of `steps`.

use gatewright_schemas::{RunId, StepId, StepStatus, Timestamp, WorkspaceId};

use super::{copy::Row, row::Table};

/// A row of `steps`.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct StepRow {
    pub created_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub number: i32,
    pub workspace_id: WorkspaceId,
    pub run_id: RunId,
    pub step_id: StepId,
    pub status: StepStatus,
    pub title: Option<String>,
}

impl Table for StepRow {
    const COPY: &'static str = "copy steps (created_at, ended_at, number, workspace_id, run_id, step_id, status, title) from stdin (format binary)";
    const FIELDS: i16 = 8;

    fn fields(&self, row: &mut Row<'_>) {
        row.time(self.created_at);
        row.time(self.ended_at);
        row.integer(self.number);
        row.word(self.workspace_id.as_str());
        row.word(self.run_id.as_str());
        row.word(self.step_id.as_str());
        row.word(self.status.as_str());
        row.text(self.title.as_deref());
    }
}
