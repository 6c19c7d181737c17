//! Check 2: a policy is loaded, and the copy of it is fresh enough to decide on.

use gatewright_schemas::ReasonCode;

use super::{Check, CheckError, Objection, deny};
use crate::facts::Facts;

pub(super) const CHECK: Check = Check {
    number: 2,
    name: "snapshot",
    asks: "is a policy active, and is the copy of it fresh enough?",
    of_egress: true,
    applies: |_| true,
    evaluate,
};

fn evaluate(facts: &Facts<'_>) -> Result<Option<Objection>, CheckError> {
    let Some(policy) = facts.policy else {
        return Ok(deny(
            ReasonCode::PolicyMissing,
            "no policy is active; apply one with `gatewright policy apply`",
        ));
    };
    if !facts.is_stale(policy) {
        return Ok(None);
    }
    let bound = policy.document().max_snapshot_age;
    let reason = match facts.snapshot.synced_at() {
        Some(synced) => format!(
            "this copy of the policy was last in step at {synced}, and may be at most {bound} old"
        ),
        None => "this copy of the policy was never in step with the fleet's".to_owned(),
    };
    Ok(deny(ReasonCode::PolicySnapshotStale, reason))
}
