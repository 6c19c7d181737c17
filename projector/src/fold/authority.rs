//! `capability_tokens`, `principals`, `policy_revisions` and `remembered_approvals`: events that belong to no run.

use gatewright_schemas::{
    CapabilityToken, Event, EventBody, PrincipalId, RememberedApproval, WorkspaceId,
    event::PolicyActivated,
};
use gatewright_store::projection::{
    Batch, CapabilityTokenRow, PolicyRevisionRow, PrincipalRow, RememberedApprovalRow, Slots,
    digest_bytes,
};

use super::Unreadable;
use crate::ids::bigint;

pub(super) fn apply(batch: &mut Batch, event: &Event, body: &EventBody) -> Result<(), Unreadable> {
    match body {
        EventBody::CapabilityGranted(granted) => grant(&mut batch.tokens, &granted.token),
        EventBody::CapabilityRevoked(revoked) => {
            let token = batch.tokens.find(|row| {
                row.token_id == revoked.token_id && row.workspace_id == event.workspace_id
            });
            if let Some(token) = token {
                token.revoked_at = Some(revoked.revoked_at);
                token.revoked_by = Some(revoked.by.clone());
                token.revoked_reason.clone_from(&revoked.reason);
            }
        }
        EventBody::PrincipalRegistered(registered) => {
            let principal = &registered.principal;
            let row = principal_row(
                &mut batch.principals,
                &event.workspace_id,
                &principal.principal_id,
            );
            if let Some(row) = row {
                row.principal_type = Some(principal.principal_type);
                row.actor_id = Some(principal.actor_id.clone());
                set_quarantine(row, principal.quarantine.as_ref());
            }
        }
        EventBody::PrincipalQuarantined(quarantined) => {
            let row = principal_row(
                &mut batch.principals,
                &event.workspace_id,
                &quarantined.principal_id,
            );
            if let Some(row) = row {
                set_quarantine(row, Some(&quarantined.quarantine));
            }
        }
        EventBody::PrincipalReleased(released) => {
            let row = principal_row(
                &mut batch.principals,
                &event.workspace_id,
                &released.principal_id,
            );
            if let Some(row) = row {
                set_quarantine(row, None);
            }
        }
        EventBody::PolicyActivated(activated) => activate(&mut batch.revisions, event, activated)?,
        EventBody::ApprovalRemembered(new) => {
            remember(&mut batch.remembered, event, &new.remembered)?;
        }
        EventBody::ApprovalForgotten(forgotten) => {
            let remembered = batch.remembered.find(|row| {
                row.remembered_id == forgotten.remembered_id
                    && row.workspace_id == event.workspace_id
            });
            if let Some(remembered) = remembered {
                remembered.revoked_at = Some(forgotten.revoked_at);
                remembered.revoked_by = Some(forgotten.by.clone());
                remembered.revoked_reason.clone_from(&forgotten.reason);
            }
        }
        _ => {}
    }
    Ok(())
}

fn grant(tokens: &mut Slots<CapabilityTokenRow>, token: &CapabilityToken) {
    let row = CapabilityTokenRow {
        granted_at: token.granted_at,
        valid_until: token.valid_until,
        revoked_at: token.revoked_at,
        workspace_id: token.workspace_id.clone(),
        token_id: token.token_id.clone(),
        issued_to_principal_id: token.issued_to_principal_id.clone(),
        granted_by_principal_id: token.granted_by_principal_id.clone(),
        parent_token_id: token.parent_token_id.clone(),
        revoked_by: None,
        revoked_reason: None,
        scopes: token.scopes.clone(),
    };
    let before = tokens
        .find(|other| other.token_id == row.token_id && other.workspace_id == row.workspace_id);
    match before {
        Some(before) => *before = row,
        None => tokens.add(row),
    }
}

fn principal_row<'a>(
    principals: &'a mut Slots<PrincipalRow>,
    workspace: &WorkspaceId,
    id: &PrincipalId,
) -> Option<&'a mut PrincipalRow> {
    let is_it = |row: &PrincipalRow| row.principal_id == *id && row.workspace_id == *workspace;
    if !principals.has(is_it) {
        principals.add(PrincipalRow {
            quarantined_at: None,
            workspace_id: workspace.clone(),
            principal_id: id.clone(),
            principal_type: None,
            actor_id: None,
            quarantine_reason: None,
            quarantined_by: None,
        });
    }
    principals.find(is_it)
}

fn set_quarantine(row: &mut PrincipalRow, quarantine: Option<&gatewright_schemas::Quarantine>) {
    row.quarantined_at = quarantine.map(|quarantine| quarantine.since);
    row.quarantine_reason = quarantine.map(|quarantine| quarantine.reason.clone());
    row.quarantined_by = quarantine.map(|quarantine| quarantine.by.clone());
}

fn activate(
    revisions: &mut Slots<PolicyRevisionRow>,
    event: &Event,
    activated: &PolicyActivated,
) -> Result<(), Unreadable> {
    let row = PolicyRevisionRow {
        activated_at: event.occurred_at,
        revision: bigint(activated.revision),
        workspace_id: event.workspace_id.clone(),
        enforcement_mode: activated.enforcement_mode,
        previous_mode: activated.previous_mode,
        activated_by: activated.by.clone(),
        digest: digest_bytes(&activated.digest)
            .ok_or_else(|| Unreadable::field(event, "digest"))?,
        document: activated.document.clone(),
    };
    let before = revisions
        .find(|other| other.revision == row.revision && other.workspace_id == row.workspace_id);
    match before {
        Some(before) => *before = row,
        None => revisions.add(row),
    }
    Ok(())
}

fn remember(
    slots: &mut Slots<RememberedApprovalRow>,
    event: &Event,
    remembered: &RememberedApproval,
) -> Result<(), Unreadable> {
    let bytes = |field, digest| digest_bytes(digest).ok_or_else(|| Unreadable::field(event, field));
    let row = RememberedApprovalRow {
        remembered_at: remembered.remembered_at,
        expires_at: remembered.expires_at,
        revoked_at: remembered.revoked_at,
        workspace_id: event.workspace_id.clone(),
        remembered_id: remembered.remembered_id.clone(),
        approval_id: remembered.approval_id.clone(),
        principal_id: remembered.principal_id.clone(),
        actor: remembered.actor.clone(),
        effect: remembered.effect,
        tool_name: remembered.tool_name.clone(),
        revoked_by: None,
        revoked_reason: None,
        definition_digest: bytes("definition_digest", &remembered.definition_digest)?,
        input_digest: remembered
            .input_digest
            .as_ref()
            .map(|digest| bytes("input_digest", digest))
            .transpose()?,
        hosts: remembered.hosts.clone(),
        findings: remembered.findings.clone(),
        approved_by: remembered.approved_by.clone(),
    };
    let before = slots.find(|other| {
        other.remembered_id == row.remembered_id && other.workspace_id == row.workspace_id
    });
    match before {
        Some(before) => *before = row,
        None => slots.add(row),
    }
    Ok(())
}
