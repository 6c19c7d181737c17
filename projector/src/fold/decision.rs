//! `policy_decisions`.

use gatewright_schemas::{Decision, Event, EventBody, event::PolicyDecided};
use gatewright_store::projection::{DecisionRow, Decisions};

use crate::ids::bigint;

/// Every refusal has its own event. An allowed call's answer is in `tool.invoked`, an allowed request's in `egress.requested`;
/// where the former repeats a refusal that was not obeyed (shadow mode), it is not counted again.
pub(super) fn record(decisions: &mut Decisions, event: &Event, body: &EventBody) {
    match body {
        EventBody::ToolInvoked(invoked) if invoked.decision.decision == Decision::Allow => {
            let token = invoked.capability_token_id.as_ref();
            // Older events name the run's principal only.
            let principal = invoked.principal_id.as_ref();
            let principal = principal.or(event.actor_principal_id.as_ref());
            decisions.add(&DecisionRow {
                decided_at: event.occurred_at,
                seq: bigint(event.seq),
                workspace_id: &event.workspace_id,
                run_id: &event.run_id,
                tool_call_id: &invoked.tool_call_id,
                category: "tool",
                zone: event.zone,
                principal_id: principal.map(AsRef::as_ref),
                capability_token_id: token.map(AsRef::as_ref),
                tool_name: &invoked.tool_name,
                action_type: invoked.action_type.as_deref(),
                room_id: event.room_id.as_deref(),
                hosts: &invoked.hosts,
                asked: invoked.asked.as_ref(),
                record: &invoked.decision,
            });
        }
        EventBody::PolicyDenied(decided) | EventBody::PolicyRequiresApproval(decided) => {
            decisions.add(&row(event, decided));
        }
        EventBody::EgressRequested(requested) => {
            if let Some(decided) = &requested.gate {
                decisions.add(&row(event, decided));
            }
        }
        _ => {}
    }
}

fn row<'a>(event: &'a Event, decided: &'a PolicyDecided) -> DecisionRow<'a> {
    DecisionRow {
        decided_at: event.occurred_at,
        seq: bigint(event.seq),
        workspace_id: &event.workspace_id,
        run_id: &event.run_id,
        tool_call_id: &decided.tool_call_id,
        category: &decided.category,
        zone: decided.zone,
        principal_id: decided.principal_id.as_ref().map(AsRef::as_ref),
        capability_token_id: decided.capability_token_id.as_ref().map(AsRef::as_ref),
        tool_name: &decided.tool_name,
        action_type: decided.action_type.as_deref(),
        room_id: event.room_id.as_deref(),
        hosts: &decided.hosts,
        asked: decided.asked.as_ref(),
        record: &decided.decision,
    }
}
