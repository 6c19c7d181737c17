//! Check 4: an agent acts under its own principal.

use gatewright_schemas::{ActorType, ReasonCode};

use super::{Check, CheckError, Objection, deny, quoted};
use crate::facts::Facts;

pub(super) const CHECK: Check = Check {
    number: 4,
    name: "agent",
    asks: "does an acting agent name its principal, and is it that agent?",
    of_egress: true,
    applies: is_agent,
    evaluate,
};

fn is_agent(facts: &Facts<'_>) -> bool {
    facts
        .context
        .is_ok_and(|context| context.actor.actor_type == ActorType::Agent)
}

fn evaluate(facts: &Facts<'_>) -> Result<Option<Objection>, CheckError> {
    let Some(context) = facts.context.ok().filter(|_| is_agent(facts)) else {
        return Ok(None);
    };
    // It must be given: a token's holder is on whose authority, not who acts.
    let Some(principal_id) = &context.principal_id else {
        return Ok(deny(
            ReasonCode::AgentPrincipalRequired,
            "an agent acts and names no `principal_id`",
        ));
    };
    let Some(principal) = facts.known(principal_id) else {
        let reason = format!(
            "the workspace `{}` knows no principal `{principal_id}`",
            facts.workspace
        );
        return Ok(deny(ReasonCode::AgentPrincipalNotFound, reason));
    };
    let actor_id = &context.actor.actor_id;
    if principal.principal_type == ActorType::Agent && principal.actor_id == *actor_id {
        return Ok(None);
    }
    let reason = format!(
        "the principal `{principal_id}` is not the agent `{}`",
        quoted(actor_id)
    );
    Ok(deny(ReasonCode::AgentActorIdMismatch, reason))
}
