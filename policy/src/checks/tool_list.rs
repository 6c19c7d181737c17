//! Check 12: the document's tool lists, and its default for the tools on neither.

use gatewright_schemas::{Decision, ReasonCode};

use super::{Check, CheckError, Objection, deny, quoted, require_approval};
use crate::facts::{Facts, Pass};

pub(super) const CHECK: Check = Check {
    number: 12,
    name: "tool_list",
    asks: "is the tool allowed, or does every call of it need approval?",
    of_egress: false,
    applies: |facts| facts.policy.is_some(),
    evaluate,
};

fn evaluate(facts: &Facts<'_>) -> Result<Option<Objection>, CheckError> {
    // Without a policy check 2 denies.
    let Some(policy) = facts.policy else {
        return Ok(None);
    };
    let tool = &facts.tool.name;
    let shown = || quoted(tool);
    if policy.requires_approval(tool) {
        let reason = format!("every call of the tool `{}` needs approval", shown());
        return Ok(require_approval(ReasonCode::ToolRequiresApproval, reason));
    }
    if policy.is_auto_allowed(tool) {
        return Ok(None);
    }
    Ok(match policy.default_decision() {
        Decision::Allow => None,
        Decision::Deny => deny(
            ReasonCode::DefaultDeny,
            format!(
                "the tool `{}` is on no list, and the policy denies what is on none",
                shown()
            ),
        ),
        Decision::RequireApproval => require_approval(
            ReasonCode::DefaultRequiresApproval,
            format!(
                "the tool `{}` is on no list, and the policy wants approval for what is on none",
                shown()
            ),
        ),
    })
}

/// What to give as the reason when no check objects.
pub(crate) fn allowed_by(facts: &Facts<'_>) -> (ReasonCode, String) {
    let tool = quoted(&facts.tool.name);
    let listed = facts
        .policy
        .is_some_and(|policy| policy.is_auto_allowed(&facts.tool.name));
    match (facts.pass, listed) {
        (Pass::Egress { .. }, true) => (
            ReasonCode::ToolAutoAllowed,
            format!(
                "no check objects to this request of the tool `{tool}`, which needs no approval"
            ),
        ),
        (Pass::Egress { .. }, false) => (
            ReasonCode::DefaultAllow,
            format!("no check objects to this request of the tool `{tool}`"),
        ),
        (Pass::Tool { .. }, true) => (
            ReasonCode::ToolAutoAllowed,
            format!("the tool `{tool}` is allowed, and no check objects"),
        ),
        (Pass::Tool { .. }, false) => (
            ReasonCode::DefaultAllow,
            format!("the policy allows the tool `{tool}` by default, and no check objects"),
        ),
    }
}
