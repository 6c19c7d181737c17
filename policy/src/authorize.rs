//! Here it is decided that a tool call may happen.
//!
//! 1. Gather the facts of the call.
//! 2. Ask the checks, in order; keep every objection.
//! 3. Weigh them: deny over `require_approval` over allow, the first of the heaviest gives the reason.
//!    An approval settles the `require_approval` objections that it was asked for, and no denial; so does a remembered one.
//! 4. `blocked` when, and only when, the mode is `enforce` and the answer is not `allow`.
//! 5. Not blocked: a permit.
//!
//! Which mode applies: the tool's own, else the document's, also to a call whose context cannot be read.
//! Without a policy, or with a copy of it that is too old, nobody can say that shadow mode is wanted: `enforce`.

use std::sync::Arc;

use gatewright_schemas::{
    Decision, DecisionRecord, EnforcementMode, Finding, PrincipalId, ReasonCode, Timestamp,
};

use crate::{
    checks::{self, CHECKS, Check},
    document::EscalatedProfile,
    facts::Facts,
    grant::Grant,
    permit::{EgressPermit, Permit},
    quota::{Quota, QuotaAnswer},
    request::{EgressRequest, ToolCallRequest},
    snapshot::Snapshot,
};

/// The gate's answer to a tool call. It holds a permit when, and only when, the call is not blocked.
#[derive(Debug)]
#[must_use = "the call may only happen with the permit that is in the answer"]
pub struct Answer {
    record: DecisionRecord,
    principal_id: Option<PrincipalId>,
    permit: Option<Permit>,
}

/// The gate's answer to a request to the outside. It holds a permit when, and only when, the request is not blocked.
#[derive(Debug)]
#[must_use = "the request may only happen with the permit that is in the answer"]
pub struct EgressAnswer {
    record: DecisionRecord,
    principal_id: Option<PrincipalId>,
    permit: Option<EgressPermit>,
}

macro_rules! answer {
    ($answer:ty, $permit:ty) => {
        impl $answer {
            /// The decision, for the record.
            pub fn record(&self) -> &DecisionRecord {
                &self.record
            }

            /// The principal on whose authority: the one that was given, else the holder of the token that was named.
            pub fn principal_id(&self) -> Option<&PrincipalId> {
                self.principal_id.as_ref()
            }

            /// Whether there is no permit.
            pub fn is_blocked(&self) -> bool {
                self.permit.is_none()
            }

            /// The permit, and the decision for the record.
            pub fn into_parts(self) -> (DecisionRecord, Option<$permit>) {
                (self.record, self.permit)
            }
        }
    };
}
answer!(Answer, Permit);
answer!(EgressAnswer, EgressPermit);

/// May this tool call happen?
///
/// Every way to a tool leads through here: the worker's, the HTTP route's, a retry's, an approved call's.
/// `quota` answers what [`quota_needed`] asked for.
pub fn authorize_tool_call(
    request: &ToolCallRequest,
    snapshot: &Snapshot,
    grant: Option<&Grant>,
    quota: &QuotaAnswer,
    now: Timestamp,
) -> Answer {
    let facts = Facts::of_tool_call(request, snapshot, quota, now);
    let record = decide(&facts, grant);
    let permit = (!record.blocked).then(|| {
        Permit::new(
            request.tool_call_id.clone(),
            request.tool.definition_digest.clone(),
            request.input_digest.clone(),
            // In shadow mode a call runs that nobody allowed; more than its ordinary sandbox it does not get.
            facts
                .escalated_profile()
                .filter(|_| record.decision == Decision::Allow)
                .cloned(),
        )
    });
    Answer {
        record,
        principal_id: facts.principal.cloned(),
        permit,
    }
}

