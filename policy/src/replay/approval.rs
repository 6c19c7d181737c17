//! The approval that a call presented, as good or bad as it was.

use std::time::Duration;

use gatewright_schemas::{
    ApprovalId, Digest, Effect, PrincipalId, ReasonCode, RecordedDecision, RememberedApproval,
    RememberedApprovalId,
};

use super::question::{Question, any_digest, objected};
use crate::{Grant, GrantState, grant::approvable};

/// The approval, fit for the call as [`super::question::Question`] makes it anew, unless the gate found fault with it.
pub(super) fn presented(
    recorded: &RecordedDecision,
    principal: Option<&PrincipalId>,
) -> Option<Grant> {
    let facts = recorded.asked.as_ref()?;
    let approval = facts.approval.as_ref()?;
    let mut grant = Grant {
        approval_id: ApprovalId::of(&recorded.tool_call_id, 1),
        tool_call_id: recorded.tool_call_id.clone(),
        tool_name: recorded.tool_name.clone(),
        definition_digest: any_digest(),
        input_digest: any_digest(),
        principal_id: principal.cloned(),
        // A candidate that gives more, or less, under the same name voids it, as it would have.
        sandbox_profile: facts.sandbox_profile.clone(),
        granted_findings: approval.settles.clone(),
        // How many people gave it is not recorded: a candidate that wants more of them is not held against it.
        approved_by: usize::MAX,
        expires_at: recorded.decided_at.plus(Duration::from_secs(1)),
        state: state(recorded),
    };
    if objected(recorded, ReasonCode::ApprovalInputMismatch) {
        grant.input_digest = Digest::of_bytes(b"another input");
    }
    Some(grant)
}

/// The remembered approval that the answer rested on, as narrow as this one question.
pub(super) fn remembered(
    recorded: &RecordedDecision,
    question: &Question,
    principal: Option<PrincipalId>,
) -> Option<RememberedApproval> {
    if recorded.decision.reason_code != ReasonCode::ApprovalRemembered {
        return None;
    }
    let facts = recorded.asked.as_ref()?;
    let (context, hosts) = match question {
        Question::Tool(request) => (&request.context, request.hosts.as_deref().ok()?),
        Question::Egress(request) => (&request.context, std::slice::from_ref(&request.host)),
    };
    let approval_id = ApprovalId::of(&recorded.tool_call_id, 1);
    Some(RememberedApproval {
        remembered_id: RememberedApprovalId::of(&approval_id),
        workspace_id: recorded.workspace_id.clone(),
        approval_id,
        principal_id: principal?,
        actor: context.as_ref().ok()?.actor.clone(),
        tool_name: recorded.tool_name.clone(),
        definition_digest: any_digest(),
        hosts: hosts.iter().map(ToString::to_string).collect(),
        input_digest: Some(any_digest()),
        sandbox_profile: facts.sandbox_profile.clone(),
        effect: facts.effect.unwrap_or(Effect::None),
        findings: approvable([&recorded.decision]),
        // As above.
        approved_by: vec![String::new(); usize::from(u8::MAX)],
        remembered_at: recorded.decided_at,
        expires_at: recorded.decided_at.plus(Duration::from_secs(1)),
        revoked_at: None,
    })
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
