//! The spans of a worker's work. Nothing that a call is made with, or that it answers, stands in one.
//!
//! Names and attributes are those of OpenTelemetry's conventions for messaging and for tools of agents, where these have one.

use std::time::{Duration, SystemTime};

use gatewright_bus::{queue::Delivery, trace};
use gatewright_run::RunState;
use gatewright_schemas::{DecisionRecord, ToolCallId};
use gatewright_traces::{Kind, Place, Span};

/// A turn at a run: from the wake-up in hand to where it goes no further.
pub(crate) fn of_turn(delivery: &Delivery, state: &RunState) -> Span {
    let place = trace::of_run(state).place_of(delivery.trace.as_ref());
    let span = Span::begin_at(&place, Kind::Consumer, "process QUEUE", SystemTime::now());
    if span.is_recorded() {
        span.set("messaging.system", "nats");
        span.set("messaging.operation.name", "process");
        span.set("messaging.operation.type", "process");
        span.set("gatewright.workspace_id", state.workspace_id.to_string());
        span.set("gatewright.run_id", state.run_id.to_string());
        span.set("gatewright.zone", delivery.zone.as_str());
        span.set("gatewright.deliveries", delivery.delivered);
    }
    span
}

/// What the gate answered, which took so long.
pub(crate) fn of_decision(
    category: &'static str,
    call: &ToolCallId,
    name: &str,
    record: &DecisionRecord,
    took: Duration,
) {
    let Some(place) = Place::current().filter(|_| gatewright_traces::is_on()) else {
        return;
    };
    let now = SystemTime::now();
    let began = now.checked_sub(took).unwrap_or(now);
    let span = Span::begin_at(&place, Kind::Internal, "authorize_tool_call", began);
    if span.is_recorded() {
        span.set("gen_ai.tool.name", name.to_owned());
        span.set("gen_ai.tool.call.id", call.to_string());
        span.set("gatewright.category", category);
        span.set("gatewright.decision", record.decision.as_str());
        span.set("gatewright.reason_code", record.reason_code.as_str());
        span.set("gatewright.blocked", record.blocked);
    }
}

/// One execution of a call.
pub(crate) fn of_execution(call: &ToolCallId, tool: &str, executions: u32) -> Span {
    let span = Span::begin(Kind::Internal, format!("execute_tool {tool}"));
    if span.is_recorded() {
        span.set("gen_ai.operation.name", "execute_tool");
        span.set("gen_ai.tool.name", tool.to_owned());
        span.set("gen_ai.tool.call.id", call.to_string());
        span.set("gatewright.executions", i64::from(executions));
    }
    span
}
