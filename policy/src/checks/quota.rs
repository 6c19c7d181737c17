//! Check 13: the limit that the call consumes was reserved for it.
//!
//! `authorize.rs` asks this one only when the call would otherwise run, or when the shell has an answer in hand.

use gatewright_schemas::ReasonCode;

use super::{Check, CheckError, Objection, deny};
use crate::{
    facts::{Facts, Pass},
    quota::QuotaAnswer,
};

pub(super) const CHECK: Check = Check {
    number: 13,
    name: "quota",
    asks: "is anything left of the tool's daily limit, or of the principal's hourly one?",
    of_egress: true,
    applies: |facts| facts.quota_needed().is_some(),
    evaluate,
};

fn evaluate(facts: &Facts<'_>) -> Result<Option<Objection>, CheckError> {
    let code = match facts.pass {
        Pass::Tool { .. } => ReasonCode::ToolQuotaExceeded,
        Pass::Egress { .. } => ReasonCode::QuotaExceeded,
    };
    match (facts.quota_needed(), facts.quota) {
        (None, QuotaAnswer::NotNeeded | QuotaAnswer::Granted(_)) => Ok(None),
        (Some(needed), QuotaAnswer::Granted(reserved)) if needed == *reserved => Ok(None),
        (Some(needed), QuotaAnswer::Granted(reserved)) => Err(CheckError::OtherQuota {
            needed: needed.name,
            reserved: reserved.name.clone(),
        }),
        (Some(needed), QuotaAnswer::NotNeeded) => Err(CheckError::QuotaNotAsked(needed.name)),
        (needed, QuotaAnswer::Unavailable) => Err(CheckError::QuotaUnavailable(
            needed.map_or_else(String::new, |quota| quota.name),
        )),
        (
            needed,
            QuotaAnswer::Exceeded {
                name,
                limit,
                resets_at,
            },
        ) => {
            let window = needed.map_or("window", |quota| quota.window.as_str());
            Ok(deny(
                code,
                format!(
                    "all {limit} units that the limit `{name}` has in this {window} (UTC) are used; it starts anew at {resets_at}"
                ),
            ))
        }
    }
}
