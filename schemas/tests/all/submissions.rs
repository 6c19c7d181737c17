use gatewright_schemas::{Submission, validate};
use serde_json::{Value, json};

use crate::files::{self, assert_fits, samples};

#[test]
fn valid_submissions_are_accepted_and_fit_the_schema() {
    for (name, text) in samples("valid", "submission") {
        let accepted = validate::submission(text.as_bytes());
        let accepted = accepted.unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_fits("submission", &serde_json::from_str(&text).unwrap());
        // And again as it is recorded in `run.created`.
        let recorded = serde_json::to_vec(&accepted).unwrap();
        assert_eq!(
            validate::submission(&recorded).as_ref(),
            Ok(&accepted),
            "{name}"
        );
        assert_fits("submission", &serde_json::to_value(&accepted).unwrap());
    }
}

#[test]
fn invalid_submissions_are_refused_with_every_place_that_is_wrong() {
    for (name, text, expected) in files::invalid("submission") {
        let refused = validate::submission(text.as_bytes());
        let refused = refused.expect_err(&name);
        let mut places: Vec<&str> = refused.0.iter().map(|v| v.pointer.as_str()).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places, expected, "{name}: {refused}");
        let json: Value = serde_json::from_str(&text).unwrap();
        for violation in &refused.0 {
            assert!(!violation.message.is_empty(), "{name}");
            assert!(
                json.pointer(&violation.pointer).is_some(),
                "{name}: nothing stands at {}",
                violation.pointer
            );
        }
    }
}

#[test]
fn a_refusal_says_what_would_be_accepted_and_quotes_no_value() {
    for (message, expected) in [
        (
            json!({ "lane": "s3cret" }),
            "/lane: must be one of interactive, background",
        ),
        (json!({ "title": 3 }), "/title: value is not of types"),
        (
            json!({ "deadline": "s3cret" }),
            "/deadline: value is not a \"date-time\"",
        ),
        (
            json!({ "run_id": "s3cret s3cret" }),
            "/run_id: value does not match",
        ),
        (
            json!({ "input": { "runtime": { "steps": [{ "tool_calls": [{}] }] } } }),
            "/input/runtime/steps/0/tool_calls/0: \"tool\" is a required property",
        ),
    ] {
        let refused = validate::submission(message.to_string().as_bytes()).unwrap_err();
        let told = refused.to_string();
        assert!(told.starts_with(expected), "{told}");
        assert!(!told.contains("s3cret"), "{told}");
    }
}

#[test]
fn what_is_left_out_and_what_is_null_are_the_same_submission() {
    let samples = samples("valid", "submission");
    let digest = |name: &str| {
        let submission = validate::submission(samples[name].as_bytes()).unwrap();
        submission.content_digest()
    };
    assert_eq!(digest("empty"), digest("nulls"));
}

#[test]
fn one_time_in_two_spellings_is_the_same_submission() {
    let digest = |deadline: &str| {
        let text = json!({ "deadline": deadline }).to_string();
        validate::submission(text.as_bytes())
            .unwrap()
            .content_digest()
    };
    assert_eq!(
        digest("2026-03-04T14:00:00+01:00"),
        digest("2026-03-04T13:00:00.000Z")
    );
}

#[test]
fn no_part_of_a_submission_but_its_id_is_left_out_of_the_digest() {
    let samples = samples("valid", "submission");
    let full: Value = serde_json::from_str(&samples["full"]).unwrap();
    let digest = |json: &Value| {
        serde_json::from_value::<Submission>(json.clone())
            .unwrap()
            .content_digest()
    };
    let before = digest(&full);
    for (pointer, other) in [
        ("/title", json!("other")),
        ("/room_id", json!("other")),
        ("/thread_id", json!("other")),
        ("/correlation_id", json!("other")),
        ("/lane", json!("background")),
        ("/not_before", json!("2026-03-04T12:00:01Z")),
        ("/deadline", json!("2026-03-04T15:00:00Z")),
        ("/input/note/any/1", json!(1.25)),
        ("/input/runtime/policy/zone", json!("sandbox")),
        ("/input/runtime/steps/0/title", json!("other")),
        ("/input/runtime/steps/0/tool_calls/0/tool", json!("other")),
        (
            "/input/runtime/steps/0/tool_calls/0/input/method",
            json!("POST"),
        ),
        (
            "/input/runtime/steps/0/tool_calls/0/on_failure",
            json!("continue"),
        ),
        (
            "/input/runtime/steps/0/tool_calls/1/sandbox_permissions",
            json!("use_default"),
        ),
        ("/input/runtime/actor", json!("external")),
        ("/input/runtime/on_unknown_outcome", json!("fail")),
    ] {
        let mut changed = full.clone();
        *changed.pointer_mut(pointer).expect(pointer) = other;
        assert_ne!(digest(&changed), before, "{pointer}");
    }
    let mut renamed = full.clone();
    renamed["run_id"] = json!("other");
    assert_eq!(digest(&renamed), before);
}
