//! `approvals`.

use gatewright_schemas::{ApprovalId, Digest, Event, EventBody, event::ApprovalRequested};
use gatewright_store::projection::{ApprovalRow, ApprovalStatus, RunRows, digest_bytes};

use super::Unreadable;
use crate::ids::bigint;

pub(super) fn apply(rows: &mut RunRows, event: &Event, body: &EventBody) -> Result<(), Unreadable> {
    match body {
        EventBody::ApprovalRequested(request) => requested(rows, event, request)?,
        EventBody::ApprovalDecided(decided) => {
            if let Some(approval) = find(rows, &decided.approval_id) {
                approval.status = if decided.approved {
                    ApprovalStatus::Approved
                } else {
                    ApprovalStatus::Denied
                };
                approval.decided_at = Some(event.occurred_at);
                approval.decided_by = Some(decided.by.clone());
                approval.reason.clone_from(&decided.reason);
            }
        }
        EventBody::ApprovalExpired(expired) => {
            if let Some(approval) = find(rows, &expired.approval_id) {
                approval.status = ApprovalStatus::Expired;
                approval.decided_at = Some(event.occurred_at);
            }
        }
        EventBody::ToolInvoked(invoked) => {
            if let Some(id) = &invoked.approval_id
                && let Some(approval) = find(rows, id)
            {
                approval.status = ApprovalStatus::Used;
                approval.used_at = approval.used_at.or(Some(event.occurred_at));
            }
        }
        _ => {}
    }
    Ok(())
}

fn find<'a>(rows: &'a mut RunRows, id: &ApprovalId) -> Option<&'a mut ApprovalRow> {
    rows.approvals.find(|approval| approval.approval_id == *id)
}

fn requested(
    rows: &mut RunRows,
    event: &Event,
    request: &ApprovalRequested,
) -> Result<(), Unreadable> {
    let bytes = |field, digest: &Digest| {
        digest_bytes(digest).ok_or_else(|| Unreadable::field(event, field))
    };
    if find(rows, &request.approval_id).is_some() {
        return Ok(());
    }
    rows.approvals.add(ApprovalRow {
        requested_at: event.occurred_at,
        expires_at: request.expires_at,
        decided_at: None,
        used_at: None,
        requested_seq: bigint(event.seq),
        workspace_id: event.workspace_id.clone(),
        run_id: event.run_id.clone(),
        approval_id: request.approval_id.clone(),
        tool_call_id: request.tool_call_id.clone(),
        status: ApprovalStatus::Waiting,
        question: request.question,
        reason_code: request
            .decision
            .as_ref()
            .map(|decision| decision.reason_code),
        principal_id: request.principal_id.clone(),
        tool_name: request.tool_name.clone(),
        decided_by: None,
        reason: None,
        definition_digest: bytes("definition_digest", &request.definition_digest)?,
        input_digest: bytes("input_digest", &request.input_digest)?,
        input: request.input.clone(),
    });
    Ok(())
}
