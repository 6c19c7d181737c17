//! A tool call: its intent, its refusal, its outcome.

use gatewright_policy::Permit;
use gatewright_schemas::{
    ApprovalId, Decision, DecisionRecord, Digest, Effect, ErrorInfo, EventBody, EventType,
    GateFacts,
    event::{PolicyDecided, QuotaExceeded, ToolFailed, ToolInvoked, ToolSucceeded},
};
use serde_json::Value;

use super::{Turn, Undecided};
use crate::{Decided, Impossible, PlannedCall, RunState};

/// A question that the gate was asked about a call, and its answer.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `tool`, or `egress` for the request that an `egress.request` makes.
    pub category: &'static str,
    /// The action type, where there is one.
    pub action_type: Option<String>,
    /// Digest of the call's input.
    pub input_digest: Option<Digest>,
    /// The hosts that the input names.
    pub hosts: Vec<String>,
    /// What else was asked.
    pub facts: GateFacts,
    /// The answer.
    pub record: DecisionRecord,
    /// The limit that is reached, where that is what the gate objects to.
    pub exceeded: Option<QuotaExceeded>,
}

/// A call that the gate lets happen.
#[derive(Debug)]
pub struct Invocation<'a> {
    /// The gate's permit for this call: names it, its tool's definition and its input.
    pub permit: &'a Permit,
    /// What the gate was asked about it, in order; the first is the call itself.
    pub asked: Vec<Asked>,
    /// What the tool does to the world with this input.
    pub effect: Effect,
    /// Whether it may be executed again under the same idempotency key.
    pub idempotent: bool,
    /// The input as it may be shown.
    pub shown_input: Value,
    /// The approval that is spent with it.
    pub approval_id: Option<ApprovalId>,
    /// What is recorded before the intent, such as `egress.requested`.
    pub before: Vec<EventBody>,
}

/// How a call ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What the tool answered, or why it failed.
    pub result: Result<Value, ErrorInfo>,
    /// What is recorded with it, such as `egress.allowed`.
    pub events: Vec<EventBody>,
    /// How often the tool was executed.
    pub executions: u32,
    /// How long it took, in microseconds.
    pub duration_us: u64,
}

/// Records the intent to make the call. After this is stored, and never before, the tool is executed.
pub fn invoke(
    state: &RunState,
    turn: Option<Turn>,
    call: &PlannedCall,
    invocation: Invocation<'_>,
) -> Result<Decided, Undecided> {
    if *invocation.permit.tool_call_id() != call.tool_call_id {
        return Err(Undecided::Impossible(Impossible {
            event: EventType::ToolInvoked,
            state: "has a permit for another call",
        }));
    }
    let mut decided = Decided::on(state);
    decided.begin(turn)?;
    decided.open_step()?;
    // In shadow mode a refusal is recorded and the call is made all the same.
    push_refusals(&mut decided, call, &invocation.asked)?;
    for body in invocation.before {
        let body = with_answer(body, &decided, call, &invocation.asked)?;
        decided.push(body)?;
    }
    let progress = decided.state().progress.as_ref();
    let context = progress.and_then(|progress| progress.context_of(call).as_ref().ok());
    let principal_id = context.and_then(|c| c.principal_id.clone());
    let capability_token_id = context.and_then(|c| c.capability_token_id.clone());
    let Some(first) = invocation.asked.into_iter().next() else {
        return Err(Undecided::NotFound);
    };
    decided.push(EventBody::ToolInvoked(ToolInvoked {
        tool_call_id: invocation.permit.tool_call_id().clone(),
        tool_name: call.tool_name.clone(),
        definition_digest: invocation.permit.definition_digest().clone(),
        effect: invocation.effect,
        idempotent: invocation.idempotent,
        input: invocation.shown_input,
        input_digest: invocation.permit.input_digest().clone(),
        decision: first.record,
        approval_id: invocation.approval_id,
        action_type: first.action_type,
        principal_id,
        capability_token_id,
        hosts: first.hosts,
        asked: Some(first.facts),
    }))?;
    Ok(decided)
}

