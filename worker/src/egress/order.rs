//! Reading an input of `egress.request`, which its schema has validated.

use std::time::Duration;

use bytes::Bytes;
use gatewright_policy::host::{HostProblem, Target};
use gatewright_schemas::{Effect, ErrorInfo, ReasonCode, Stage, ToolCallId};
use hyper::{HeaderMap, Method};
use serde_json::Value;

use super::{grant::HopRequest, headers};
use crate::tool::CallFacts;

/// The longest time that a request may take, redirects included, whatever input and policy say.
pub const MAX_TIMEOUT: Duration = Duration::from_mins(2);

/// What an input asks for beside the hops.
pub(super) struct Order {
    pub method: Method,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What the input asks for; the policy may allow less.
    pub timeout: Duration,
    pub follow_redirects: bool,
    pub facts: CallFacts,
}

/// What a request does to the world.
///
/// By HTTP's own words GET, HEAD and OPTIONS read, everything else writes;
/// those three, PUT and DELETE are idempotent, and any request is when the input says so (`"idempotent": true`).
/// The action type is the input's `action`, else `internal.read` or `external.write`.
pub fn facts(input: &Value) -> CallFacts {
    let method = method(input);
    let reads = matches!(method, "GET" | "HEAD" | "OPTIONS");
    let stated = input.get("idempotent").and_then(Value::as_bool);
    let action = input.get("action").and_then(Value::as_str);
    let by_method = if reads {
        "internal.read"
    } else {
        "external.write"
    };
    CallFacts {
        effect: if reads { Effect::Read } else { Effect::Write },
        idempotent: stated.unwrap_or(reads || matches!(method, "PUT" | "DELETE")),
        action_type: Some(action.unwrap_or(by_method).to_owned()),
    }
}

/// The call's own request: what the gate is asked about before the intent is recorded, and whose
/// [`HopRequest::requested`] belongs to that intent.
///
/// Errors: `egress_url_invalid` at stage `egress`.
pub fn first_hop(tool_call_id: &ToolCallId, input: &Value) -> Result<HopRequest, ErrorInfo> {
    let text = input
        .get("target_url")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let target = Target::parse(text.trim()).map_err(|error| url_invalid(error.problem))?;
    Ok(HopRequest {
        tool_call_id: tool_call_id.clone(),
        hop: 0,
        method: method(input).to_owned(),
        call_host: target.host().clone(),
        target,
        action_type: facts(input).action_type.unwrap_or_default(),
    })
}

/// The error of a URL that cannot be used. It does not quote the URL, which may hold secrets.
pub(super) fn url_invalid(problem: HostProblem) -> ErrorInfo {
    let reason = format!("the URL {problem}");
    ErrorInfo::new(Stage::Egress, ReasonCode::EgressUrlInvalid, reason)
}

fn method(input: &Value) -> &str {
    input.get("method").and_then(Value::as_str).unwrap_or("GET")
}

impl Order {
    pub fn read(tool_call_id: &ToolCallId, input: &Value) -> Self {
        let (body, content_type) = match input.get("body") {
            None | Some(Value::Null) => (Bytes::new(), None),
            Some(Value::String(text)) => {
                (Bytes::from(text.clone()), Some("text/plain; charset=utf-8"))
            }
            Some(json) => (Bytes::from(json.to_string()), Some("application/json")),
        };
        let given = input.get("headers").and_then(Value::as_object);
        let timeout = input
            .get("timeout_ms")
            .and_then(Value::as_u64)
            .map_or(MAX_TIMEOUT, Duration::from_millis);
        Self {
            // The schema admits only methods that are names of methods.
            method: Method::from_bytes(method(input).as_bytes()).unwrap_or_default(),
            headers: headers::build(given, tool_call_id, content_type),
            body,
            timeout: timeout.min(MAX_TIMEOUT),
            follow_redirects: input
                .get("follow_redirects")
                .and_then(Value::as_bool)
                .unwrap_or(true),
            facts: facts(input),
        }
    }
}
