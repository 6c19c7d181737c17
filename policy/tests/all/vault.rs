//! Secrets are taken out of a run's inputs and put back as they were.

use gatewright_policy::redact::{
    Marks, Parts, SecretMissing, TooManySecrets, Vault, message, take_out,
};
use gatewright_schemas::reference;
use proptest::prelude::*;
use serde_json::{Value, json};

fn taken(input: &Value, marks: &Marks) -> (Value, Vault) {
    let mut shown = input.clone();
    let parts = Parts {
        inputs: vec![&mut shown],
        ..Parts::default()
    };
    let vault = take_out(parts, marks).unwrap();
    (shown, vault)
}

fn check(input: &Value, expected: &Value) {
    let marks = Marks::new(&["X-Tenant"], &["ssn", "/context/customer"]);
    let (mut shown, vault) = taken(input, &marks);
    assert_eq!(&shown, expected);
    vault.restore(&mut shown).unwrap();
    assert_eq!(&shown, input);
}

#[test]
fn what_is_no_secret_is_left_as_it_is() {
    let plain = json!({
        "target_url": "HTTPS://X.example:443/a?page=2&b#top", "body": "{ \"a\":  1 }", "token": null, "secret": "",
        "headers": { "Accept": "text/html" }, "max_tokens": 3, "path": "/a?b=c",
    });
    let (shown, vault) = taken(&plain, &Marks::by_default());
    assert_eq!(shown, plain);
    assert!(vault.is_empty());
}

#[test]
fn a_secret_leaves_a_reference_in_its_place() {
    check(
        &json!({ "headers": { "Authorization": "Bearer hush-hush", "X-Tenant": "t-1" }, "n": 1 }),
        &json!({ "headers": { "Authorization": { "$secret": "1" }, "X-Tenant": { "$secret": "2" } }, "n": 1 }),
    );
    check(
        &json!({ "body": { "SSN": 123, "password": ["a", { "b": 1 }] } }),
        &json!({ "body": { "SSN": { "$secret": "1" }, "password": { "$secret": "2" } } }),
    );
    check(
        &json!({ "context": { "customer": { "name": "Ann" } } }),
        &json!({ "context": { "customer": { "$secret": "1" } } }),
    );
}

#[test]
fn of_a_text_with_a_secret_in_it_the_rest_is_shown() {
    check(
        &json!({ "target_url": "https://x.example/a?page=2&api_key=hush-hush#top" }),
        &json!({ "target_url": { "$secret": "1", "shows": "https://x.example/a?page=2&api_key=REDACTED" } }),
    );
    check(
        &json!({ "callback": "https://me:hush@x.example/a#access_token=hush-too" }),
        &json!({ "callback": { "$secret": "1", "shows": "https://x.example/a" } }),
    );
    check(
        &json!({ "body": "{\"user\": \"ann\", \"password\": \"hush\"}" }),
        &json!({ "body": { "$secret": "1", "shows": "{\"password\":\"REDACTED\",\"user\":\"ann\"}" } }),
    );
}

#[test]
fn a_secret_is_taken_wherever_else_it_stands() {
    let mut first =
        json!({ "token": "hush-hush", "url": "http://x.example/hush-hush?token=other-one" });
    let mut second = json!({ "note": "use hush-hush", "hush-hush": { "password": "third" } });
    let (originals, mut title) = ((first.clone(), second.clone()), "hush-hush now".to_owned());
    let mut beside = json!({ "api_key": "beside-it", "note": "hush-hush" });
    let parts = Parts {
        inputs: vec![&mut first, &mut second],
        beside: vec![&mut beside],
        texts: vec![&mut title],
    };
    let vault = take_out(parts, &Marks::default()).unwrap();
    assert_eq!(title, "REDACTED now");
    assert_eq!(beside, json!({ "api_key": "REDACTED", "note": "REDACTED" }));
    assert_eq!(
        first["url"]["shows"],
        "http://x.example/REDACTED?token=REDACTED"
    );
    assert_eq!(second, json!({ "$secret": "4" }));
    vault.restore(&mut first).unwrap();
    vault.restore(&mut second).unwrap();
    assert_eq!((first, second), originals);
    assert_eq!(vault.secrets().clean_text("<beside-it>"), "<REDACTED>");
    assert!(!format!("{vault:?}").contains("hush"));
}

#[test]
fn a_vault_is_the_same_after_it_was_stored() {
    let (_, vault) = taken(
        &json!({ "password": "hush", "token": { "a": 1 } }),
        &Marks::default(),
    );
    let text = serde_json::to_string(&vault).unwrap();
    assert_eq!(serde_json::from_str::<Vault>(&text).unwrap(), vault);
}

#[test]
fn a_reference_that_leads_nowhere_is_an_error() {
    let missing = Vault::default().restore(&mut json!([{ "$secret": "3" }]));
    assert_eq!(missing, Err(SecretMissing(3)));
}

