//! What the gate would say of a run's calls, with this program's tools: nothing is executed, recorded or counted.

use gatewright_bus::clock;
use gatewright_policy::{
    CallExplanation, PolicyContext, QuotaAnswer, RunExplanation, Snapshot, ToolCallRequest,
    explain_egress, explain_tool_call, host::hosts_in,
};
use gatewright_run::{Plan, PlannedCall, PlannedStep};
use gatewright_schemas::{Digest, ErrorInfo, RunId, Submission, WorkspaceId};

use crate::{
    egress::first_hop,
    tool::{Registry, ResolvedCall},
};

/// What the gate would say of each call of a run.
pub fn explain(
    workspace: &WorkspaceId,
    submission: &Submission,
    snapshot: &Snapshot,
    registry: &Registry,
) -> RunExplanation {
    let run = RunId::hypothetical();
    let plan = Plan::of(workspace, &run, &submission.input.runtime);
    let asker = Asker {
        workspace,
        run: &run,
        submission,
        snapshot,
        registry,
    };
    let mut calls = Vec::new();
    for (s, step) in plan.steps.iter().enumerate() {
        for (c, call) in step.calls.iter().enumerate() {
            calls.push(asker.explain(format!("{}.{}", s + 1, c + 1), step, call));
        }
    }
    RunExplanation {
        policy_revision: snapshot.policy().map(|policy| policy.revision()),
        blocked: calls.iter().any(|call| call.blocked),
        calls,
    }
}

struct Asker<'a> {
    workspace: &'a WorkspaceId,
    run: &'a RunId,
    submission: &'a Submission,
    snapshot: &'a Snapshot,
    registry: &'a Registry,
}

impl Asker<'_> {
    fn explain(&self, place: String, step: &PlannedStep, call: &PlannedCall) -> CallExplanation {
        let refused = |error: ErrorInfo| CallExplanation {
            call: place.clone(),
            tool: call.tool_name.clone(),
            error: Some(error),
            tool_gate: None,
            egress_gate: None,
            counters: Vec::new(),
            blocked: true,
        };
        let resolved = match self.registry.resolve(&call.tool_name, &call.input) {
            Ok(resolved) => resolved,
            Err(error) => return refused(error),
        };
        let hop = if resolved.definition().through_gateway {
            match first_hop(&call.tool_call_id, &call.input) {
                Ok(hop) => Some(hop),
                Err(error) => return refused(error),
            }
        } else {
            None
        };
        let request = self.request(step, call, &resolved);
        let (quota, now) = (QuotaAnswer::NotNeeded, clock::now());
        let tool_gate = explain_tool_call(&request, self.snapshot, None, &quota, now);
        let egress_gate = hop.map(|hop| {
            let request = hop.of_call(&request);
            explain_egress(&request, self.snapshot, None, &quota, now)
        });
        let blocked = tool_gate.decision.blocked
            || egress_gate
                .as_ref()
                .is_some_and(|gate| gate.decision.blocked);
        CallExplanation {
            call: place,
            tool: call.tool_name.clone(),
            error: None,
            tool_gate: Some(tool_gate),
            egress_gate,
            counters: Vec::new(),
            blocked,
        }
    }

    fn request(
        &self,
        step: &PlannedStep,
        call: &PlannedCall,
        resolved: &ResolvedCall,
    ) -> ToolCallRequest {
        ToolCallRequest {
            workspace_id: self.workspace.clone(),
            room_id: self.submission.room_id.clone(),
            run_id: self.run.clone(),
            step_id: step.step_id.clone(),
            tool_call_id: call.tool_call_id.clone(),
            context: PolicyContext::parse(&self.submission.input.runtime.policy),
            tool: resolved.policy_facts(),
            input_digest: Digest::of(&call.input),
            hosts: hosts_in(&call.input),
            sandbox_permissions: call.sandbox_permissions.clone(),
        }
    }
}
