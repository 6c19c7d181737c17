//! The tools, and the only door to them.
//!
//! [`Registry::resolve`] turns a name and an input into a [`ResolvedCall`], the gate turns that into a [`Permit`],
//! and [`execute_with_limits`] spends the permit on one execution.
//! A tool takes its permit by value and refuses one that names another call, another input or another definition.
//!
//! To add a tool: one file with its [`Definition`] and its [`Tool`], one line in [`Registry::standard`], one test.

mod definition;
mod echo;
mod egress_request;
mod exec_command;
pub(crate) mod in_sandbox;
mod input;
mod limits;
mod noop;
mod registry;

use std::pin::Pin;

use gatewright_policy::Permit;
use gatewright_schemas::{
    Digest, Effect, ErrorInfo, EventBody, ReasonCode, RunId, Stage, ToolCallId, Violation,
    WorkspaceId,
};
use serde_json::Value;

use crate::egress::{HopGate, Rules, Secrets};

pub use definition::Definition;
pub use echo::Echo;
pub use egress_request::EgressRequestTool;
pub use exec_command::ExecCommand;
pub use input::Input;
pub use limits::execute_with_limits;
pub use noop::Noop;
pub use registry::{Registry, ResolvedCall, UnusableTool};

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something that a run can call.
pub trait Tool: Send + Sync {
    /// What the fleet knows of it.
    fn definition(&self) -> &Definition;

    /// What a call with this (valid) input does to the world; the definition's own words unless the tool overrides it.
    fn facts(&self, _input: &Value) -> CallFacts {
        let definition = self.definition();
        CallFacts {
            effect: definition.effect,
            idempotent: definition.idempotent,
            action_type: definition.action_type.clone(),
        }
    }

    /// What a JSON Schema cannot say of an input that fits it. The messages never quote the input's values.
    fn check(&self, _input: &Value) -> Vec<Violation> {
        Vec::new()
    }

    /// Executes the call once. Refuses a permit that is not this call's (see [`Call::accept`]).
    ///
    /// Callers go through [`execute_with_limits`].
    fn execute<'a>(&'a self, permit: Permit, call: &'a Call<'_>) -> BoxFuture<'a, Execution>;
}

/// What one call does to the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFacts {
    /// What it does.
    pub effect: Effect,
    /// Whether it may be executed again under the same idempotency key, which is the call's id.
    pub idempotent: bool,
    /// The action type that the gate checks; absent when the tool has none.
    pub action_type: Option<String>,
}

impl CallFacts {
    /// What is known when the outside has answered, and the call fails nonetheless.
    pub fn answered(&self) -> TookEffect {
        match self.effect {
            Effect::Write => TookEffect::Answered,
            Effect::None | Effect::Read => TookEffect::No,
        }
    }

    /// What is known when the call may have been carried out and no answer came.
    pub fn unanswered(&self) -> TookEffect {
        match self.effect {
            Effect::Write => TookEffect::Unknown,
            Effect::None | Effect::Read => TookEffect::No,
        }
    }
}

/// One call as a tool receives it.
pub struct Call<'a> {
    /// The run's workspace.
    pub workspace_id: WorkspaceId,
    /// The run, which has a directory of its own in the sandbox.
    pub run_id: RunId,
    /// Its id; the idempotency key at any upstream.
    pub tool_call_id: ToolCallId,
    /// What the policy says of secrets and of requests to the outside.
    pub rules: &'a Rules,
    /// The gate, for requests to the outside.
    pub gate: &'a dyn HopGate,
    input: Input,
}

impl<'a> Call<'a> {
    /// A call with its (valid) input. What a permit is compared with is the digest of what the tool gets, its secrets by reference.
    pub fn new(
        (workspace_id, run_id): (&WorkspaceId, &RunId),
        tool_call_id: ToolCallId,
        input: impl Into<Input>,
        rules: &'a Rules,
        gate: &'a dyn HopGate,
    ) -> Self {
        Self {
            workspace_id: workspace_id.clone(),
            run_id: run_id.clone(),
            tool_call_id,
            rules,
            gate,
            input: input.into(),
        }
    }

    /// The input, nothing redacted.
    pub fn input(&self) -> &Value {
        self.input.real()
    }

    /// Digest of the input as it is recorded.
    pub fn input_digest(&self) -> &Digest {
        self.input.digest()
    }

    /// The secrets in the input, to be removed from whatever is told of the call.
    pub fn secrets(&self) -> Secrets {
        self.input.secrets(&self.rules.marks)
    }

    /// Checks that `permit` was given for this very call of the tool so defined.
    pub fn accept(&self, permit: &Permit, definition: &Definition) -> Result<(), ExecutionError> {
        if permit.covers(&self.tool_call_id, definition.digest(), self.input_digest()) {
            return Ok(());
        }
        let reason = format!(
            "the permit was given for another call than `{}` with this input and tool definition",
            self.tool_call_id
        );
        Err(ExecutionError::final_failure(
            ErrorInfo::new(Stage::ToolPolicy, ReasonCode::PolicyEvaluationError, reason)
                .of_tool(&definition.name),
        ))
    }
}

/// What came of one execution.
#[derive(Debug)]
pub struct Execution {
    /// The output, its secrets removed, or why there is none.
    pub outcome: Result<Value, ExecutionError>,
    /// What happened on the way (`egress.*`), in order, to be appended before the outcome.
    pub events: Vec<EventBody>,
}

impl Execution {
    /// An execution of which there is nothing to tell but its outcome.
    pub fn quiet(outcome: Result<Value, ExecutionError>) -> Self {
        Self {
            outcome,
            events: Vec::new(),
        }
    }
}

/// Why an execution failed, and what that means for the next one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", info.reason)]
pub struct ExecutionError {
    /// Why.
    pub info: ErrorInfo,
    /// Whether the same call may be executed again: a transient fault of a call that is idempotent.
    pub retry: bool,
    /// Whether the call took effect nonetheless.
    pub took_effect: TookEffect,
}

impl ExecutionError {
    /// A failure that another execution would only repeat, and that left nothing behind.
    pub fn final_failure(info: ErrorInfo) -> Self {
        Self {
            info,
            retry: false,
            took_effect: TookEffect::No,
        }
    }
}

/// Whether a failed execution took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TookEffect {
    /// It did not: it was refused, never reached the outside, or only reads.
    No,
    /// The outside answered, and the failure says what: nothing is open.
    Answered,
    /// Nobody can tell: it was sent, and no answer came back.
    Unknown,
}
