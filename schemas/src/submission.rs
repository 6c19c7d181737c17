//! The run message: what outside programs publish to `fleet.submit.<workspace>` and POST to `/v1/runs`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Digest, Lane, OnFailure, OnUnknownOutcome, RunId, RuntimeActor, Timestamp};

/// Limits of a submission; beyond them it is refused.
pub mod limit {
    /// Bytes of the message.
    pub const BYTES: usize = 256 * 1024;
    /// Levels of nesting of the message.
    pub const DEPTH: usize = 64;
    /// Steps of a run.
    pub const STEPS: usize = 100;
    /// Tool calls of a step.
    pub const CALLS: usize = 100;
    /// Steps of a run whose calls an outside agent asks for.
    pub const EXTERNAL_STEPS: usize = 1_000;
    /// Tool calls of such a run, in all its steps.
    pub const EXTERNAL_CALLS: usize = 10_000;
    /// Characters of a title, a tool's name, a room, thread or correlation id.
    pub const TEXT: usize = 200;
}

/// A run as it is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// The idempotency key. Left out, it is derived from the message and is the same on redelivery.
    #[serde(default)]
    pub run_id: Option<RunId>,
    /// What people call the run.
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub title: Option<String>,
    /// The room it belongs to.
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub room_id: Option<String>,
    /// The thread it belongs to.
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub thread_id: Option<String>,
    /// What ties it to other work; kept on every event.
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub correlation_id: Option<String>,
    /// Which queue it waits in.
    #[serde(default)]
    pub lane: Lane,
    /// It does not start before.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// It fails when it has not ended by then.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
    /// What to do. Keys beside `runtime` are the submitter's own and are kept.
    #[serde(default)]
    pub input: RunInput,
}

/// The run's input.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunInput {
    /// What the fleet reads of it.
    #[serde(default)]
    pub runtime: Runtime,
    /// The submitter's own.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What the fleet reads of a run's input.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// On whose authority, in which zone. Any JSON: the gate reads it defensively and denies what it cannot read.
    #[serde(default)]
    pub policy: Value,
    /// The steps, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub steps: Option<Vec<StepSpec>>,
    /// Short for one step with one `egress.request`; not together with `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<EgressSpec>,
    /// Who asks for the tool calls.
    #[serde(default)]
    pub actor: RuntimeActor,
    /// What to do when a crash leaves open whether a call took effect.
    #[serde(default)]
    pub on_unknown_outcome: OnUnknownOutcome,
}

/// A step as it is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    /// What people call it.
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub title: Option<String>,
    /// Its calls, in order.
    #[schemars(length(max = 100))]
    pub tool_calls: Vec<ToolCallSpec>,
}

/// A tool call as it is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolCallSpec {
    /// The tool's name; white space around it is ignored.
    #[schemars(length(min = 1, max = 200))]
    pub tool: String,
    /// Its input; must fit the tool's own schema.
    #[serde(default = "empty_object")]
    pub input: Value,
    /// What the run does when the call fails.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// `use_default` or `require_escalated`; the gate denies anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub sandbox_permissions: Option<String>,
}

/// The short form of a run that makes one request to the outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EgressSpec {
    /// Where to.
    pub target_url: String,
    /// The HTTP method; `GET` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The action type, for example `internal.read`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Free words for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Value>,
}

pub(crate) fn empty_object() -> Value {
    Value::Object(Map::new())
}

impl Submission {
    /// The digest by which two submissions of one run id are the same or not: all of it but the id itself.
    pub fn content_digest(&self) -> Digest {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Some(object) = value.as_object_mut() {
            object.remove("run_id");
        }
        Digest::of(&value)
    }
}
