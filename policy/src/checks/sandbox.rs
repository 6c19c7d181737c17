//! Check 9: the call stays in its ordinary sandbox, or asks to leave it.

use gatewright_schemas::{ReasonCode, SandboxPermissions};

use super::{Check, CheckError, Objection, deny, quoted, require_approval};
use crate::facts::{Facts, Pass};

pub(super) const CHECK: Check = Check {
    number: 9,
    name: "sandbox",
    asks: "does the call ask to leave its ordinary sandbox?",
    of_egress: false,
    applies: |facts| {
        matches!(
            facts.pass,
            Pass::Tool {
                sandbox_permissions: Some(_)
            }
        )
    },
    evaluate,
};

fn evaluate(facts: &Facts<'_>) -> Result<Option<Objection>, CheckError> {
    let Pass::Tool {
        sandbox_permissions: Some(stated),
    } = facts.pass
    else {
        return Ok(None);
    };
    Ok(match stated.parse() {
        Ok(SandboxPermissions::UseDefault) => None,
        Ok(SandboxPermissions::RequireEscalated) if facts.tool.sandboxed => {
            match facts.escalated_profile() {
                Some(profile) => require_approval(
                    ReasonCode::SandboxEscalationRequiresApproval,
                    format!("the call asks for more than its ordinary sandbox: {profile}"),
                ),
                // Nobody is asked to approve what the policy does not describe.
                None => deny(
                    ReasonCode::SandboxProfileMissing,
                    "the call asks for more than its ordinary sandbox (`require_escalated`), and the policy names no profile for that (`sandbox.escalated`)",
                ),
            }
        }
        Ok(SandboxPermissions::RequireEscalated) => require_approval(
            ReasonCode::SandboxEscalationRequiresApproval,
            "the call asks to leave its ordinary sandbox (`require_escalated`)",
        ),
        Err(_) => deny(
            ReasonCode::SandboxPermissionsUnknown,
            format!(
                "`sandbox_permissions` is `{}`; known are use_default and require_escalated",
                quoted(stated)
            ),
        ),
    })
}
