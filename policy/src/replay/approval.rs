//! The approval that a call presented, as good or bad as it was.

use std::time::Duration;

use gatewright_schemas::{ApprovalId, Digest, PrincipalId, ReasonCode, RecordedDecision};

use super::question::{any_digest, objected};
use crate::{Grant, GrantState};

/// The approval, fit for the call as [`super::question::Question`] makes it anew, unless the gate found fault with it.
pub(super) fn presented(
    recorded: &RecordedDecision,
    principal: Option<&PrincipalId>,
) -> Option<Grant> {
    let approval = recorded.asked.as_ref()?.approval.as_ref()?;
    let mut grant = Grant {
        approval_id: ApprovalId::of(&recorded.tool_call_id, 1),
        tool_call_id: recorded.tool_call_id.clone(),
        tool_name: recorded.tool_name.clone(),
        definition_digest: any_digest(),
        input_digest: any_digest(),
        principal_id: principal.cloned(),
        granted_findings: approval.settles.clone(),
        expires_at: recorded.decided_at.plus(Duration::from_secs(1)),
        state: state(recorded),
    };
    if objected(recorded, ReasonCode::ApprovalInputMismatch) {
        grant.input_digest = Digest::of_bytes(b"another input");
    }
    Some(grant)
}

fn state(recorded: &RecordedDecision) -> GrantState {
    let faults = [
        (ReasonCode::ApprovalNotFound, GrantState::Unknown),
        (ReasonCode::ApprovalNotGranted, GrantState::Pending),
        (ReasonCode::ApprovalDenied, GrantState::Denied),
        (ReasonCode::ApprovalExpired, GrantState::Expired),
        (ReasonCode::ApprovalAlreadyUsed, GrantState::Used),
    ];
    let mut found = faults.into_iter();
    let fault = found.find(|(code, _)| objected(recorded, *code));
    fault.map_or(GrantState::Granted, |(_, state)| state)
}
