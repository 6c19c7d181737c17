//! Check 3: nothing about the call is switched off.

use gatewright_schemas::ReasonCode;

use super::{Check, CheckError, Objection, deny, quoted};
use crate::facts::Facts;

pub(super) const CHECK: Check = Check {
    number: 3,
    name: "kill_switch",
    asks: "is the fleet, the workspace, the tool, the zone or writing to the outside switched off?",
    of_egress: true,
    applies: |facts| facts.policy.is_some(),
    evaluate,
};

fn evaluate(facts: &Facts<'_>) -> Result<Option<Objection>, CheckError> {
    // Without a policy check 2 denies.
    let Some(policy) = facts.policy else {
        return Ok(None);
    };
    let tool = &facts.tool.name;
    let reason = if policy.is_fleet_killed() {
        "the whole fleet is switched off".to_owned()
    } else if policy.is_workspace_killed(facts.workspace) {
        format!("the workspace `{}` is switched off", facts.workspace)
    } else if policy.is_tool_killed(tool) {
        format!("the tool `{}` is switched off", quoted(tool))
    } else if let Some(zone) = facts
        .context
        .ok()
        .map(|context| context.zone)
        .filter(|zone| policy.is_zone_killed(*zone))
    {
        format!("the zone `{zone}` is switched off")
    } else if policy.are_external_writes_killed() && facts.is_external_write() {
        "writing to the outside is switched off".to_owned()
    } else {
        return Ok(None);
    };
    Ok(deny(ReasonCode::KillSwitchActive, reason))
}
