//! `approvals`.

use gatewright_schemas::{ApprovalId, Digest, Event, EventBody, event::ApprovalRequested};
use gatewright_store::projection::{
    ApprovalRow, ApprovalStatus, AskedRow, RunRows, VoteRow, digest_bytes,
};

use super::Unreadable;
use crate::ids::bigint;

pub(super) fn apply(rows: &mut RunRows, event: &Event, body: &EventBody) -> Result<(), Unreadable> {
    match body {
        EventBody::ApprovalRequested(request) => requested(rows, event, request)?,
        EventBody::ApprovalVoted(voted) => {
            if let Some(approval) = find(rows, &voted.approval_id) {
                vote(approval, event, &voted.by, voted.reason.as_ref());
            }
        }
        EventBody::ApprovalDecided(decided) => {
            if let Some(approval) = find(rows, &decided.approval_id) {
                if decided.approved {
                    approval.status = ApprovalStatus::Approved;
                    approval.remember_s = decided.remember_s.map(bigint);
                    vote(approval, event, &decided.by, decided.reason.as_ref());
                } else {
                    approval.status = ApprovalStatus::Denied;
                }
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

fn vote(approval: &mut ApprovalRow, event: &Event, by: &str, reason: Option<&String>) {
    let is_counted = approval.votes.iter().any(|vote| vote.by == by);
    if !is_counted {
        approval.votes.push(VoteRow {
            by: by.to_owned(),
            at: event.occurred_at,
            reason: reason.cloned(),
        });
    }
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
        approvers: i16::from(request.approvers),
        votes: Vec::new(),
        asked: AskedRow {
            asked_by: request.asked_by.clone(),
            hosts: request.hosts.clone(),
            effect: request.effect,
            sandbox_permissions: request.sandbox_permissions.clone(),
            sandbox_profile: request.sandbox_profile.clone(),
            likeness: request.likeness,
            findings: request
                .decision
                .as_ref()
                .map_or_else(Vec::new, |decision| decision.findings.clone()),
        },
        remember_s: None,
    });
    Ok(())
}