/// What `request` would get beside its ordinary sandbox if it were allowed now: a part of what an approval is asked for.
pub fn escalated_profile(
    request: &ToolCallRequest,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Option<Arc<EscalatedProfile>> {
    Facts::of_tool_call(request, snapshot, &QuotaAnswer::NotNeeded, now)
        .escalated_profile()
        .cloned()
}

/// May this call send this request to the outside? Asked for every hop, after [`authorize_tool_call`] allowed the call.
///
/// Checks 9 and 12 are the tool call's alone. The others are asked again, since a redirect may come seconds after the call
/// was judged, and a kill switch or quarantine holds at once.
pub fn authorize_egress(
    request: &EgressRequest,
    snapshot: &Snapshot,
    grant: Option<&Grant>,
    quota: &QuotaAnswer,
    now: Timestamp,
) -> EgressAnswer {
    let facts = Facts::of_egress(request, snapshot, quota, now);
    let record = decide(&facts, grant);
    let permit = (!record.blocked).then(|| {
        EgressPermit::new(
            request.tool_call_id.clone(),
            request.hop,
            request.method.clone(),
            request.host.clone(),
            request.url_digest.clone(),
        )
    });
    EgressAnswer {
        record,
        principal_id: facts.principal.cloned(),
        permit,
    }
}

/// The limit of which one unit has to be reserved before the call can be allowed.
///
/// `None` when no limit applies, and when the call would not run anyway: it then consumes nothing.
pub fn quota_needed(
    request: &ToolCallRequest,
    snapshot: &Snapshot,
    grant: Option<&Grant>,
    now: Timestamp,
) -> Option<Quota> {
    needed(
        &Facts::of_tool_call(request, snapshot, &QuotaAnswer::NotNeeded, now),
        grant,
    )
}

/// [`quota_needed`] for a request to the outside.
pub fn egress_quota_needed(
    request: &EgressRequest,
    snapshot: &Snapshot,
    grant: Option<&Grant>,
    now: Timestamp,
) -> Option<Quota> {
    needed(
        &Facts::of_egress(request, snapshot, &QuotaAnswer::NotNeeded, now),
        grant,
    )
}

fn needed(facts: &Facts<'_>, grant: Option<&Grant>) -> Option<Quota> {
    let quota = facts.quota_needed()?;
    let verdict = weigh(facts, grant, &objections(facts, grant));
    (!blocks(verdict.decision, facts.mode())).then_some(quota)
}

/// The whole decision.
pub(crate) fn decide(facts: &Facts<'_>, grant: Option<&Grant>) -> DecisionRecord {
    let mode = facts.mode();
    let mut findings = objections(facts, grant);
    let mut verdict = weigh(facts, grant, &findings);
    // A quota is reserved only for a call that would otherwise run, so for others nobody has to have asked.
    if !blocks(verdict.decision, mode) || *facts.quota != QuotaAnswer::NotNeeded {
        findings.extend(quota_check().finding(facts));
        verdict = weigh(facts, grant, &findings);
    }
    DecisionRecord {
        decision: verdict.decision,
        reason_code: verdict.code,
        reason: verdict.reason,
        enforcement_mode: mode,
        blocked: blocks(verdict.decision, mode),
        findings,
        policy_revision: facts.policy.map(crate::CompiledPolicy::revision),
        policy_digest: facts.policy.map(|policy| policy.digest().clone()),
    }
}

/// The only execution cutoff.
fn blocks(decision: Decision, mode: EnforcementMode) -> bool {
    mode == EnforcementMode::Enforce && decision != Decision::Allow
}

/// What the checks have against the call, all but the quota's, and what is wrong with the approval that it presents.
fn objections(facts: &Facts<'_>, grant: Option<&Grant>) -> Vec<Finding> {
    let [checks @ .., _quota] = &CHECKS;
    let asked = checks.iter().filter(|check| check.is_asked(facts));
    let mut findings: Vec<Finding> = asked.filter_map(|check| check.finding(facts)).collect();
    findings.extend(grant.and_then(|grant| grant.fault(facts)));
    findings
}

fn quota_check() -> &'static Check {
    let [.., quota] = &CHECKS;
    quota
}

/// Whether an approval settles the finding: the good one that the call presents, or a remembered one.
pub(crate) fn is_settled(finding: &Finding, facts: &Facts<'_>, good: Option<&Grant>) -> bool {
    finding.decision == Decision::RequireApproval
        && (good.is_some_and(|grant| grant.settles(finding, facts))
            || facts.remembered(finding).is_some())
}

struct Verdict {
    decision: Decision,
    code: ReasonCode,
    reason: String,
}

/// The heaviest objection that no approval settles; the first of them, where several weigh the same.
fn weigh(facts: &Facts<'_>, grant: Option<&Grant>, findings: &[Finding]) -> Verdict {
    let good = grant.filter(|grant| grant.fault(facts).is_none());
    let standing = |decision| {
        findings
            .iter()
            .find(|finding| finding.decision == decision && !is_settled(finding, facts, good))
    };
    if let Some(finding) = standing(Decision::Deny).or_else(|| standing(Decision::RequireApproval))
    {
        return Verdict {
            decision: finding.decision,
            code: finding.reason_code,
            reason: finding.reason.clone(),
        };
    }
    // What is left was settled: by the approval of this very call, or by ones that are remembered.
    let is_granted = |finding: &&Finding| good.is_some_and(|grant| grant.settles(finding, facts));
    let remembered = || {
        let not_granted = findings.iter().find(|finding| !is_granted(finding))?;
        facts.remembered(not_granted)
    };
    let (code, reason) = if let Some(entry) = remembered() {
        (
            ReasonCode::ApprovalRemembered,
            format!(
                "remembered approval `{}` allows calls like this until {}",
                entry.remembered_id, entry.expires_at
            ),
        )
    } else if let Some(grant) = good.filter(|_| !findings.is_empty()) {
        (
            ReasonCode::ApprovalAllowsAction,
            format!("approval `{}` allows this call", grant.approval_id),
        )
    } else {
        checks::allowed_by(facts)
    };
    Verdict {
        decision: Decision::Allow,
        code,
        reason,
    }
}
