//! A tool that is a program: run in the sandbox, the input on its standard input, its answer on its standard output.
//!
//! Exit code 0: the output is the answer. 75 (`EX_TEMPFAIL`): not now; it is executed again where it may be repeated.
//! Any other: it failed, and the end of its standard error says why.

use std::{sync::Arc, time::Duration};

use gatewright_policy::{Permit, redact::Secrets};
use gatewright_schemas::{ErrorInfo, ReasonCode, Stage};
use serde_json::Value;

use super::answer::Answer;
use crate::{
    sandbox::{Ended, Limits, Program, Sandbox},
    tool::{BoxFuture, Call, CallFacts, Definition, Execution, ExecutionError, Tool, in_sandbox},
};

/// The exit code that says "not now".
const NOT_NOW: i32 = 75;

/// What is run.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) argv: Vec<String>,
    pub(super) programs: Vec<Program>,
    pub(super) time: Duration,
}

/// A program as a tool.
pub struct CommandTool {
    definition: Arc<Definition>,
    answer: Arc<Answer>,
    command: Command,
    sandbox: Arc<Sandbox>,
}

impl CommandTool {
    pub(super) fn new(
        definition: Arc<Definition>,
        answer: Arc<Answer>,
        command: Command,
        sandbox: Arc<Sandbox>,
    ) -> Self {
        Self {
            definition,
            answer,
            command,
            sandbox,
        }
    }

    async fn run(&self, permit: &Permit, call: &Call<'_>) -> Result<Value, ExecutionError> {
        let facts = self.facts(call.input());
        let mut order = in_sandbox::order(call, permit);
        order.argv.clone_from(&self.command.argv);
        order.programs.clone_from(&self.command.programs);
        order.stdin = call.input().to_string().into();
        order.env = vec![
            ("GATEWRIGHT_WORKSPACE_ID", call.workspace_id.to_string()),
            ("GATEWRIGHT_RUN_ID", call.run_id.to_string()),
            ("GATEWRIGHT_TOOL_CALL_ID", call.tool_call_id.to_string()),
        ];
        order.limits = Limits {
            time: self.command.time,
            output: self.definition.max_output,
            ..Limits::default()
        };
        let secrets = call.secrets();
        let ended = in_sandbox::run(&self.sandbox, order, &facts, &secrets).await?;
        self.read(&ended, &facts, &secrets)
    }

    fn read(
        &self,
        ended: &Ended,
        facts: &CallFacts,
        secrets: &Secrets,
    ) -> Result<Value, ExecutionError> {
        let failed = |info, retry| ExecutionError {
            info,
            retry,
            took_effect: facts.answered(),
        };
        if ended.exit_code != Some(0) {
            let code = ended.exit_code.unwrap_or_default();
            let reason = format!(
                "the program ended with exit code {code}{}",
                in_sandbox::told(ended, secrets)
            );
            let info = ErrorInfo::new(Stage::Execution, ReasonCode::ToolExecutionFailed, reason);
            return Err(failed(info, code == NOT_NOW && facts.idempotent));
        }
        if ended.stdout.total > u64::try_from(self.definition.max_output).unwrap_or(u64::MAX) {
            let reason = format!(
                "the output has {} bytes; the limit is {}",
                ended.stdout.total, self.definition.max_output
            );
            let info = ErrorInfo::new(Stage::Execution, ReasonCode::ToolOutputTooLarge, reason);
            return Err(failed(info, false));
        }
        let answer = self
            .answer
            .read(&ended.stdout.bytes, "the program's output");
        answer.map_err(|info| failed(info, false))
    }
}

impl Tool for CommandTool {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn execute<'a>(&'a self, permit: Permit, call: &'a Call<'_>) -> BoxFuture<'a, Execution> {
        Box::pin(async move {
            if let Err(refused) = call.accept(&permit, &self.definition) {
                return Execution::quiet(Err(refused));
            }
            Execution::quiet(self.run(&permit, call).await)
        })
    }
}
