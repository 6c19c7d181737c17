use std::collections::{BTreeMap, BTreeSet};

use gatewright_schemas::{EventType, validate};
use serde_json::Value;

use crate::{catalog, files};

fn parsed() -> BTreeMap<String, Value> {
    files::texts("json", catalog::SUFFIX)
        .into_iter()
        .map(|(name, text)| (name, serde_json::from_str(&text).unwrap()))
        .collect()
}

#[test]
fn the_files_are_what_the_types_give() {
    let found = files::texts("json", catalog::SUFFIX);
    let expected = catalog::files();
    let names: BTreeSet<String> = found
        .keys()
        .map(|name| format!("{name}{}", catalog::SUFFIX))
        .chain(expected.keys().cloned())
        .collect();
    let differing: Vec<&String> = names
        .iter()
        .filter(|name| {
            let stem = name.strip_suffix(catalog::SUFFIX).unwrap();
            found.get(stem) != expected.get(*name)
        })
        .collect();
    assert!(
        differing.is_empty(),
        "schemas/json/ is not what the types give; run `make schemas` and look at what changed in {differing:?}"
    );
}

#[test]
fn every_type_of_event_has_a_schema() {
    let files = catalog::files();
    for event_type in EventType::ALL {
        let name = format!("event.{event_type}{}", catalog::SUFFIX);
        assert!(files.contains_key(&name), "{name} is missing");
    }
}

#[test]
fn every_schema_can_be_used_and_says_what_it_is() {
    let mut ids = BTreeSet::new();
    for (name, schema) in parsed() {
        validate::compile(&schema).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(schema["$id"], format!("urn:gatewright:schema:{name}"));
        assert_eq!(schema["title"], name);
        assert_eq!(
            schema["$schema"],
            "https://json-schema.org/draft/2020-12/schema"
        );
        let description = schema["description"].as_str().unwrap_or_default();
        assert!(!description.is_empty(), "{name} says nothing of itself");
        assert!(ids.insert(schema["$id"].to_string()));
    }
}

#[test]
fn every_field_of_every_schema_is_described() {
    fn check(name: &str, path: &str, schema: &Value) {
        if let Some(fields) = schema.get("properties").and_then(Value::as_object) {
            for (field, about) in fields {
                let is_tag = about.get("const").is_some();
                let is_told = about.get("description").is_some();
                assert!(is_tag || is_told, "{name}: {path}/{field} is not described");
            }
        }
        match schema {
            Value::Object(fields) => fields
                .iter()
                .for_each(|(key, below)| check(name, &format!("{path}/{key}"), below)),
            Value::Array(items) => items.iter().for_each(|below| check(name, path, below)),
            _ => {}
        }
    }
    for (name, schema) in parsed() {
        check(&name, "", &schema);
        let text = schema.to_string();
        assert!(!text.contains("[`"), "{name} has a link that leads nowhere");
    }
}

#[test]
fn no_schema_refers_to_anything_outside_itself() {
    fn check(name: &str, root: &Value, schema: &Value) {
        match schema {
            Value::Object(fields) => {
                if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
                    let pointer = target.strip_prefix('#');
                    let pointer = pointer.unwrap_or_else(|| panic!("{name} refers to {target}"));
                    assert!(root.pointer(pointer).is_some(), "{name}: {target}");
                }
                fields.values().for_each(|below| check(name, root, below));
            }
            Value::Array(items) => items.iter().for_each(|below| check(name, root, below)),
            _ => {}
        }
    }
    for (name, schema) in parsed() {
        check(&name, &schema, &schema);
    }
}

#[test]
fn what_people_may_send_is_closed_to_misspelt_fields() {
    for name in ["submission", "command"] {
        let schema = &parsed()[name];
        assert_eq!(schema["additionalProperties"], false, "{name}");
    }
    let parsed = parsed();
    let definitions = &parsed["submission"]["$defs"];
    for (name, definition) in definitions.as_object().unwrap() {
        if definition.get("properties").is_some() {
            let open = definition["additionalProperties"] != Value::Bool(false);
            assert_eq!(open, name == "RunInput", "{name}");
        }
    }
}
