//! Why a run or a tool call failed: `runs.error`, `tool_calls.error`, and the `error` of the events behind them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Decision, DecisionRecord, EnforcementMode, ReasonCode, Stage};

/// One thing wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Violation {
    /// JSON pointer (RFC 6901) to the place; empty for the whole document.
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
}

impl Violation {
    /// A violation at `pointer`.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.into(),
        }
    }
}

/// Why a run or a tool call failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorInfo {
    /// Where on its way.
    pub stage: Stage,
    /// Why.
    pub reason_code: ReasonCode,
    /// Why, for a person.
    pub reason: String,
    /// The gate's answer, where it was the gate.
    pub decision: Option<Decision>,
    /// Whether the gate stopped it.
    pub blocked: bool,
    /// The gate's mode, where it was the gate.
    pub enforcement_mode: Option<EnforcementMode>,
    /// The tool, where it was a call.
    pub tool_name: Option<String>,
    /// What is wrong with the input, place by place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
}

impl ErrorInfo {
    /// An error that no gate had a part in.
    pub fn new(stage: Stage, reason_code: ReasonCode, reason: impl Into<String>) -> Self {
        Self {
            stage,
            reason_code,
            reason: reason.into(),
            decision: None,
            blocked: false,
            enforcement_mode: None,
            tool_name: None,
            violations: Vec::new(),
        }
    }

    /// The error of a call that the gate stopped.
    pub fn blocked(stage: Stage, answer: &DecisionRecord) -> Self {
        Self {
            decision: Some(answer.decision),
            blocked: answer.blocked,
            enforcement_mode: Some(answer.enforcement_mode),
            ..Self::new(stage, answer.reason_code, answer.reason.clone())
        }
    }

    /// The same, of a call of the tool `name`.
    #[must_use]
    pub fn of_tool(mut self, name: &str) -> Self {
        self.tool_name = Some(name.to_owned());
        self
    }
}
