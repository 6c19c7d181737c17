use std::collections::BTreeSet;

use gatewright_schemas::{CommandMessage, validate};
use serde_json::{Value, json};

use crate::{
    catalog,
    files::{self, assert_fits, samples},
};

/// The words for all commands, from the schema.
fn words() -> BTreeSet<String> {
    let schema: Value = serde_json::from_str(&catalog::files()["command.schema.json"]).unwrap();
    let kinds = schema["$defs"]["Command"]["oneOf"].as_array().unwrap();
    kinds
        .iter()
        .map(|kind| {
            let word = &kind["properties"]["type"]["const"];
            word.as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn every_command_has_a_sample() {
    let found: BTreeSet<String> = samples("valid", "command").into_keys().collect();
    assert_eq!(found, words());
}

#[test]
fn valid_commands_are_accepted_and_fit_the_schema() {
    for (name, text) in samples("valid", "command") {
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["command"]["type"], name);
        assert_fits("command", &json);
        let accepted = validate::command(text.as_bytes());
        let accepted = accepted.unwrap_or_else(|why| panic!("{name}: {why}"));
        let again = serde_json::to_vec(&accepted).unwrap();
        assert_eq!(validate::command(&again), Ok(accepted), "{name}");
    }
}

#[test]
fn invalid_commands_are_refused_with_every_place_that_is_wrong() {
    for (name, text, expected) in files::invalid("command") {
        let refused = validate::command(text.as_bytes());
        let refused = refused.expect_err(&name);
        let mut places: Vec<&str> = refused.0.iter().map(|v| v.pointer.as_str()).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places, expected, "{name}: {refused}");
    }
}

#[test]
fn a_refusal_says_what_would_be_accepted() {
    for (message, expected) in [
        (
            json!({ "issued_by": "ann", "command": { "type": "cancle" } }),
            "/command/type: must be one of cancel, retry, wake,",
        ),
        (
            json!({ "issued_by": "ann", "command": { "type": "wake", "why": 1 } }),
            "/command: Additional properties are not allowed ('why' was unexpected)",
        ),
        (
            json!({ "issued_by": "ann", "command": { "type": "retry", "new_run_id": "a.b" } }),
            "/command/new_run_id: value does not match \"^[A-Za-z0-9_-]{1,64}$\"",
        ),
        (
            json!({ "issued_by": "ann", "command": {} }),
            "/command: has none of the shapes that are known",
        ),
        (
            json!({ "issued_by": "ann", "command": "wake" }),
            "/command: has none of the shapes that are known",
        ),
    ] {
        let refused = validate::command(message.to_string().as_bytes()).unwrap_err();
        assert!(refused.to_string().starts_with(expected), "{refused}");
    }
}

#[test]
fn no_command_passes_over_a_field_that_it_does_not_know() {
    for (name, text) in samples("valid", "command") {
        let mut json: Value = serde_json::from_str(&text).unwrap();
        json["command"]["surprise"] = json!(true);
        let refused = validate::command(json.to_string().as_bytes());
        assert!(refused.is_err(), "{name}");
        let mut json: Value = serde_json::from_str(&text).unwrap();
        json["surprise"] = json!(true);
        assert!(
            serde_json::from_value::<CommandMessage>(json.clone()).is_err(),
            "{name}"
        );
        assert!(
            validate::command(json.to_string().as_bytes()).is_err(),
            "{name}"
        );
    }
}
