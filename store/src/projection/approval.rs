//! A row of `approvals`.

use gatewright_schemas::{
    Actor, ApprovalId, Effect, Finding, PrincipalId, ReasonCode, RunId, Timestamp, ToolCallId,
    WorkspaceId,
    event::{ApprovalQuestion, Likeness, SandboxProfileShown},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{copy::Row, row::Table, words::words};

words! {
    /// Where an approval stands.
    pub enum ApprovalStatus {
        /// Somebody has to decide.
        Waiting = "waiting",
        /// Somebody said yes.
        Approved = "approved",
        /// Somebody said no.
        Denied = "denied",
        /// Nobody decided in time.
        Expired = "expired",
        /// Its call was made.
        Used = "used",
        /// The run ended first.
        Cancelled = "cancelled",
    }
}

/// A row of `approvals`.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct ApprovalRow {
    pub requested_at: Timestamp,
    pub expires_at: Timestamp,
    pub decided_at: Option<Timestamp>,
    pub used_at: Option<Timestamp>,
    pub requested_seq: i64,
    pub workspace_id: WorkspaceId,
    pub run_id: RunId,
    pub approval_id: ApprovalId,
    pub tool_call_id: ToolCallId,
    pub status: ApprovalStatus,
    pub question: ApprovalQuestion,
    pub reason_code: Option<ReasonCode>,
    pub principal_id: Option<PrincipalId>,
    pub tool_name: String,
    pub decided_by: Option<String>,
    pub reason: Option<String>,
    pub definition_digest: [u8; 32],
    pub input_digest: [u8; 32],
    pub input: Value,
    pub approvers: i16,
    pub votes: Vec<VoteRow>,
    pub asked: AskedRow,
    pub remember_s: Option<i64>,
}

/// An entry of `approvals.votes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct VoteRow {
    pub by: String,
    pub at: Timestamp,
    pub reason: Option<String>,
}

/// `approvals.asked`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct AskedRow {
    pub asked_by: Option<Actor>,
    pub hosts: Vec<String>,
    pub effect: Option<Effect>,
    pub sandbox_permissions: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_profile: Option<SandboxProfileShown>,
    pub likeness: Likeness,
    pub findings: Vec<Finding>,
}

impl Table for ApprovalRow {
    const COPY: &'static str = "copy approvals (requested_at, expires_at, decided_at, used_at, requested_seq, workspace_id, \
        run_id, approval_id, tool_call_id, status, question, reason_code, principal_id, tool_name, decided_by, reason, \
        definition_digest, input_digest, input, approvers, votes, asked, remember_s) from stdin (format binary)";
    const FIELDS: i16 = 23;

    fn fields(&self, row: &mut Row<'_>) {
        row.time(self.requested_at);
        row.time(self.expires_at);
        row.time(self.decided_at);
        row.time(self.used_at);
        row.bigint(self.requested_seq);
        row.word(self.workspace_id.as_str());
        row.word(self.run_id.as_str());
        row.word(self.approval_id.as_str());
        row.word(self.tool_call_id.as_str());
        row.word(self.status.as_str());
        row.word(question_word(self.question));
        row.word(self.reason_code.map(ReasonCode::as_str));
        row.word(self.principal_id.as_ref().map(AsRef::as_ref));
        row.text(self.tool_name.as_str());
        row.text(self.decided_by.as_deref());
        row.text(self.reason.as_deref());
        row.bytes(Some(&self.definition_digest));
        row.bytes(Some(&self.input_digest));
        row.json(Some(&self.input));
        row.smallint(self.approvers);
        row.json(Some(&self.votes));
        row.json(Some(&self.asked));
        row.bigint(self.remember_s);
    }
}

/// The word that stands for the question on the wire too.
fn question_word(question: ApprovalQuestion) -> &'static str {
    match question {
        ApprovalQuestion::MakeTheCall => "make_the_call",
        ApprovalQuestion::GoOnAfterUnknownOutcome => "go_on_after_unknown_outcome",
    }
}
