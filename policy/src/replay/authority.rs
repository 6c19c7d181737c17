//! What the events of the authority do to the gate's copy of it.

use gatewright_schemas::{EventBody, WorkspaceId};

use crate::Snapshot;

/// Applies what happened in `workspace`. A token or principal of which no beginning was seen stays unknown.
pub(super) fn apply(snapshot: &mut Snapshot, workspace: &WorkspaceId, body: &EventBody) {
    match body {
        EventBody::CapabilityGranted(granted) => snapshot.upsert_token(granted.token.clone()),
        EventBody::CapabilityRevoked(revoked) => {
            let token = snapshot.token(workspace, &revoked.token_id).cloned();
            if let Some(mut token) = token {
                token.revoked_at = Some(revoked.revoked_at);
                snapshot.upsert_token(token);
            }
        }
        EventBody::PrincipalRegistered(registered) => {
            snapshot.upsert_principal(registered.principal.clone());
        }
        EventBody::PrincipalQuarantined(quarantined) => {
            let principal = snapshot.principal(workspace, &quarantined.principal_id);
            if let Some(mut principal) = principal.cloned() {
                principal.quarantine = Some(quarantined.quarantine.clone());
                snapshot.upsert_principal(principal);
            }
        }
        EventBody::PrincipalReleased(released) => {
            let principal = snapshot.principal(workspace, &released.principal_id);
            if let Some(mut principal) = principal.cloned() {
                principal.quarantine = None;
                snapshot.upsert_principal(principal);
            }
        }
        _ => {}
    }
}
