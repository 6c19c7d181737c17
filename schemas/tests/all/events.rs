//! One stored commit of each type of event. The stream keeps such commits for ever: these files must go on to be read.

use std::collections::BTreeSet;

use gatewright_schemas::{
    Commit, EventType,
    chain::{self, ChainHead},
    event::EVENT_VERSION,
};
use serde_json::{Value, json};

use crate::files::{self, assert_fits};

fn commits() -> Vec<(String, Value, Commit)> {
    files::texts("samples/events", ".json")
        .into_iter()
        .map(|(name, text)| {
            let json: Value = serde_json::from_str(&text).unwrap();
            let commit =
                serde_json::from_str(&text).unwrap_or_else(|why| panic!("{name}.json: {why}"));
            (name, json, commit)
        })
        .collect()
}

#[test]
fn every_type_of_event_has_a_sample() {
    let found: BTreeSet<EventType> = commits()
        .iter()
        .map(|(name, _, commit)| {
            assert_eq!(commit.events.len(), 1, "{name}");
            assert_eq!(commit.events[0].event_type.as_str(), name);
            commit.events[0].event_type
        })
        .collect();
    for event_type in EventType::ALL {
        assert!(
            found.contains(event_type),
            "schemas/samples/events/{event_type}.json is missing"
        );
    }
}

#[test]
fn a_stored_commit_is_written_as_it_was_read() {
    for (name, json, commit) in commits() {
        assert_eq!(serde_json::to_value(&commit).unwrap(), json, "{name}");
        for event in &commit.events {
            let body = event.body().unwrap_or_else(|why| panic!("{name}: {why:?}"));
            assert_eq!(body.event_type(), event.event_type);
            assert_eq!(body.to_data(), event.data, "{name}: the shape of `data`");
        }
    }
}

#[test]
fn a_stored_commit_keeps_its_hash() {
    for (name, _, commit) in commits() {
        let event = &commit.events[0];
        let mut head = ChainHead {
            seq: event.seq - 1,
            hash: event.prev_hash.clone(),
        };
        chain::verify(&mut head, event).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
}

#[test]
fn a_stored_commit_fits_the_schemas() {
    for (name, json, commit) in commits() {
        assert_fits("commit", &json);
        for (event, json) in commit.events.iter().zip(json["events"].as_array().unwrap()) {
            assert_fits("event", json);
            assert_fits(&format!("event.{}", event.event_type), json);
        }
        assert!(
            commit.events[0].event_version == EVENT_VERSION,
            "{name}: a new version needs a sample of its own beside the old one"
        );
    }
}

#[test]
fn an_event_fits_no_other_types_schema() {
    let commits = commits();
    for (other, _, _) in &commits {
        let schema = files::schema(&format!("event.{other}"));
        for (name, json, _) in &commits {
            assert_eq!(
                schema.is_valid(&json["events"][0]),
                name == other,
                "{name} against {other}"
            );
        }
    }
}

#[test]
fn what_is_missing_or_surprising_in_an_envelope_is_refused() {
    let (_, json, _) = commits().remove(0);
    let envelope = &json["events"][0];
    let schema = files::schema("event");
    for field in ["event_id", "event_type", "seq", "hash", "data", "zone"] {
        let mut less = envelope.clone();
        less.as_object_mut().unwrap().remove(field);
        assert!(!schema.is_valid(&less), "{field}");
        assert!(
            serde_json::from_value::<gatewright_schemas::Event>(less).is_err(),
            "{field}"
        );
    }
    let mut more = envelope.clone();
    more["surprise"] = json!(1);
    assert!(!schema.is_valid(&more));
    assert!(serde_json::from_value::<gatewright_schemas::Event>(more).is_err());
}

#[test]
fn a_newer_version_of_an_event_is_told_apart_from_a_broken_one() {
    let (_, _, commit) = commits().remove(0);
    let mut newer = commit.events[0].clone();
    newer.event_version = EVENT_VERSION + 1;
    let why = newer.body().unwrap_err();
    assert!(why.source.is_none());
    let mut broken = commit.events[0].clone();
    broken.data = json!({});
    assert!(broken.body().unwrap_err().source.is_some());
}

#[test]
fn an_unknown_field_of_data_is_kept_and_passed_over() {
    let (_, _, commit) = commits().remove(0);
    let mut event = commit.events[0].clone();
    event.data["added_later"] = json!(1);
    assert!(event.body().is_ok());
    let wire = serde_json::to_value(&event).unwrap();
    assert_eq!(wire["data"]["added_later"], 1);
}
