//! What stands in `schemas/json/`: a JSON Schema for each message of the wire, and one for each type of event.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a generator says what is wrong by failing"
)]

use std::collections::{BTreeMap, BTreeSet};

use gatewright_schemas::{
    Commit, DeadLetter, Event, EventBody, EventType, Reply, Submission, Wake, WorkerHeartbeat,
    command::CommandMessage, event::EVENT_VERSION,
};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

/// What every file's name ends with.
pub const SUFFIX: &str = ".schema.json";

/// Every file, by name.
pub fn files() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut add = |name: &str, schema: Value| {
        files.insert(format!("{name}{SUFFIX}"), format!("{schema:#}\n"));
    };
    add("command", message::<CommandMessage>("command"));
    add("commit", message::<Commit>("commit"));
    add("dead_letter", message::<DeadLetter>("dead_letter"));
    add("event", message::<Event>("event"));
    add("reply", message::<Reply>("reply"));
    add("submission", message::<Submission>("submission"));
    add("wake", message::<Wake>("wake"));
    add(
        "worker_heartbeat",
        message::<WorkerHeartbeat>("worker_heartbeat"),
    );
    for (event_type, data) in EventBody::schemas() {
        add(&format!("event.{event_type}"), event(event_type, data));
    }
    files
}

/// The schema of a message, under the name that it has on the wire.
fn message<T: JsonSchema>(name: &str) -> Value {
    finished(name, schemars::schema_for!(T).into())
}

/// The envelope with `data` as it is in events of this type.
fn event(event_type: EventType, data: Schema) -> Value {
    let mut schema = Value::from(schemars::schema_for!(Event));
    let mut data = Value::from(data);
    let fields = object(&mut data);
    fields.remove("$schema");
    fields.remove("title");
    let definitions = fields.remove("$defs").unwrap_or_else(|| json!({}));
    for (name, definition) in definitions.as_object().cloned().unwrap_or_default() {
        let definitions = object(&mut schema["$defs"]);
        let before = definitions.insert(name.clone(), definition.clone());
        assert!(
            before.is_none_or(|before| before == definition),
            "two types are called `{name}`"
        );
    }
    schema["description"] = format!("An event of type `{event_type}` in its envelope.").into();
    schema["properties"]["event_type"] = json!({
        "description": "Its type.", "const": event_type.as_str(),
    });
    schema["properties"]["event_version"] = json!({
        "description": "Version of the shape of `data`.", "const": EVENT_VERSION,
    });
    data["description"] = "What happened.".into();
    schema["properties"]["data"] = data;
    finished(&format!("event.{event_type}"), schema)
}

fn finished(name: &str, mut schema: Value) -> Value {
    plain(&mut schema);
    prune(&mut schema);
    schema["$id"] = format!("urn:gatewright:schema:{name}").into();
    schema["title"] = name.into();
    schema
}

/// Descriptions are written for the Rust documentation; here its links are words.
fn plain(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if key == "description" => *text = without_links(text),
                    value => plain(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        _ => {}
    }
}

fn without_links(text: &str) -> String {
    text.replace("[`", "`")
        .replace("`]", "`")
        .replace("crate::", "")
}

/// Drops definitions that nothing refers to.
fn prune(schema: &mut Value) {
    let Some(definitions) = schema.get("$defs").and_then(Value::as_object).cloned() else {
        return;
    };
    object(schema).remove("$defs");
    let mut wanted = BTreeSet::new();
    let mut open = references(schema);
    while let Some(name) = open.pop() {
        if let Some(definition) = definitions.get(&name)
            && wanted.insert(name)
        {
            open.extend(references(definition));
        }
    }
    let kept: Map<String, Value> = definitions
        .into_iter()
        .filter(|(name, _)| wanted.contains(name))
        .collect();
    if !kept.is_empty() {
        schema["$defs"] = kept.into();
    }
}

/// The names of the definitions that `schema` refers to.
fn references(schema: &Value) -> Vec<String> {
    match schema {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str);
            let own = own.and_then(|text| text.strip_prefix("#/$defs/"));
            let below = fields.values().flat_map(references);
            own.map(str::to_owned).into_iter().chain(below).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    value.as_object_mut().expect("a schema is an object")
}
