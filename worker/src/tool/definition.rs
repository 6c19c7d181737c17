//! What the fleet knows of a tool before it runs.

use std::{sync::OnceLock, time::Duration};

use gatewright_schemas::{DataAccess, Digest, Effect};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// A tool as the gate, the approver and `gatewright tool list` see it.
///
/// Every worker of a fleet must hold the same definitions, so nothing in one comes from a worker's own configuration but
/// the file of the user's own tools, which must be the same everywhere:
/// an approval names the definition's digest, and the worker that spends it may be another one.
// Not `Clone`: a copy that is changed would keep the digest of what it was.
#[derive(Debug, Serialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts of a tool, each of which somebody else asks"
)]
pub struct Definition {
    /// The name that calls use; unique, without white space around it.
    pub name: String,
    /// What it does, for a person.
    pub description: String,
    /// JSON Schema (draft 2020-12) of the input.
    pub input_schema: Value,
    /// What it does to the world, unless the input says (see [`super::Tool::facts`]).
    pub effect: Effect,
    /// Whether it may be executed again under the same idempotency key, unless the input says.
    pub idempotent: bool,
    /// The action type that the gate checks, unless the input says.
    pub action_type: Option<String>,
    /// Whether its calls need a capability token, whatever the zone.
    pub requires_token: bool,
    /// The data that it reads and writes, by label.
    pub data: DataAccess,
    /// Whether it reaches the outside only through the egress gateway, which asks the gate for each request.
    pub through_gateway: bool,
    /// Whether it runs commands in the sandbox, and nothing else.
    #[serde(skip_serializing_if = "is_not")]
    pub sandboxed: bool,
    /// How long one execution may take; serialised in milliseconds as `timeout_ms`.
    #[serde(rename = "timeout_ms", serialize_with = "in_milliseconds")]
    pub timeout: Duration,
    /// Bytes that the output may have, serialised as JSON.
    pub max_output: usize,
    /// How often a call that may be repeated is executed in all before its failure counts.
    pub max_executions: u32,
    /// Of a tool of the user's own: everything else that decides what runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<Value>,
    #[serde(skip)]
    digest: OnceLock<Digest>,
}

impl Definition {
    /// A tool without effect, to be refined by setting its fields before it is first used:
    /// idempotent, 30 seconds, 64 KiB of output, one execution.
    pub fn new(name: &str, description: &str, input_schema: Value) -> Self {
        Self {
            name: name.to_owned(),
            description: description.to_owned(),
            input_schema,
            effect: Effect::None,
            idempotent: true,
            action_type: None,
            requires_token: false,
            data: DataAccess::default(),
            through_gateway: false,
            sandboxed: false,
            timeout: Duration::from_secs(30),
            max_output: 64 * 1024,
            max_executions: 1,
            runs: None,
            digest: OnceLock::new(),
        }
    }

    /// The digest of the definition's canonical encoding, computed once: an approval or a permit for another definition is worthless.
    pub fn digest(&self) -> &Digest {
        // Plain data with string keys: its serialisation has no way to fail.
        self.digest
            .get_or_init(|| Digest::of(&serde_json::to_value(self).unwrap_or_default()))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_not(flag: &bool) -> bool {
    !flag
}

fn in_milliseconds<S: Serializer>(duration: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_changes_changes_the_digest() {
        let plain = || Definition::new("a", "b", json!({}));
        let mut other = plain();
        other.effect = Effect::Write;
        let mut slower = plain();
        slower.timeout = Duration::from_secs(31);
        assert_eq!(plain().digest(), plain().digest());
        assert_ne!(plain().digest(), other.digest());
        assert_ne!(plain().digest(), slower.digest());
    }
}
