//! `egress.request`: one HTTP request to the outside, through the egress gateway.
//!
//! Any answer is a success whose `status` the caller reads, with one exception: 429, 502, 503 and 504 say
//! "not now", so the call fails, and is executed again when it is idempotent.

use std::{sync::Arc, time::Duration};

use data_encoding::BASE64;
use gatewright_policy::Permit;
use gatewright_schemas::{Effect, ErrorInfo, ReasonCode, Stage, Violation};
use serde_json::{Map, Value, json};

use super::{BoxFuture, Call, CallFacts, Definition, Execution, ExecutionError, Tool};
use crate::egress::{self, Fetched, Gateway, Secrets};

/// Bytes of an answer's body that an error shows.
const MAX_EXCERPT: usize = 200;

/// `egress.request`
pub struct EgressRequestTool {
    definition: Definition,
    gateway: Arc<Gateway>,
}

impl EgressRequestTool {
    /// The tool, with the gateway that it uses.
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self {
            definition: definition(),
            gateway,
        }
    }
}

fn definition() -> Definition {
    let most = u64::try_from(egress::MAX_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
    let schema = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["target_url"],
        "properties": {
            "target_url": {
                "description": "Where to: an http or https URL without user information",
                "type": "string", "minLength": 1, "maxLength": 8192,
            },
            "method": {
                "description": "The HTTP method; GET when left out",
                "enum": ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"],
            },
            "headers": {
                "description": "Headers to send",
                "type": "object", "maxProperties": 64,
                "propertyNames": { "minLength": 1, "maxLength": 128 },
                "additionalProperties": { "type": "string", "maxLength": 8192 },
            },
            "body": { "description": "A text, sent as it is, or any other JSON, sent as JSON" },
            "action": {
                "description": "The action type that the gate checks; `internal.read` or `external.write` by the method when left out",
                "type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,100}$",
            },
            "context": { "description": "Anything, for the record; not sent" },
            "timeout_ms": {
                "description": "How long the request may take, redirects included, in milliseconds",
                "type": "integer", "minimum": 1, "maximum": most,
            },
            "follow_redirects": {
                "description": "Whether redirects are followed, each through the gate; yes when left out",
                "type": "boolean",
            },
            "idempotent": {
                "description": "Whether the server treats requests with the same Idempotency-Key as one; by the method when left out",
                "type": "boolean",
            },
        },
    });
    let mut definition = Definition::new(
        "egress.request",
        "Makes an HTTP request through the egress gateway and answers with status, headers and body",
        schema,
    );
    // The worst that an input can ask for; `facts` says what it does ask for.
    definition.effect = Effect::Write;
    definition.idempotent = false;
    definition.through_gateway = true;
    definition.timeout = egress::MAX_TIMEOUT + Duration::from_secs(5);
    definition.max_output = 256 * 1024;
    definition.max_executions = 3;
    definition
}

impl Tool for EgressRequestTool {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn facts(&self, input: &Value) -> CallFacts {
        egress::facts(input)
    }

    fn check(&self, input: &Value) -> Vec<Violation> {
        let headers = input.get("headers").and_then(Value::as_object);
        let mut violations = headers.map(egress::header_violations).unwrap_or_default();
        let facts = egress::facts(input);
        let claims_to_read = facts
            .action_type
            .as_deref()
            .and_then(|action| action.rsplit('.').next())
            .is_some_and(|verb| verb == "read");
        if facts.effect == Effect::Write && claims_to_read {
            let message = "a method that writes cannot be declared as an action that reads";
            violations.push(Violation::new("/action", message));
        }
        violations
    }

    fn execute<'a>(&'a self, permit: Permit, call: &'a Call<'_>) -> BoxFuture<'a, Execution> {
        Box::pin(async move {
            if let Err(refused) = call.accept(&permit, &self.definition) {
                return Execution::quiet(Err(refused));
            }
            let secrets = call.secrets();
            let (fetched, events) = self
                .gateway
                .fetch(call, self.definition.max_output, &secrets)
                .await;
            let outcome = fetched.and_then(|answer| {
                if is_not_now(answer.status) {
                    Err(not_now(&answer, &self.facts(call.input()), &secrets, call))
                } else {
                    Ok(output(answer, &secrets))
                }
            });
            Execution { outcome, events }
        })
    }
}

fn is_not_now(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504)
}

fn not_now(
    answer: &Fetched,
    facts: &CallFacts,
    secrets: &Secrets,
    call: &Call<'_>,
) -> ExecutionError {
    let body = Value::from(String::from_utf8_lossy(&answer.body));
    let text = secrets.clean(body, &call.rules.marks);
    let text = text.as_str().unwrap_or_default();
    let excerpt: String = text
        .chars()
        .take(MAX_EXCERPT)
        .flat_map(char::escape_debug)
        .collect();
    let reason = format!("the server answered {}: {excerpt}", answer.status);
    ExecutionError {
        info: ErrorInfo::new(Stage::Execution, ReasonCode::ToolExecutionFailed, reason),
        retry: facts.idempotent,
        took_effect: facts.answered(),
    }
}

fn output(answer: Fetched, secrets: &Secrets) -> Value {
    let mut fields = Map::new();
    fields.insert("status".into(), answer.status.into());
    fields.insert("headers".into(), answer.headers.into());
    fields.insert("final_url".into(), answer.final_url.into());
    // Either all of the body is here or the call has failed.
    fields.insert("truncated".into(), false.into());
    match String::from_utf8(secrets.clean_bytes(answer.body.into())) {
        Ok(text) => fields.insert("body".into(), text.into()),
        Err(binary) => {
            fields.insert("body_encoding".into(), "base64".into());
            fields.insert("body".into(), BASE64.encode(binary.as_bytes()).into())
        }
    };
    fields.into()
}
