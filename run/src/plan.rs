//! What a run is to do, read from its submission.

use gatewright_schemas::{
    OnFailure, StepId, ToolCallId,
    submission::{EgressSpec, Runtime, StepSpec, ToolCallSpec},
};
use gatewright_schemas::{RunId, WorkspaceId};
use serde_json::{Map, Value};

/// The tool that a run without steps calls once.
pub const NOOP: &str = "runtime.noop";
/// The tool that makes requests to the outside.
pub const EGRESS: &str = "egress.request";

/// The steps of a run, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The steps; never empty.
    pub steps: Vec<PlannedStep>,
}

/// A step of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedStep {
    /// Its id.
    pub step_id: StepId,
    /// What people call it.
    pub title: Option<String>,
    /// Its calls, in order; a step may have none.
    pub calls: Vec<PlannedCall>,
}

/// A tool call of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedCall {
    /// Its id, which is its idempotency key as well.
    pub tool_call_id: ToolCallId,
    /// The tool's name, trimmed.
    pub tool_name: String,
    /// Its input.
    pub input: Value,
    /// What the run does when it fails.
    pub on_failure: OnFailure,
    /// The sandbox it asks for, as it was written.
    pub sandbox_permissions: Option<String>,
}

impl Plan {
    /// The plan of a run: its steps, or one egress request, or one call that does nothing.
    pub fn of(workspace: &WorkspaceId, run: &RunId, runtime: &Runtime) -> Self {
        let steps = match (&runtime.steps, &runtime.egress) {
            (Some(steps), _) if !steps.is_empty() => steps.clone(),
            (_, Some(egress)) => vec![single(EGRESS, egress_input(egress))],
            _ => vec![single(NOOP, Value::Object(Map::new()))],
        };
        let steps = steps.into_iter().enumerate().map(|(s, step)| PlannedStep {
            step_id: StepId::of(workspace, run, s + 1),
            title: step.title,
            calls: step
                .tool_calls
                .into_iter()
                .enumerate()
                .map(|(c, call)| PlannedCall {
                    tool_call_id: ToolCallId::of(workspace, run, s + 1, c + 1),
                    tool_name: call.tool.trim().to_owned(),
                    input: call.input,
                    on_failure: call.on_failure,
                    sandbox_permissions: call.sandbox_permissions,
                })
                .collect(),
        });
        Self {
            steps: steps.collect(),
        }
    }
}

/// The step that makes one call.
pub fn single(tool: &str, input: Value) -> StepSpec {
    StepSpec {
        title: None,
        tool_calls: vec![ToolCallSpec {
            tool: tool.to_owned(),
            input,
            on_failure: OnFailure::Fail,
            sandbox_permissions: None,
        }],
    }
}

/// The input of the `egress.request` that the short form stands for.
pub fn egress_input(egress: &EgressSpec) -> Value {
    let mut input = Map::new();
    input.insert("target_url".into(), egress.target_url.clone().into());
    if let Some(method) = &egress.method {
        input.insert("method".into(), method.clone().into());
    }
    if let Some(action) = &egress.action {
        input.insert("action".into(), action.clone().into());
    }
    if let Some(context) = &egress.context {
        input.insert("context".into(), context.clone());
    }
    Value::Object(input)
}
