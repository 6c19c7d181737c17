//! Check 11: a write to the outside is approved, unless every host that it reaches is one for which the policy waives that.

use gatewright_schemas::ReasonCode;

use super::{Check, CheckError, Objection, require_approval};
use crate::facts::Facts;

pub(super) const CHECK: Check = Check {
    number: 11,
    name: "external_write",
    asks: "does the call write to the outside?",
    of_egress: true,
    applies: |facts| facts.is_external_write(),
    evaluate,
};

fn evaluate(facts: &Facts<'_>) -> Result<Option<Objection>, CheckError> {
    if !facts.is_external_write() {
        return Ok(None);
    }
    let hosts = facts.hosts.map_err(Clone::clone)?;
    // Without a policy check 2 denies.
    let Some(policy) = facts.policy else {
        return Ok(None);
    };
    // A write that names no host goes who knows where.
    let waived = !hosts.is_empty() && hosts.iter().all(|host| policy.is_domain_writable(host));
    if waived {
        return Ok(None);
    }
    let reason = match hosts.first() {
        Some(host) => format!("the call writes to the outside, to `{host}`"),
        None => "the call writes to the outside".to_owned(),
    };
    Ok(require_approval(
        ReasonCode::ExternalWriteRequiresApproval,
        reason,
    ))
}
