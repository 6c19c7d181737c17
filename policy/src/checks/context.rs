//! Check 1: the context is well formed.

use gatewright_schemas::ReasonCode;

use super::{Check, CheckError, Objection, deny};
use crate::facts::Facts;

pub(super) const CHECK: Check = Check {
    number: 1,
    name: "context",
    asks: "can `runtime.policy` be read?",
    of_egress: true,
    applies: |_| true,
    evaluate,
};

fn evaluate(facts: &Facts<'_>) -> Result<Option<Objection>, CheckError> {
    let Err(invalid) = facts.context else {
        return Ok(None);
    };
    let reason = format!("`runtime.policy` cannot be read: {invalid}");
    Ok(deny(ReasonCode::PolicyContextInvalid, reason))
}
