//! A recorded decision as the question that it answered.

use gatewright_schemas::{
    ActorType, Digest, Effect, GateFacts, HopFacts, OnApproval, ReasonCode, RecordedDecision,
    StepId, Violation, event::Actor, gate_facts::DEFAULT_ACTOR_ID,
};

use crate::{
    EgressRequest, Host, InvalidContext, PolicyContext, ToolCallRequest, ToolFacts,
    host::{HostProblem, UnreadableHost},
};

/// Why a recorded decision cannot be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Unreplayable {
    /// It was recorded before the facts were.
    #[error("recorded by a version that did not record what the gate was asked")]
    NoFacts,
    /// A host is not one any more: it held a secret, which was taken out of the record.
    #[error("a host cannot be read, since a secret was taken out of it")]
    Host,
    /// What was asked is neither of the two questions that this version knows.
    #[error("another question than this version knows")]
    Question,
}

/// What the gate was asked.
pub(super) enum Question {
    /// May the tool be called?
    Tool(ToolCallRequest),
    /// May the call send this request?
    Egress(EgressRequest),
}

impl Question {
    pub(super) fn of(recorded: &RecordedDecision) -> Result<Self, Unreplayable> {
        let facts = recorded.asked.as_ref().ok_or(Unreplayable::NoFacts)?;
        match (recorded.category.as_str(), &facts.hop) {
            ("tool", None) => Ok(Self::Tool(tool_call(recorded, facts)?)),
            ("egress", Some(hop)) => Ok(Self::Egress(egress(recorded, facts, hop)?)),
            _ => Err(Unreplayable::Question),
        }
    }
}

/// Whether the recorded answer objected to this.
pub(super) fn objected(recorded: &RecordedDecision, code: ReasonCode) -> bool {
    let mut findings = recorded.decision.findings.iter();
    findings.any(|finding| finding.reason_code == code)
}

/// Stands for what no check looks at, or looks at only to compare it with an approval that is made up alike.
pub(super) fn any_digest() -> Digest {
    Digest::of_bytes(b"")
}

fn tool_call(
    recorded: &RecordedDecision,
    facts: &GateFacts,
) -> Result<ToolCallRequest, Unreplayable> {
    let hosts = if facts.hosts_unreadable {
        Err(UnreadableHost::new("", HostProblem::Malformed))
    } else {
        let hosts = recorded.hosts.iter().map(|text| host(text));
        Ok(hosts.collect::<Result<Vec<_>, _>>()?)
    };
    Ok(ToolCallRequest {
        workspace_id: recorded.workspace_id.clone(),
        room_id: recorded.room_id.clone(),
        run_id: recorded.run_id.clone(),
        step_id: StepId::of(&recorded.workspace_id, &recorded.run_id, 1),
        tool_call_id: recorded.tool_call_id.clone(),
        context: context(recorded, facts),
        tool: tool(recorded, facts),
        input_digest: any_digest(),
        hosts,
        sandbox_permissions: facts.sandbox_permissions.clone(),
    })
}

fn egress(
    recorded: &RecordedDecision,
    facts: &GateFacts,
    hop: &HopFacts,
) -> Result<EgressRequest, Unreplayable> {
    let own = host(&hop.host)?;
    let call_host = hop.call_host.as_deref().map(host).transpose()?;
    Ok(EgressRequest {
        workspace_id: recorded.workspace_id.clone(),
        room_id: recorded.room_id.clone(),
        run_id: recorded.run_id.clone(),
        step_id: StepId::of(&recorded.workspace_id, &recorded.run_id, 1),
        tool_call_id: recorded.tool_call_id.clone(),
        context: context(recorded, facts),
        tool: tool(recorded, facts),
        input_digest: any_digest(),
        hop: hop.number,
        method: hop.method.clone(),
        call_host: call_host.unwrap_or_else(|| own.clone()),
        host: own,
        action_type: recorded.action_type.clone().unwrap_or_default(),
        url_digest: any_digest(),
    })
}

fn context(
    recorded: &RecordedDecision,
    facts: &GateFacts,
) -> Result<PolicyContext, InvalidContext> {
    if objected(recorded, ReasonCode::PolicyContextInvalid) {
        return Err(InvalidContext {
            violations: vec![Violation::new("", recorded.decision.reason.clone())],
        });
    }
    let fleet = || Actor {
        actor_id: DEFAULT_ACTOR_ID.to_owned(),
        actor_type: ActorType::Service,
    };
    Ok(PolicyContext {
        principal_id: recorded.principal_id.clone(),
        capability_token_id: recorded.capability_token_id.clone(),
        zone: recorded.zone,
        actor: facts.actor.clone().unwrap_or_else(fleet),
        on_approval: OnApproval::default(),
    })
}

/// An action type on a tool call is the tool's; on a request it is the request's, and the gate looks at that one alone.
fn tool(recorded: &RecordedDecision, facts: &GateFacts) -> ToolFacts {
    ToolFacts {
        name: recorded.tool_name.clone(),
        definition_digest: any_digest(),
        effect: facts.effect.unwrap_or(Effect::None),
        action_type: recorded.action_type.clone(),
        requires_token: facts.requires_token,
        data: facts.data.clone(),
        through_gateway: facts.through_gateway,
        sandboxed: facts.sandboxed,
    }
}

fn host(text: &str) -> Result<Host, Unreplayable> {
    let host = Host::parse(text).map_err(|_| Unreplayable::Host)?;
    // In the record every host has its one spelling. What reads as another one is not what was asked about.
    if host.as_str() == text {
        Ok(host)
    } else {
        Err(Unreplayable::Host)
    }
}
