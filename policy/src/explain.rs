//! Every check of a hypothetical call with its result: what `gatewright policy explain` shows.

use gatewright_schemas::{Decision, DecisionRecord, ErrorInfo, Finding, PrincipalId, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    authorize::{decide, is_settled},
    checks::CHECKS,
    facts::Facts,
    grant::Grant,
    quota::{Quota, QuotaAnswer},
    request::{EgressRequest, ToolCallRequest},
    snapshot::Snapshot,
};

/// What the gate would say of each call of a run.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RunExplanation {
    /// The revision of the policy that was asked; absent where none is active.
    pub policy_revision: Option<u64>,
    /// Whether one of the calls would not be made.
    pub blocked: bool,
    /// The calls, in order.
    pub calls: Vec<CallExplanation>,
}

/// What is said of one call.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CallExplanation {
    /// `<step>.<call>`
    pub call: String,
    /// The tool's name, as the run has it.
    pub tool: String,
    /// Why the gate is not asked: no such tool, or an input that does not fit it.
    pub error: Option<ErrorInfo>,
    /// The call itself.
    pub tool_gate: Option<Explanation>,
    /// The request to the outside that the call begins with.
    pub egress_gate: Option<Explanation>,
    /// The counters of the limits of which it would take a unit each, where they were looked up.
    pub counters: Vec<Counted>,
    /// Whether it would not be made.
    pub blocked: bool,
}

/// How the counter of a limit stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counted {
    /// Its name.
    pub counter: String,
    /// Units leased out, used or not.
    pub leased: u64,
    /// When it starts anew.
    pub resets_at: Timestamp,
}

/// A decision with all that led to it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Explanation {
    /// The decision, as the gate would record it.
    pub decision: DecisionRecord,
    /// The principal on whose authority.
    pub principal_id: Option<PrincipalId>,
    /// The checks, in order.
    pub checks: Vec<CheckReport>,
    /// The limit that the call consumes if it runs.
    pub quota: Option<Quota>,
}

/// One check and its result.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CheckReport {
    /// Its place, from 1.
    pub number: u8,
    /// Its name.
    pub check: &'static str,
    /// What it asks.
    pub asks: &'static str,
    /// What came of it.
    pub result: CheckResult,
    /// What it objects to.
    pub finding: Option<Finding>,
    /// Whether the approval that the call presents, or a remembered one, settles the objection.
    pub settled: bool,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckResult {
    /// It looked at something and has nothing against it.
    Passed,
    /// There is nothing about the call for it to look at, or it is no part of this question.
    NotApplicable,
    /// It wants an approval.
    RequiresApproval,
    /// It denies.
    Denied,
}

/// Explains what [`crate::authorize_tool_call`] would answer.
pub fn explain_tool_call(
    request: &ToolCallRequest,
    snapshot: &Snapshot,
    grant: Option<&Grant>,
    quota: &QuotaAnswer,
    now: Timestamp,
) -> Explanation {
    explain(&Facts::of_tool_call(request, snapshot, quota, now), grant)
}

/// Explains what [`crate::authorize_egress`] would answer.
pub fn explain_egress(
    request: &EgressRequest,
    snapshot: &Snapshot,
    grant: Option<&Grant>,
    quota: &QuotaAnswer,
    now: Timestamp,
) -> Explanation {
    explain(&Facts::of_egress(request, snapshot, quota, now), grant)
}

fn explain(facts: &Facts<'_>, grant: Option<&Grant>) -> Explanation {
    // A hypothetical call has reserved nothing; it is explained as if there were enough.
    let needed = facts.quota_needed();
    let reserved = needed
        .clone()
        .map_or(QuotaAnswer::NotNeeded, QuotaAnswer::Granted);
    let facts = match facts.quota {
        QuotaAnswer::NotNeeded => &facts.with_quota(&reserved),
        _ => facts,
    };
    let good = grant.filter(|grant| grant.fault(facts).is_none());
    let checks = CHECKS
        .iter()
        .map(|check| {
            let asked = check.is_asked(facts);
            let finding = if asked { check.finding(facts) } else { None };
            let result = match &finding {
                Some(finding) if finding.decision == Decision::Deny => CheckResult::Denied,
                Some(_) => CheckResult::RequiresApproval,
                None if asked && (check.applies)(facts) => CheckResult::Passed,
                None => CheckResult::NotApplicable,
            };
            let settled = finding
                .as_ref()
                .is_some_and(|finding| is_settled(finding, facts, good));
            CheckReport {
                number: check.number,
                check: check.name,
                asks: check.asks,
                result,
                finding,
                settled,
            }
        })
        .collect();
    Explanation {
        decision: decide(facts, grant),
        principal_id: facts.principal.cloned(),
        checks,
        quota: needed,
    }
}
