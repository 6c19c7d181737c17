//! What a run is to do, read from its submission.

use gatewright_policy::context::{InvalidContext, PolicyContext};
use gatewright_schemas::{
    Digest, OnFailure, RunId, RuntimeActor, StepId, ToolCallId, Violation, WorkspaceId, Zone,
    event::{StepCreated, ToolRequested},
    submission::{EgressSpec, Runtime, StepSpec, ToolCallSpec},
};
use serde_json::{Map, Value};

/// The tool that a run without steps calls once.
pub const NOOP: &str = "runtime.noop";
/// The tool that makes requests to the outside.
pub const EGRESS: &str = "egress.request";

/// The steps of a run, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    workspace_id: WorkspaceId,
    run_id: RunId,
    /// The steps; empty only for a run of an outside agent that has opened none.
    pub steps: Vec<PlannedStep>,
}

/// A step of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedStep {
    /// Its id.
    pub step_id: StepId,
    /// What people call it.
    pub title: Option<String>,
    /// The key under which an outside agent asked for it; absent for a step of the run's own.
    pub request_key: Option<String>,
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
    /// What an outside agent said when it asked for it; absent for a call of the run's own steps.
    pub request: Option<Request>,
}

/// What an outside agent said when it asked for a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The key under which it may ask again without a second call coming of it.
    pub key: String,
    /// On whose authority, where that is not the run's own: as it was written.
    pub policy: Value,
    /// The same, read.
    pub context: Option<Result<PolicyContext, InvalidContext>>,
    /// Under what digest the call's secrets are kept; none when it has none.
    pub secrets: Option<Digest>,
}

impl Request {
    /// Reads what was recorded. A zone other than `zone`, the run's, is refused: placement is not the call's to choose.
    pub(crate) fn of(requested: &ToolRequested, zone: Zone) -> Self {
        let context = (!requested.policy.is_null()).then(|| {
            let context = PolicyContext::parse(&requested.policy)?;
            if context.zone == zone || !names_zone(&requested.policy) {
                return Ok(PolicyContext { zone, ..context });
            }
            let message = format!("is not the run's zone, `{zone}`");
            Err(InvalidContext {
                violations: vec![Violation::new("/zone", message)],
            })
        });
        Self {
            key: requested.request_key.clone(),
            policy: requested.policy.clone(),
            context,
            secrets: requested.secrets.clone(),
        }
    }
}

fn names_zone(policy: &Value) -> bool {
    let zone = policy.get("zone").and_then(Value::as_str);
    zone.is_some_and(|zone| !zone.trim().is_empty())
}

impl Plan {
    /// The plan of a run: its steps, or one egress request, or one call that does nothing.
    pub fn of(workspace: &WorkspaceId, run: &RunId, runtime: &Runtime) -> Self {
        if runtime.actor == RuntimeActor::External {
            // Its steps and calls come one at a time.
            return Self {
                workspace_id: workspace.clone(),
                run_id: run.clone(),
                steps: Vec::new(),
            };
        }
        let steps = match (&runtime.steps, &runtime.egress) {
            (Some(steps), _) if !steps.is_empty() => steps.clone(),
            (_, Some(egress)) => vec![single(EGRESS, egress_input(egress))],
            _ => vec![single(NOOP, Value::Object(Map::new()))],
        };
        let steps = steps.into_iter().enumerate().map(|(s, step)| PlannedStep {
            step_id: StepId::of(workspace, run, s + 1),
            title: step.title,
            request_key: None,
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
                    request: None,
                })
                .collect(),
        });
        Self {
            workspace_id: workspace.clone(),
            run_id: run.clone(),
            steps: steps.collect(),
        }
    }
}

impl Plan {
    /// Every call so far, in order.
    pub fn calls(&self) -> impl Iterator<Item = &PlannedCall> {
        self.steps.iter().flat_map(|step| &step.calls)
    }

    /// Adds a step without calls.
    pub(crate) fn open(&mut self, created: &StepCreated) {
        let number = self.steps.len() + 1;
        self.steps.push(PlannedStep {
            step_id: StepId::of(&self.workspace_id, &self.run_id, number),
            title: created.title.clone(),
            request_key: created.request_key.clone(),
            calls: Vec::new(),
        });
    }

    /// The id of the next call of the step at `index`.
    pub(crate) fn next_call_id(&self, index: usize) -> Option<ToolCallId> {
        let call = self.steps.get(index)?.calls.len() + 1;
        let (workspace, run) = (&self.workspace_id, &self.run_id);
        Some(ToolCallId::of(workspace, run, index + 1, call))
    }
}

impl PlannedCall {
    /// A call that an outside agent asked for, in a run of `zone`.
    pub(crate) fn requested(requested: &ToolRequested, zone: Zone) -> Self {
        Self {
            tool_call_id: requested.tool_call_id.clone(),
            tool_name: requested.tool_name.clone(),
            input: requested.input.clone(),
            // Its agent sees the failure, and says how to go on.
            on_failure: OnFailure::Continue,
            sandbox_permissions: requested.sandbox_permissions.clone(),
            request: Some(Request::of(requested, zone)),
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
