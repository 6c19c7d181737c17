//! The headers of a request: what a caller may set, what the gateway sets, what crosses to another origin.

use std::collections::BTreeSet;

use gatewright_schemas::{ToolCallId, Violation};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use serde_json::{Map, Value};

use gatewright_policy::redact::Marks;

/// What the gateway calls itself.
const AGENT: &str = concat!("gatewright/", env!("CARGO_PKG_VERSION"));
/// The header that lets an upstream recognise a repeated call.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Why a caller may not set this header, if it may not.
fn reserved(name: &str) -> Option<&'static str> {
    match name {
        "host" => Some("is taken from the URL"),
        "content-length" | "transfer-encoding" | "trailer" | "te" => {
            Some("is decided by the gateway, which frames the request")
        }
        "connection" | "keep-alive" | "upgrade" | "expect" | "http2-settings" => {
            Some("concerns the connection, which is the gateway's")
        }
        "idempotency-key" => Some("is the tool call's id"),
        "user-agent" => Some("is the gateway's name"),
        "accept-encoding" => Some("is `identity`, so that secrets in an answer are recognised"),
        _ if name.starts_with("proxy-") => Some("is for proxies, and there is none"),
        _ => None,
    }
}

/// What is wrong with the headers of an input (an object of texts); the messages do not quote values.
pub fn violations(headers: &Map<String, Value>) -> Vec<Violation> {
    let mut seen = BTreeSet::new();
    let mut violations = Vec::new();
    for (name, value) in headers {
        let mut object = |message: String| {
            let pointer = format!("/headers/{}", name.replace('~', "~0").replace('/', "~1"));
            violations.push(Violation::new(pointer, message));
        };
        let lower = name.to_ascii_lowercase();
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            object("is not a header's name".to_owned());
        } else if let Some(why) = reserved(&lower) {
            object(format!("cannot be set: it {why}"));
        }
        if !seen.insert(lower) {
            object("is given twice".to_owned());
        }
        if value.as_str().is_some_and(|text| !is_plain(text)) {
            object("the value must be printable ASCII without line breaks".to_owned());
        }
    }
    violations
}

/// Beyond this, servers disagree on what a header says.
fn is_plain(value: &str) -> bool {
    value
        .bytes()
        .all(|byte| byte == b'\t' || matches!(byte, b' '..=b'~'))
}

/// The headers of the first request. What [`violations`] objects to is left out.
pub fn build(
    given: Option<&Map<String, Value>>,
    tool_call_id: &ToolCallId,
    content_type: Option<&'static str>,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    if let Some(content_type) = content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    for (name, value) in given.into_iter().flatten() {
        let (Ok(name), Some(Ok(mut value))) = (
            HeaderName::from_bytes(name.as_bytes()),
            value
                .as_str()
                .filter(|text| is_plain(text))
                .map(HeaderValue::from_str),
        ) else {
            continue;
        };
        if reserved(name.as_str()).is_none() {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    // An id is made of letters, digits, `_`, `-` and `.`: always a header's value.
    if let Ok(key) = HeaderValue::from_str(tool_call_id.as_str()) {
        headers.insert(IDEMPOTENCY_KEY, key);
    }
    headers
}

/// Leaves out what only the origin it was meant for may see.
pub fn for_another_origin(headers: &mut HeaderMap, marks: &Marks) {
    let secret: Vec<HeaderName> = headers
        .keys()
        .filter(|name| marks.header(name.as_str()))
        .cloned()
        .collect();
    for name in secret {
        headers.remove(name);
    }
}

/// Leaves out what describes a body, for a request that no longer has one.
pub fn without_body(headers: &mut HeaderMap) {
    let about_body: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("content-"))
        .cloned()
        .collect();
    for name in about_body {
        headers.remove(name);
    }
}

/// An answer's headers as JSON: repeated ones joined, secret ones redacted.
pub fn to_json(headers: &HeaderMap, marks: &Marks) -> Map<String, Value> {
    let mut fields = Map::new();
    for name in headers.keys() {
        let text = if marks.header(name.as_str()) {
            super::REDACTED.to_owned()
        } else {
            let values = headers.get_all(name).iter();
            let texts: Vec<_> = values
                .map(|v| String::from_utf8_lossy(v.as_bytes()))
                .collect();
            texts.join(", ")
        };
        fields.insert(name.as_str().to_owned(), Value::from(text));
    }
    fields
}
