//! `runtime.noop`: does nothing. What a run without steps calls, and what benchmarks measure the fleet with.

use gatewright_policy::Permit;
use serde_json::{Value, json};

use super::{BoxFuture, Call, Definition, Execution, Tool};

/// `runtime.noop`
#[derive(Debug)]
pub struct Noop(Definition);

impl Default for Noop {
    fn default() -> Self {
        Self(Definition::new(
            "runtime.noop",
            "Does nothing and answers with an empty object",
            json!({ "type": "object" }),
        ))
    }
}

impl Tool for Noop {
    fn definition(&self) -> &Definition {
        &self.0
    }

    fn execute<'a>(&'a self, permit: Permit, call: &'a Call<'_>) -> BoxFuture<'a, Execution> {
        let outcome = call
            .accept(&permit, &self.0)
            .map(|()| Value::Object(serde_json::Map::new()));
        Box::pin(std::future::ready(Execution::quiet(outcome)))
    }
}
