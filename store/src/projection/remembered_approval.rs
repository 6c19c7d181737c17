//! A row of `remembered_approvals`.

use gatewright_schemas::{
    Actor, ApprovalId, Effect, PrincipalId, ReasonCode, RememberedApprovalId, Timestamp,
    WorkspaceId,
};

use super::{copy::Row, row::Table};

/// A row of `remembered_approvals`.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct RememberedApprovalRow {
    pub remembered_at: Timestamp,
    pub expires_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
    pub workspace_id: WorkspaceId,
    pub remembered_id: RememberedApprovalId,
    pub approval_id: ApprovalId,
    pub principal_id: PrincipalId,
    pub actor: Actor,
    pub tool_name: String,
    pub revoked_by: Option<String>,
    pub revoked_reason: Option<String>,
    pub definition_digest: [u8; 32],
    pub input_digest: Option<[u8; 32]>,
    pub effect: Effect,
    pub hosts: Vec<String>,
    pub findings: Vec<ReasonCode>,
    pub approved_by: Vec<String>,
}

impl Table for RememberedApprovalRow {
    const COPY: &'static str = "copy remembered_approvals (remembered_at, expires_at, revoked_at, workspace_id, \
        remembered_id, approval_id, principal_id, actor, tool_name, revoked_by, revoked_reason, definition_digest, \
        input_digest, effect, hosts, findings, approved_by) from stdin (format binary)";
    const FIELDS: i16 = 17;

    fn fields(&self, row: &mut Row<'_>) {
        row.time(self.remembered_at);
        row.time(self.expires_at);
        row.time(self.revoked_at);
        row.word(self.workspace_id.as_str());
        row.word(self.remembered_id.as_str());
        row.word(self.approval_id.as_str());
        row.word(self.principal_id.as_str());
        row.json(Some(&self.actor));
        row.text(self.tool_name.as_str());
        row.text(self.revoked_by.as_deref());
        row.text(self.revoked_reason.as_deref());
        row.bytes(Some(&self.definition_digest));
        row.bytes(self.input_digest.as_ref().map(<[u8; 32]>::as_slice));
        row.word(self.effect.as_str());
        row.json(Some(&self.hosts));
        row.json(Some(&self.findings));
        row.json(Some(&self.approved_by));
    }
}