#[test]
fn more_secrets_than_can_be_looked_for_are_refused() {
    let mut input: Value = (0..3_000)
        .map(|n| json!({ "token": format!("hush-{n}") }))
        .collect();
    let text = input.to_string();
    let parts = Parts {
        inputs: vec![&mut input],
        ..Parts::default()
    };
    assert_eq!(take_out(parts, &Marks::default()), Err(TooManySecrets));
    let kept = message(text.as_bytes(), &Marks::default());
    assert!(kept.redacted && kept.json.is_none() && !kept.text.unwrap().contains("hush"));
}

#[test]
fn a_message_is_kept_without_its_secrets() {
    let marks = Marks::new(&["X-Tenant"], &["/context/customer"]);
    let kept = message(
        br#"{"input":{"runtime":{"steps":[{"tool_calls":[{"input":{"context":{"customer":"hush-one"},
            "headers":{"x-tenant":"hush-two"},"password":{"$secret":"123456"}}}]}]}},"title":"hush-one","lane":7}"#,
        &marks,
    );
    let json = kept.json.unwrap();
    assert!(kept.redacted && json["lane"] == 7);
    assert!(
        !json.to_string().contains("hush") && !json.to_string().contains("123456"),
        "{json}"
    );

    let plain = br#"{"input":{"runtime":{"egress":{"target_url":"http://x/?a=1#b"}}}}"#;
    let kept = message(plain, &marks);
    assert!(!kept.redacted);
    assert_eq!(
        kept.json.unwrap(),
        serde_json::from_slice::<Value>(plain).unwrap()
    );
}

#[test]
fn of_a_text_of_no_known_form_the_usual_spellings_are_taken() {
    for text in [
        r#"{"password": "hush-hush", "n": 1"#,
        r#"{"password": "hush-\"hush", "n": 1"#,
        r#"{"body": "{\"password\": \"hush-hush\"}", n"#,
        r#"{"ssn":hush-hush"#,
        r"{'api_key' : 'hush-hush'",
        "Authorization: Bearer hush-hush\r\nAccept: n",
        "user=n&client_secret=hush-hush&n=1",
        "see nats://me:hush-hush@n:4222",
        "password=hush-hush and again: n hush-hush",
    ] {
        let kept = message(text.as_bytes(), &Marks::new(&[], &["ssn"]));
        let shown = kept.text.unwrap();
        assert!(kept.redacted && !shown.contains("hush"), "{shown}");
        assert!(shown.contains("REDACTED"), "{shown}");
    }
    for plain in [
        "",
        "not JSON",
        "{\"a\": 1",
        "x: y@z",
        "\u{fffd}",
        "token",
        "a://b",
    ] {
        let kept = message(plain.as_bytes(), &Marks::default());
        assert_eq!((kept.text.as_deref(), kept.redacted), (Some(plain), false));
    }
    let long = "ü".repeat(50_000);
    assert!(
        message(long.as_bytes(), &Marks::default())
            .text
            .unwrap()
            .len()
            <= 65_536
    );
}

fn values() -> impl Strategy<Value = Value> {
    let texts = prop_oneof![
        "[a-z]{0,9}",
        "[ -~]{0,24}",
        Just("hush-hush".to_owned()),
        Just("say hush-hush".to_owned()),
        Just("https://ann:hush-hush@x.example/hush-hush?token=other&page=1#t".to_owned()),
        Just(r#"{"password":"hush-hush"}"#.to_owned()),
        Just("a=1&password=hush-hush".to_owned()),
        Just("REDACTED".to_owned()),
    ];
    let leaves = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        texts.prop_map(Value::from),
    ];
    let names = prop_oneof![
        "[a-z]{1,3}",
        prop::sample::select(vec![
            "password",
            "token",
            "headers",
            "Authorization",
            "target_url",
            "body",
            "context",
            "ssn",
            "hush-hush",
        ])
        .prop_map(str::to_owned),
    ];
    leaves.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names.clone(), inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_taken_out_comes_back(inputs in prop::collection::vec(values(), 1..4)) {
        let marks = Marks::new(&["X-Tenant"], &["ssn", "/context", "/body/a"]);
        let mut shown = inputs.clone();
        let parts = Parts { inputs: shown.iter_mut().collect(), ..Parts::default() };
        let vault = take_out(parts, &marks).unwrap();
        prop_assert_eq!(vault.is_empty(), shown == inputs);
        let known = vault.secrets();
        for value in &shown {
            let text = value.to_string();
            let named = inputs.iter().any(|input| input.to_string().contains("password\":\"hush-hush\""));
            prop_assert!(!named || !text.contains("hush-hush"), "{}", text);
            prop_assert_eq!(known.clean_text(&text), text);
        }
        for (value, input) in shown.iter_mut().zip(&inputs) {
            vault.restore(value).unwrap();
            prop_assert!(!reference::occur_in(value));
            prop_assert_eq!(value, input);
        }
    }

    #[test]
    fn any_text_can_be_kept(text in "(password|token|://|[:=\"'\\\\&@ \n]|[a-zü]{1,8}|\\{|\\[){0,30}") {
        let kept = message(text.as_bytes(), &Marks::by_default());
        prop_assert!(kept.json.is_some() || kept.text.is_some());
        prop_assert!(kept.redacted || kept.json.is_some() || kept.text.unwrap() == text);
    }
}
