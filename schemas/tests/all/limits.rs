//! What anybody may have sent: too much, too deep, too odd.

use gatewright_schemas::{
    submission::limit,
    validate::{self, Invalid},
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn nested(levels: usize, core: &str) -> String {
    // Two levels are the message's own: the object and its `input`.
    let inner = levels - 2;
    format!(
        "{{\"input\":{{\"x\":{}{core}{}}}}}",
        "[".repeat(inner),
        "]".repeat(inner)
    )
}

fn whole(refused: &Invalid) -> &str {
    assert_eq!(refused.0.len(), 1);
    assert_eq!(refused.0[0].pointer, "");
    &refused.0[0].message
}

#[test]
fn a_message_may_be_as_deep_as_the_limit_and_no_deeper() {
    for core in ["", "1", "\"text\"", "null"] {
        let deepest = nested(limit::DEPTH, core);
        assert!(validate::submission(deepest.as_bytes()).is_ok(), "{core}");
        let deeper = nested(limit::DEPTH + 1, core);
        let refused = validate::submission(deeper.as_bytes()).unwrap_err();
        assert!(whole(&refused).contains("deeper than 64"), "{refused}");
    }
}

#[test]
fn a_message_may_be_as_large_as_the_limit_and_no_larger() {
    let sized = |bytes: usize| {
        let frame = r#"{"input":{"x":""}}"#.len();
        format!(r#"{{"input":{{"x":"{}"}}}}"#, "x".repeat(bytes - frame))
    };
    let largest = sized(limit::BYTES);
    assert_eq!(largest.len(), limit::BYTES);
    assert!(validate::submission(largest.as_bytes()).is_ok());
    let larger = sized(limit::BYTES + 1);
    let refused = validate::submission(larger.as_bytes()).unwrap_err();
    assert!(whole(&refused).contains("the limit is"), "{refused}");
    assert!(validate::command(larger.as_bytes()).is_err());
}

#[test]
fn a_text_is_measured_in_characters() {
    for (field, pointer) in [
        ("title", "/title"),
        ("room_id", "/room_id"),
        ("thread_id", "/thread_id"),
        ("correlation_id", "/correlation_id"),
    ] {
        let text = |n: usize| json!({ field: "\u{1f600}".repeat(n) }).to_string();
        assert!(validate::submission(text(limit::TEXT).as_bytes()).is_ok());
        let refused = validate::submission(text(limit::TEXT + 1).as_bytes()).unwrap_err();
        assert_eq!(refused.0[0].pointer, pointer);
    }
}

#[test]
fn a_thousand_faults_are_told_in_fifty() {
    let calls = |call: &Value| {
        let step = json!({ "tool_calls": vec![call.clone(); limit::CALLS] });
        json!({ "input": { "runtime": { "steps": vec![step; 20] } } }).to_string()
    };
    for call in [json!({ "tool": 3 }), json!({ "tool": " " })] {
        let refused = validate::submission(calls(&call).as_bytes()).unwrap_err();
        assert_eq!(refused.0.len(), 50, "{call}");
    }
}

#[test]
fn a_refusal_cannot_steer_the_terminal_that_it_is_shown_on() {
    let odd = "\u{1b}[2J\u{202e}\u{2066}\u{9b}\r\n";
    for message in [
        json!({ odd: 1 }),
        json!({ "lane": odd }),
        json!({ "run_id": odd }),
        json!({ "deadline": odd }),
        json!({ "input": { "runtime": { odd: 1 } } }),
    ] {
        let refused = validate::submission(message.to_string().as_bytes()).unwrap_err();
        for violation in &refused.0 {
            let shown = &violation.message;
            let is_odd = |c: char| c.is_control() || odd.contains(c) && !c.is_ascii();
            assert!(!shown.contains(is_odd), "{shown:?}");
            assert!(shown.len() < 4000, "{}", shown.len());
        }
    }
}

#[test]
fn a_number_that_json_cannot_hold_is_refused_and_not_rounded_away() {
    for number in ["1e999", "-1e999"] {
        let text = format!("{{\"input\":{{\"x\":{number}}}}}");
        assert!(validate::submission(text.as_bytes()).is_err());
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    for bytes in [
        &b"\xff\xfe"[..],
        b"{\"title\":\"\xc3\x28\"}",
        b"",
        b"\0",
        b"{} {}",
        b"\"\\ud800\"",
    ] {
        let refused = validate::submission(bytes).unwrap_err();
        assert!(!whole(&refused).is_empty(), "{bytes:?}");
        assert!(validate::command(bytes).is_err());
    }
}

/// JSON that is almost a submission or a command.
fn almost() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        4 => prop::sample::select(vec![
            "run_id", "title", "lane", "input", "runtime", "steps", "tool_calls", "tool", "policy",
            "egress", "target_url", "deadline", "not_before", "on_failure", "issued_by", "command",
            "type", "cancel", "wake", "decide_approval", "approval_id", "approve", "scopes", "fail",
            "2026-03-04T12:00:00Z", "background",
        ])
        .prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => prop::collection::btree_map(word.clone(), inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = validate::submission(&bytes);
        let _ = validate::command(&bytes);
    }

    #[test]
    fn any_json_is_accepted_or_refused_with_a_reason(json in almost()) {
        let bytes = serde_json::to_vec(&json).unwrap();
        if let Err(refused) = validate::submission(&bytes) {
            prop_assert!(!refused.0.is_empty() && refused.0.len() <= 50);
        }
        if let Err(refused) = validate::command(&bytes) {
            prop_assert!(!refused.0.is_empty() && refused.0.len() <= 50);
        }
    }

    #[test]
    fn whatever_the_submitter_keeps_in_the_input_is_kept(other in almost(), policy in almost()) {
        let message = json!({ "input": { "mine": other, "runtime": { "policy": policy } } });
        let accepted = validate::submission(&serde_json::to_vec(&message).unwrap()).unwrap();
        prop_assert_eq!(&accepted.input.other["mine"], &message["input"]["mine"]);
        prop_assert_eq!(&accepted.input.runtime.policy, &message["input"]["runtime"]["policy"]);
        let recorded = serde_json::to_vec(&accepted).unwrap();
        let again = validate::submission(&recorded).unwrap();
        prop_assert_eq!(again.content_digest(), accepted.content_digest());
        prop_assert_eq!(again, accepted);
    }
}
