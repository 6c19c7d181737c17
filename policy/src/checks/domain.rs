//! Check 10: every host that the call names is on the allowlist.

use gatewright_schemas::ReasonCode;

use super::{Check, CheckError, Objection, require_approval};
use crate::facts::Facts;

pub(super) const CHECK: Check = Check {
    number: 10,
    name: "domain",
    asks: "is every host that the input names on the allowlist?",
    of_egress: true,
    applies: |facts| facts.hosts.map_or(true, |hosts| !hosts.is_empty()),
    evaluate,
};

fn evaluate(facts: &Facts<'_>) -> Result<Option<Objection>, CheckError> {
    let hosts = facts.hosts.map_err(Clone::clone)?;
    // Without a policy check 2 denies.
    let Some(policy) = facts.policy else {
        return Ok(None);
    };
    let foreign: Vec<String> = hosts
        .iter()
        .filter(|host| !policy.is_domain_allowed(host))
        .take(5)
        .map(|host| format!("`{host}`"))
        .collect();
    if foreign.is_empty() {
        return Ok(None);
    }
    let reason = format!("not on the domain allowlist: {}", foreign.join(", "));
    Ok(require_approval(ReasonCode::DomainNotAllowlisted, reason))
}
