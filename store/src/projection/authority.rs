//! Rows of `capability_tokens`, `principals` and `policy_revisions`.

use gatewright_schemas::{
    ActorType, CapabilityTokenId, EnforcementMode, PrincipalId, Scopes, Timestamp, WorkspaceId,
};

use super::{copy::Row, row::Table};

/// A row of `capability_tokens`.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct CapabilityTokenRow {
    pub granted_at: Timestamp,
    pub valid_until: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    pub workspace_id: WorkspaceId,
    pub token_id: CapabilityTokenId,
    pub issued_to_principal_id: PrincipalId,
    pub granted_by_principal_id: PrincipalId,
    pub parent_token_id: Option<CapabilityTokenId>,
    pub revoked_by: Option<String>,
    pub revoked_reason: Option<String>,
    pub scopes: Scopes,
}

impl Table for CapabilityTokenRow {
    const COPY: &'static str = "copy capability_tokens (granted_at, valid_until, revoked_at, workspace_id, token_id, \
        issued_to_principal_id, granted_by_principal_id, parent_token_id, revoked_by, revoked_reason, scopes) \
        from stdin (format binary)";
    const FIELDS: i16 = 11;

    fn fields(&self, row: &mut Row<'_>) {
        row.time(self.granted_at);
        row.time(self.valid_until);
        row.time(self.revoked_at);
        row.word(self.workspace_id.as_str());
        row.word(self.token_id.as_str());
        row.word(self.issued_to_principal_id.as_str());
        row.word(self.granted_by_principal_id.as_str());
        row.word(self.parent_token_id.as_ref().map(AsRef::as_ref));
        row.text(self.revoked_by.as_deref());
        row.text(self.revoked_reason.as_deref());
        row.json(Some(&self.scopes));
    }
}

/// A row of `principals`.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct PrincipalRow {
    pub quarantined_at: Option<Timestamp>,
    pub workspace_id: WorkspaceId,
    pub principal_id: PrincipalId,
    pub principal_type: Option<ActorType>,
    pub actor_id: Option<String>,
    pub quarantine_reason: Option<String>,
    pub quarantined_by: Option<String>,
}

impl Table for PrincipalRow {
    const COPY: &'static str = "copy principals (quarantined_at, workspace_id, principal_id, principal_type, actor_id, \
        quarantine_reason, quarantined_by) from stdin (format binary)";
    const FIELDS: i16 = 7;

    fn fields(&self, row: &mut Row<'_>) {
        row.time(self.quarantined_at);
        row.word(self.workspace_id.as_str());
        row.word(self.principal_id.as_str());
        row.word(self.principal_type.map(ActorType::as_str));
        row.text(self.actor_id.as_deref());
        row.text(self.quarantine_reason.as_deref());
        row.text(self.quarantined_by.as_deref());
    }
}

/// A row of `policy_revisions`.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct PolicyRevisionRow {
    pub activated_at: Timestamp,
    pub revision: i64,
    pub workspace_id: WorkspaceId,
    pub enforcement_mode: EnforcementMode,
    pub previous_mode: Option<EnforcementMode>,
    pub activated_by: String,
    pub digest: [u8; 32],
    pub document: String,
}

impl Table for PolicyRevisionRow {
    const COPY: &'static str = "copy policy_revisions (activated_at, revision, workspace_id, enforcement_mode, \
        previous_mode, activated_by, digest, document) from stdin (format binary)";
    const FIELDS: i16 = 8;

    fn fields(&self, row: &mut Row<'_>) {
        row.time(self.activated_at);
        row.bigint(self.revision);
        row.word(self.workspace_id.as_str());
        row.word(self.enforcement_mode.as_str());
        row.word(self.previous_mode.map(EnforcementMode::as_str));
        row.text(self.activated_by.as_str());
        row.bytes(Some(&self.digest));
        row.text(self.document.as_str());
    }
}
