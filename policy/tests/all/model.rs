//! The gate's semantics a second time, as plainly as they can be written.
//!
//! Linear scans over the document and the tokens as they stand, string comparisons, one long function: nothing is shared
//! with the gate but the wire's types.

use gatewright_schemas::{ActorType, CapabilityToken, Decision, Effect, ReasonCode, Zone};
use serde_json::Value;

use crate::world::acme;
use crate::{scenes::Scene, world};

fn matches_pattern(pattern: &str, host: &str) -> bool {
    pattern == "*"
        || pattern == host
        || pattern
            .strip_prefix("*.")
            .is_some_and(|apex| host == apex || host.ends_with(&format!(".{apex}")))
}

fn allows(scope: &[String], name: &str) -> bool {
    scope.iter().any(|entry| entry == "*" || entry == name)
}

/// What the gate must answer in this scene, where the document enforces and nothing is over a limit.
#[expect(
    clippy::too_many_lines,
    reason = "one list from top to bottom is what makes it easy to believe"
)]
pub fn answer(scene: &Scene) -> (Decision, ReasonCode) {
    use ReasonCode as C;
    let document = &scene.document;
    let text = |name: &str| scene.context.get(name).and_then(Value::as_str);
    let zone: Zone = text("zone").unwrap_or("sandbox").parse().unwrap();
    let find = |id: &str| {
        scene
            .tokens
            .iter()
            .find(|token| token.token_id.as_str() == id)
    };
    let known = |id: &str| {
        scene
            .principals
            .iter()
            .find(|p| p.principal_id.as_str() == id)
    };
    let mut denied: Vec<(u8, C)> = vec![];
    let mut asks: Vec<(u8, C)> = vec![];

    let external = scene.action.as_deref() == Some("external.write")
        || document
            .actions
            .iter()
            .any(|rule| Some(&rule.action_type) == scene.action.as_ref() && rule.external_write)
        || (scene.effect == Effect::Write && !scene.hosts.is_empty());

    // 3
    let kill = &document.kill_switches;
    if kill.fleet
        || kill.workspaces.contains(&acme())
        || kill.tools.iter().any(|tool| tool.as_str() == scene.tool)
        || kill.zones.contains(&zone)
        || (kill.external_writes && external)
    {
        denied.push((3, C::KillSwitchActive));
    }
    // 4
    if text("actor_type") == Some("agent") {
        match text("principal_id").map(known) {
            None => denied.push((4, C::AgentPrincipalRequired)),
            Some(None) => denied.push((4, C::AgentPrincipalNotFound)),
            Some(Some(principal)) => {
                if principal.principal_type != ActorType::Agent
                    || Some(principal.actor_id.as_str()) != text("actor_id")
                {
                    denied.push((4, C::AgentActorIdMismatch));
                }
            }
        }
    }
    // the token and its ancestors
    let named = text("capability_token_id");
    let mut line: Vec<&CapabilityToken> = vec![];
    let mut missing = false;
    let mut next = named.map(str::to_owned);
    while let Some(id) = next.take() {
        match find(&id) {
            None => missing = true,
            Some(token) => {
                line.push(token);
                next = token.parent_token_id.as_ref().map(ToString::to_string);
            }
        }
    }
    let holder = line
        .first()
        .filter(|_| !missing)
        .map(|t| t.issued_to_principal_id.to_string());
    // 5
    for id in [text("principal_id").map(str::to_owned), holder.clone()]
        .into_iter()
        .flatten()
    {
        if known(&id).is_some_and(|principal| principal.quarantine.is_some()) {
            denied.push((5, C::AgentQuarantined));
        }
    }
    // 6
    let demanded = document.tokens.required_in_zones.contains(&zone)
        || document
            .tokens
            .required_for_tools
            .iter()
            .any(|tool| tool.as_str() == scene.tool);
    if named.is_none() {
        if demanded {
            denied.push((6, C::CapabilityTokenRequired));
        }
    } else if missing {
        denied.push((6, C::CapabilityTokenNotFound));
    } else {
        let first_dead = line.iter().find_map(|token| {
            if token.revoked_at.is_some() {
                Some(C::CapabilityTokenRevoked)
            } else if token.valid_until.is_some_and(|until| until <= world::now()) {
                Some(C::CapabilityTokenExpired)
            } else {
                None
            }
        });
        if let Some(code) = first_dead {
            denied.push((6, code));
        } else if text("principal_id").is_some_and(|given| Some(given) != holder.as_deref()) {
            denied.push((6, C::CapabilityTokenPrincipalMismatch));
        }
        // 7
        let mut lacks = vec![];
        for token in &line {
            let scopes = &token.scopes;
            let mut axis =
                |order: u8, scope: &[String], covered: bool, required: C, not_allowed: C| {
                    if !covered {
                        lacks.push((
                            order,
                            if scope.is_empty() {
                                required
                            } else {
                                not_allowed
                            },
                        ));
                    }
                };
            axis(
                1,
                &scopes.tools,
                allows(&scopes.tools, &scene.tool),
                C::CapabilityScopeToolRequired,
                C::CapabilityScopeToolNotAllowed,
            );
            let room = scene.room.clone().unwrap_or_else(|| "*".into());
            axis(
                2,
                &scopes.rooms,
                allows(&scopes.rooms, &room),
                C::CapabilityScopeRoomRequired,
                C::CapabilityScopeRoomNotAllowed,
            );
            let action = scene
                .action
                .as_ref()
                .is_none_or(|action| allows(&scopes.action_types, action));
            axis(
                3,
                &scopes.action_types,
                action,
                C::CapabilityScopeActionTypeRequired,
                C::CapabilityScopeActionNotAllowed,
            );
            let hosts = scene.hosts.iter().all(|host| {
                scopes
                    .egress_domains
                    .iter()
                    .any(|pattern| matches_pattern(pattern, host))
            });
            axis(
                4,
                &scopes.egress_domains,
                hosts,
                C::CapabilityScopeEgressDomainRequired,
                C::CapabilityScopeEgressDomainNotAllowed,
            );
            let (read, write) = (&scopes.data_access.read, &scopes.data_access.write);
            let reads = scene.data.read.iter().all(|label| allows(read, label));
            let writes = scene.data.write.iter().all(|label| allows(write, label));
            if !reads {
                axis(
                    5,
                    read,
                    false,
                    C::CapabilityScopeDataAccessRequired,
                    C::CapabilityScopeDataAccessNotAllowed,
                );
            } else if !writes {
                axis(
                    5,
                    write,
                    false,
                    C::CapabilityScopeDataAccessRequired,
                    C::CapabilityScopeDataAccessNotAllowed,
                );
            }
        }
        lacks.sort_by_key(|(order, _)| *order);
        denied.extend(lacks.first().map(|(_, code)| (7, *code)));
    }
    // 8
    if let Some(action) = &scene.action {
        let high = zone == Zone::HighStakes;
        match document
            .actions
            .iter()
            .find(|rule| rule.action_type == *action)
        {
            None if document.unregistered_actions_need_approval => {
                asks.push((8, C::ActionPreApprovalRequired));
            }
            Some(rule) if rule.zone == Some(Zone::HighStakes) && !high => {
                asks.push((8, C::ActionZoneRequiresHighStakes));
            }
            Some(rule) if rule.zone.is_some_and(|home| home != zone) => {
                denied.push((8, C::ActionZoneMismatch));
            }
            Some(rule) if !rule.reversible && !high => {
                asks.push((8, C::ActionIrreversibleRequiresHighStakes));
            }
            Some(rule) if rule.pre_approval => asks.push((8, C::ActionPreApprovalRequired)),
            Some(_) | None => {}
        }
    }
    // 9
    match scene.sandbox.as_deref() {
        None | Some("use_default") => {}
        Some("require_escalated") => asks.push((9, C::SandboxEscalationRequiresApproval)),
        Some(_) => denied.push((9, C::SandboxPermissionsUnknown)),
    }
    // 10
    let listed = |list: &[gatewright_policy::DomainPattern], host: &str| {
        list.iter()
            .any(|pattern| matches_pattern(&pattern.to_string(), host))
    };
    if scene
        .hosts
        .iter()
        .any(|host| !listed(&document.domains.allow, host))
    {
        asks.push((10, C::DomainNotAllowlisted));
    }
    // 11
    let waived = !scene.hosts.is_empty()
        && scene
            .hosts
            .iter()
            .all(|host| listed(&document.domains.allow_writes, host));
    if external && !waived {
        asks.push((11, C::ExternalWriteRequiresApproval));
    }
    // 12
    let on = |list: &[gatewright_policy::document::ToolName]| {
        list.iter().any(|tool| tool.as_str() == scene.tool)
    };
    let auto = on(&document.auto_allow);
    if on(&document.require_approval) {
        asks.push((12, C::ToolRequiresApproval));
    } else if !auto {
        match document.default {
            Decision::Allow => {}
            Decision::Deny => denied.push((12, C::DefaultDeny)),
            Decision::RequireApproval => asks.push((12, C::DefaultRequiresApproval)),
        }
    }
    // weigh
    if let Some((_, code)) = denied.iter().min_by_key(|(check, _)| *check) {
        return (Decision::Deny, *code);
    }
    let granted = scene.grant.clone().unwrap_or_default();
    if let Some((_, code)) = asks.iter().find(|(_, code)| !granted.contains(code)) {
        return (Decision::RequireApproval, *code);
    }
    let code = match (asks.is_empty(), auto) {
        (false, _) => C::ApprovalAllowsAction,
        (true, true) => C::ToolAutoAllowed,
        (true, false) => C::DefaultAllow,
    };
    (Decision::Allow, code)
}
