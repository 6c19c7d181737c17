//! What a tool of the user's own answers: JSON, of the shape that was declared.

use gatewright_schemas::{ErrorInfo, ReasonCode, Stage, Violation};
use jsonschema::Validator;
use serde_json::Value;

/// At most this many violations are told of one answer.
const MAX_VIOLATIONS: usize = 20;

/// Reads answers.
#[derive(Debug, Default)]
pub(super) struct Answer {
    schema: Option<Validator>,
}

impl Answer {
    /// Of this shape, where one was declared.
    pub(super) fn new(schema: Option<Validator>) -> Self {
        Self { schema }
    }

    /// Reads one. `whose` says in an error what was read.
    ///
    /// Errors: `tool_execution_failed`, with every violation where the shape is wrong; nothing of the answer is quoted.
    pub(super) fn read(&self, bytes: &[u8], whose: &str) -> Result<Value, ErrorInfo> {
        let failed = |reason: String| {
            ErrorInfo::new(Stage::Execution, ReasonCode::ToolExecutionFailed, reason)
        };
        let answer: Value = serde_json::from_slice(bytes).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            failed(format!(
                "{whose} is not JSON, from line {line}, column {column} on"
            ))
        })?;
        let violations: Vec<Violation> = self
            .schema
            .iter()
            .flat_map(|schema| schema.iter_errors(&answer))
            .take(MAX_VIOLATIONS)
            .map(|error| Violation::new(error.instance_path().as_str(), error.masked().to_string()))
            .collect();
        if violations.is_empty() {
            return Ok(answer);
        }
        let mut error = failed(format!("{whose} does not fit the tool's output schema"));
        error.violations = violations;
        Err(error)
    }
}
