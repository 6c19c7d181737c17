//! `exec_command`: one command in the sandbox, in the run's own directory.
//!
//! A command that ends by itself is a success whose `exit_code` the caller reads, as a shell would tell it;
//! one that is cut off (out of time, too large) is a failure. Where there is no sandbox, nothing runs.

use std::{sync::Arc, time::Duration};

use gatewright_policy::Permit;
use gatewright_schemas::{Effect, Violation};
use serde_json::{Value, json};

use super::{BoxFuture, Call, Definition, Execution, Tool, in_sandbox};
use crate::sandbox::{Ended, Limits, Sandbox};

/// The longest `timeout_ms`.
const MAX_TIME: Duration = Duration::from_mins(5);

/// Bytes of each argument.
const MAX_ARGUMENT: usize = 64 * 1024;

/// `exec_command`
pub struct ExecCommand {
    definition: Definition,
    sandbox: Arc<Sandbox>,
}

impl ExecCommand {
    /// The tool, with the sandbox that it uses.
    pub fn new(sandbox: Arc<Sandbox>) -> Self {
        Self {
            definition: definition(),
            sandbox,
        }
    }
}

fn definition() -> Definition {
    let most = u64::try_from(MAX_TIME.as_millis()).unwrap_or(u64::MAX);
    let schema = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["argv"],
        "properties": {
            "argv": {
                "description": "The program and its arguments, each a text of its own; no shell reads them. A name without a slash is looked for in the system's folders",
                "type": "array", "minItems": 1, "maxItems": 1024,
                "items": { "type": "string", "maxLength": MAX_ARGUMENT },
            },
            "stdin": {
                "description": "What the command reads; nothing when left out",
                "type": "string",
            },
            "timeout_ms": {
                "description": "How long the command may run, in milliseconds; a minute when left out",
                "type": "integer", "minimum": 1, "maximum": most,
            },
        },
    });
    let mut definition = Definition::new(
        "exec_command",
        "Runs a command in a sandbox without network, in the run's own directory, and answers with its output and exit code",
        schema,
    );
    definition.effect = Effect::Write;
    definition.idempotent = false;
    definition.action_type = Some("sandbox.exec".into());
    definition.sandboxed = true;
    definition.timeout = MAX_TIME + in_sandbox::GRACE;
    // A byte of output takes six at most: a control character, spelt as JSON has it.
    definition.max_output = Limits::default().output * 2 * 6 + 1024;
    definition
}

impl Tool for ExecCommand {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn check(&self, input: &Value) -> Vec<Violation> {
        argv(input)
            .into_iter()
            .enumerate()
            .filter_map(|(place, word)| {
                let message = if word.contains('\0') {
                    "must not contain a null character"
                } else if place == 0 && word.is_empty() {
                    "names no program"
                } else {
                    return None;
                };
                Some(Violation::new(format!("/argv/{place}"), message))
            })
            .collect()
    }

    fn execute<'a>(&'a self, permit: Permit, call: &'a Call<'_>) -> BoxFuture<'a, Execution> {
        Box::pin(async move {
            if let Err(refused) = call.accept(&permit, &self.definition) {
                return Execution::quiet(Err(refused));
            }
            let input = call.input();
            let default = Limits::default();
            let time = input.get("timeout_ms").and_then(Value::as_u64);
            let mut order = in_sandbox::order(call, &permit);
            order.argv = argv(input).into_iter().map(str::to_owned).collect();
            if let Some(text) = input.get("stdin").and_then(Value::as_str) {
                order.stdin = text.into();
            }
            order.limits = Limits {
                time: time
                    .map_or(default.time, Duration::from_millis)
                    .min(MAX_TIME),
                ..default
            };
            let secrets = call.secrets();
            let limit = default.output;
            let facts = self.facts(input);
            let outcome = in_sandbox::run(&self.sandbox, order, &facts, &secrets).await;
            Execution::quiet(outcome.map(|mut ended| {
                ended.stdout = ended.stdout.cleaned(&secrets, limit);
                ended.stderr = ended.stderr.cleaned(&secrets, limit);
                output(&ended)
            }))
        })
    }
}

fn argv(input: &Value) -> Vec<&str> {
    let words = input.get("argv").and_then(Value::as_array);
    words
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn output(ended: &Ended) -> Value {
    json!({
        "exit_code": ended.exit_code,
        "signal": ended.signal(),
        "stdout": ended.stdout.text(),
        "stdout_bytes": ended.stdout.total,
        "stdout_truncated": ended.stdout.truncated,
        "stderr": ended.stderr.text(),
        "stderr_bytes": ended.stderr.total,
        "stderr_truncated": ended.stderr.truncated,
        "duration_ms": u64::try_from(ended.took.as_millis()).unwrap_or(u64::MAX),
        "new_directory": ended.new_directory,
    })
}
