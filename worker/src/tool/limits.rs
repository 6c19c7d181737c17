//! The limits that hold for every tool: the permit, the time, the size of the output, and no secrets in it.

use gatewright_policy::Permit;
use gatewright_schemas::{ErrorInfo, ReasonCode, Stage};
use serde_json::Value;

use super::{Call, CallFacts, Definition, Execution, ExecutionError, Tool};

/// Executes `call` once within the limits of the tool's definition.
///
/// Errors beside the tool's own: a permit for another call (nothing is executed), `tool_timeout`, `tool_output_too_large`.
/// An execution that is cut off by the timeout tells no events; tools that make some keep an earlier time limit of their own.
pub async fn execute_with_limits(tool: &dyn Tool, permit: Permit, call: &Call<'_>) -> Execution {
    let definition = tool.definition();
    // The tool checks this too; asked here, no tool can forget it.
    if let Err(refused) = call.accept(&permit, definition) {
        return Execution::quiet(Err(refused));
    }
    let facts = tool.facts(call.input());
    let execution = tool.execute(permit, call);
    let Ok(mut execution) = tokio::time::timeout(definition.timeout, execution).await else {
        return Execution::quiet(Err(timed_out(definition, &facts)));
    };
    let secrets = call.secrets();
    execution.outcome = match execution.outcome {
        Ok(output) => within_size(definition, &facts, secrets.clean(output, &call.rules.marks)),
        Err(mut error) => {
            error.info = error.info.of_tool(&definition.name);
            error.info.reason = secrets.clean_text(&error.info.reason);
            Err(error)
        }
    };
    execution
}

fn within_size(
    definition: &Definition,
    facts: &CallFacts,
    output: Value,
) -> Result<Value, ExecutionError> {
    let size = output.to_string().len();
    if size <= definition.max_output {
        return Ok(output);
    }
    let reason = format!(
        "the output has {size} bytes; the limit is {}",
        definition.max_output
    );
    Err(ExecutionError {
        info: ErrorInfo::new(Stage::Execution, ReasonCode::ToolOutputTooLarge, reason)
            .of_tool(&definition.name),
        retry: false,
        took_effect: facts.answered(),
    })
}

fn timed_out(definition: &Definition, facts: &CallFacts) -> ExecutionError {
    let reason = format!(
        "the tool did not answer within {} ms",
        definition.timeout.as_millis()
    );
    ExecutionError {
        info: ErrorInfo::new(Stage::Execution, ReasonCode::ToolTimeout, reason)
            .of_tool(&definition.name),
        retry: facts.idempotent,
        took_effect: facts.unanswered(),
    }
}