/// Records that the call is not made: the gate refused it, or it cannot be made at all.
///
/// Without any question asked this is a call of an unknown tool or with an invalid input.
pub fn refuse(
    state: &RunState,
    turn: Option<Turn>,
    call: &PlannedCall,
    asked: &[Asked],
    events: Vec<EventBody>,
    error: ErrorInfo,
) -> Result<Decided, Undecided> {
    let mut decided = Decided::on(state);
    decided.begin(turn)?;
    decided.open_step()?;
    push_refusals(&mut decided, call, asked)?;
    for body in events {
        decided.push(body)?;
    }
    decided.push(EventBody::ToolFailed(ToolFailed {
        tool_call_id: call.tool_call_id.clone(),
        tool_name: call.tool_name.clone(),
        error: error.of_tool(&call.tool_name),
        executions: intents(state),
        duration_us: 0,
    }))?;
    decided.wind_up()?;
    Ok(decided)
}

/// Records how the call ended, and ends the step and the run where it was their last.
pub fn conclude(
    state: &RunState,
    call: &PlannedCall,
    outcome: Outcome,
) -> Result<Decided, Undecided> {
    let mut decided = Decided::on(state);
    for body in outcome.events {
        decided.push(body)?;
    }
    let (executions, duration_us) = (outcome.executions, outcome.duration_us);
    let tool_call_id = call.tool_call_id.clone();
    decided.push(match outcome.result {
        Ok(output) => EventBody::ToolSucceeded(ToolSucceeded {
            tool_call_id,
            output,
            executions,
            duration_us,
        }),
        Err(error) => EventBody::ToolFailed(ToolFailed {
            tool_call_id,
            tool_name: call.tool_name.clone(),
            error: error.of_tool(&call.tool_name),
            executions,
            duration_us,
        }),
    })?;
    decided.wind_up()?;
    Ok(decided)
}

/// How often the call whose turn it is was made already.
///
/// More than 0 when an earlier attempt was allowed to make the call, and this one is not.
pub(super) fn intents(state: &RunState) -> u32 {
    let progress = state.progress.as_ref();
    let open = progress.and_then(|p| p.open_call.as_ref());
    open.map_or(0, |open| open.intents)
}

/// Adds an event for each answer that was not `allow`, behind the one that says which limit is reached.
pub(super) fn push_refusals(
    decided: &mut Decided,
    call: &PlannedCall,
    asked: &[Asked],
) -> Result<(), Undecided> {
    for asked in asked {
        if let Some(exceeded) = &asked.exceeded {
            decided.push(EventBody::QuotaExceeded(exceeded.clone()))?;
        }
        let body = told(decided.state(), call, asked)?;
        match asked.record.decision {
            Decision::Allow => {}
            Decision::Deny => decided.push(EventBody::PolicyDenied(body))?,
            Decision::RequireApproval => decided.push(EventBody::PolicyRequiresApproval(body))?,
        }
    }
    Ok(())
}

/// A question about `call` and its answer, as events tell them.
pub fn told(
    state: &RunState,
    call: &PlannedCall,
    asked: &Asked,
) -> Result<PolicyDecided, Undecided> {
    let progress = state.progress.as_ref().ok_or(Undecided::NotFound)?;
    let context = progress.context_of(call).as_ref().ok();
    Ok(PolicyDecided {
        tool_call_id: call.tool_call_id.clone(),
        tool_name: call.tool_name.clone(),
        category: asked.category.to_owned(),
        action_type: asked.action_type.clone(),
        input_digest: asked.input_digest.clone(),
        principal_id: context.and_then(|c| c.principal_id.clone()),
        capability_token_id: context.and_then(|c| c.capability_token_id.clone()),
        zone: progress.created.zone,
        hosts: asked.hosts.clone(),
        decision: asked.record.clone(),
        asked: Some(asked.facts.clone()),
    })
}

/// `egress.requested` with the answer that allowed it. A refusal has an event of its own.
fn with_answer(
    body: EventBody,
    decided: &Decided,
    call: &PlannedCall,
    asked: &[Asked],
) -> Result<EventBody, Undecided> {
    let EventBody::EgressRequested(mut requested) = body else {
        return Ok(body);
    };
    let answer = asked.iter().find(|asked| asked.facts.hop.is_some());
    if let Some(allowed) = answer.filter(|asked| asked.record.decision == Decision::Allow) {
        requested.gate = Some(Box::new(told(decided.state(), call, allowed)?));
    }
    Ok(EventBody::EgressRequested(requested))
}
