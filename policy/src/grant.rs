//! An approval as the gate sees it: bound to one call, spent once, good for exactly what it was asked for.

use gatewright_schemas::{
    ApprovalId, Decision, DecisionRecord, Digest, Finding, PrincipalId, ReasonCode, Timestamp,
    ToolCallId,
};

use crate::facts::Facts;

/// An approval that a call presents.
///
/// The shell builds it from the run's own history; what the caller states of it is its id, nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its id.
    pub approval_id: ApprovalId,
    /// The call that it was asked for.
    pub tool_call_id: ToolCallId,
    /// That call's tool.
    pub tool_name: String,
    /// Digest of the tool's definition when it was asked for.
    pub definition_digest: Digest,
    /// Digest of the input that was shown to the approver.
    pub input_digest: Digest,
    /// The principal on whose authority it was asked for: [`crate::Answer::principal_id`] of the asking answer.
    pub principal_id: Option<PrincipalId>,
    /// Digest of the sandbox's profile that was shown to the approver: [`crate::escalated_profile`] of the asking call.
    pub sandbox_profile: Option<Digest>,
    /// The findings that it settles: the `require_approval` findings of the asking answer.
    pub granted_findings: Vec<ReasonCode>,
    /// How many different people said yes.
    pub approved_by: usize,
    /// From when on it is void.
    pub expires_at: Timestamp,
    /// Where it stands.
    pub state: GrantState,
}

/// Where an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantState {
    /// The call names an approval that the run's history does not hold; the other fields mean nothing.
    Unknown,
    /// Nobody decided yet, or too few.
    Pending,
    /// Granted and not spent.
    Granted,
    /// Somebody said no.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// Spent on another execution.
    Used,
    /// Spent on this very call, whose intent is recorded: a repetition under its idempotency key is the same call.
    ///
    /// That it was in time, and given by enough people, was seen when it was spent.
    SpentOnThisCall,
}

/// What an approval is asked for: the `require_approval` findings of the answers to one call (of `egress.request` there are two).
pub fn approvable<'a>(records: impl IntoIterator<Item = &'a DecisionRecord>) -> Vec<ReasonCode> {
    let findings = records.into_iter().flat_map(|record| &record.findings);
    let mut codes: Vec<ReasonCode> = findings
        .filter(|finding| finding.decision == Decision::RequireApproval)
        .map(|finding| finding.reason_code)
        .collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// The name under which a grant's fault stands among the findings.
pub(crate) const CHECK: &str = "approval";

impl Grant {
    /// Why the grant is no good for this call; `None` when it is good.
    ///
    /// What it is bound to comes first: of somebody else's approval nothing is told but that it does not fit.
    pub(crate) fn fault(&self, facts: &Facts<'_>) -> Option<Finding> {
        let id = &self.approval_id;
        let lapsed = facts.now >= self.expires_at;
        let (code, reason) = match self.state {
            GrantState::Unknown => (
                ReasonCode::ApprovalNotFound,
                format!("there is no approval `{id}`"),
            ),
            _ if !self.fits(facts) => (
                ReasonCode::ApprovalInputMismatch,
                format!(
                    "approval `{id}` was given for another call, input, tool definition, principal or sandbox profile; ask for a new one"
                ),
            ),
            GrantState::Denied => (
                ReasonCode::ApprovalDenied,
                format!("approval `{id}` was denied"),
            ),
            GrantState::Used => (
                ReasonCode::ApprovalAlreadyUsed,
                format!("approval `{id}` is spent; it is good for one execution"),
            ),
            GrantState::Expired => (
                ReasonCode::ApprovalExpired,
                format!("approval `{id}` has expired"),
            ),
            GrantState::Pending | GrantState::Granted if lapsed => (
                ReasonCode::ApprovalExpired,
                format!("approval `{id}` has expired at {}", self.expires_at),
            ),
            GrantState::Pending => (
                ReasonCode::ApprovalNotGranted,
                format!("approval `{id}` is not granted yet"),
            ),
            GrantState::Granted if self.approved_by < facts.approvers_wanted() => (
                ReasonCode::ApprovalNotGranted,
                format!(
                    "approval `{id}` was given by {}, and the policy now wants {} to approve",
                    self.approved_by,
                    facts.approvers_wanted()
                ),
            ),
            GrantState::Granted | GrantState::SpentOnThisCall => return None,
        };
        Some(Finding {
            check: CHECK.to_owned(),
            decision: Decision::Deny,
            reason_code: code,
            reason,
        })
    }

    fn fits(&self, facts: &Facts<'_>) -> bool {
        self.tool_call_id == *facts.tool_call_id
            && self.tool_name == facts.tool.name
            && self.definition_digest == facts.tool.definition_digest
            && self.input_digest == *facts.input_digest
            && self.principal_id.as_ref() == facts.principal
            && self.sandbox_profile.as_ref()
                == facts.escalated_profile().map(|profile| &profile.digest)
    }

    /// Whether the (good) grant settles `finding`: an approval requirement that it was asked for.
    ///
    /// A redirect to another host is another request: an approval of the call does not cover it.
    pub(crate) fn settles(&self, finding: &Finding, facts: &Facts<'_>) -> bool {
        finding.decision == Decision::RequireApproval
            && self.granted_findings.contains(&finding.reason_code)
            && facts.is_approved_host()
    }
}
