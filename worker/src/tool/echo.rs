//! `runtime.echo`: answers with its input. For trying out a run, a policy or a dashboard without touching anything.

use std::time::Duration;

use gatewright_policy::Permit;
use gatewright_schemas::submission;
use serde_json::{Value, json};

use super::{BoxFuture, Call, Definition, Execution, Tool};

/// The longest `delay_ms`, in milliseconds.
const MAX_DELAY_MS: u64 = 60_000;

/// `runtime.echo`
#[derive(Debug)]
pub struct Echo(Definition);

impl Default for Echo {
    fn default() -> Self {
        let mut definition = Definition::new(
            "runtime.echo",
            "Answers with its input, after `delay_ms` milliseconds when that is given",
            json!({
                "type": "object",
                "properties": {
                    "delay_ms": {
                        "description": "How long to wait before answering, in milliseconds",
                        "type": "integer", "minimum": 0, "maximum": MAX_DELAY_MS,
                    },
                },
            }),
        );
        definition.timeout = Duration::from_millis(MAX_DELAY_MS + 5_000);
        // Whatever fits into a submission fits into the answer.
        definition.max_output = submission::limit::BYTES;
        Self(definition)
    }
}

impl Tool for Echo {
    fn definition(&self) -> &Definition {
        &self.0
    }

    fn execute<'a>(&'a self, permit: Permit, call: &'a Call<'_>) -> BoxFuture<'a, Execution> {
        Box::pin(async move {
            if let Err(refused) = call.accept(&permit, &self.0) {
                return Execution::quiet(Err(refused));
            }
            if let Some(delay) = call.input().get("delay_ms").and_then(Value::as_u64) {
                tokio::time::sleep(Duration::from_millis(delay.min(MAX_DELAY_MS))).await;
            }
            Execution::quiet(Ok(call.input().clone()))
        })
    }
}
