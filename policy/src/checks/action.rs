//! Check 8: the action registry: the zone that an action belongs to, whether it can be undone, whether it is asked beforehand.

use gatewright_schemas::{ReasonCode, Zone};

use super::{Check, CheckError, Objection, deny, quoted, require_approval};
use crate::{document::ActionRule, facts::Facts};

/// The action type that is a write to the outside whether it is registered or not.
pub(crate) const EXTERNAL_WRITE: &str = "external.write";

pub(super) const CHECK: Check = Check {
    number: 8,
    name: "action",
    asks: "may this type of action happen in this zone, without being asked beforehand?",
    of_egress: true,
    applies: |facts| facts.action_type.is_some(),
    evaluate,
};

fn evaluate(facts: &Facts<'_>) -> Result<Option<Objection>, CheckError> {
    // Without a context or a policy checks 1 and 2 deny.
    let (Some(action), Ok(context), Some(policy)) =
        (facts.action_type, facts.context, facts.policy)
    else {
        return Ok(None);
    };
    let shown = quoted(action);
    Ok(match policy.action(action) {
        Some(rule) => registered(rule, &shown, context.zone),
        None if policy.unregistered_actions_need_approval() => require_approval(
            ReasonCode::ActionPreApprovalRequired,
            format!("the action `{shown}` is not registered"),
        ),
        None => None,
    })
}

/// The zone must be the very one: an action made for `sandbox` is no more at home in `high_stakes` than the other way round.
fn registered(rule: &ActionRule, action: &str, zone: Zone) -> Option<Objection> {
    let high_stakes = zone == Zone::HighStakes;
    match rule.zone {
        Some(Zone::HighStakes) if !high_stakes => require_approval(
            ReasonCode::ActionZoneRequiresHighStakes,
            format!(
                "the action `{action}` belongs to the zone `high_stakes`, and the call is in `{zone}`"
            ),
        ),
        Some(home) if home != zone => deny(
            ReasonCode::ActionZoneMismatch,
            format!(
                "the action `{action}` belongs to the zone `{home}`, and the call is in `{zone}`"
            ),
        ),
        _ if !rule.reversible && !high_stakes => require_approval(
            ReasonCode::ActionIrreversibleRequiresHighStakes,
            format!(
                "the action `{action}` cannot be undone, and the call is in `{zone}`, not in `high_stakes`"
            ),
        ),
        _ if rule.pre_approval => require_approval(
            ReasonCode::ActionPreApprovalRequired,
            format!("the action `{action}` needs approval beforehand"),
        ),
        _ => None,
    }
}
