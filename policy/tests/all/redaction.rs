use gatewright_policy::{
    Host,
    redact::{Marks, Secrets, input as redact_input},
};
use serde_json::{Value, json};

fn check(input: &Value, expected: &Value) {
    let none = Marks::default();
    assert_eq!(&redact_input(input, &none).value, expected);
}

#[test]
fn names_tell_secrets() {
    let secret = [
        "password",
        "db_password",
        "clientSecret",
        "api_key",
        "apiKey",
        "x-api-key",
        "access_token",
        "accessToken",
        "token",
        "Authorization",
        "private-key",
        "credentials",
        "Cookie",
        "signature",
        "jwt",
    ];
    for name in secret {
        check(&json!({ name: "hush-hush" }), &json!({ name: "REDACTED" }));
    }
    for name in [
        "max_tokens",
        "token_count",
        "key",
        "author",
        "title",
        "primary_key_column",
        "monkey",
    ] {
        check(&json!({ name: "hush-hush" }), &json!({ name: "hush-hush" }));
    }
}

#[test]
fn whatever_stands_under_a_secret_name_is_hidden() {
    check(
        &json!({ "password": ["hush-hush", { "a": 1 }] }),
        &json!({ "password": "REDACTED" }),
    );
    check(
        &json!({ "password": 123_456 }),
        &json!({ "password": "REDACTED" }),
    );
    check(
        &json!({ "password": null, "secret": false }),
        &json!({ "password": null, "secret": false }),
    );
}

#[test]
fn headers_are_told_by_wider_names() {
    let headers = |value: &str| json!({ "headers": { "X-Session-Id": value, "X-Key": value, "Accept": "text/html" } });
    check(&headers("hush-hush"), &headers("REDACTED"));
}

#[test]
fn urls_lose_their_secrets_and_keep_the_rest() {
    let url = |text: &str| json!({ "callback": text });
    check(
        &url("https://x.example/a?page=2&b"),
        &url("https://x.example/a?page=2&b"),
    );
    check(
        &url("https://x.example/a?page=2&sig=hush"),
        &url("https://x.example/a?page=2&sig=REDACTED"),
    );
    check(
        &url("postgres://ann:hush-hush@db/x"),
        &url("postgres://db/x"),
    );
    let target = |text: &str| json!({ "target_url": text });
    check(
        &target("https://x.example/a?page=2#top"),
        &target("https://x.example/a?page=REDACTED"),
    );
    check(&target("http://me:hush@[broken"), &target("REDACTED"));
}

#[test]
fn text_that_holds_more_is_looked_into() {
    check(
        &json!({ "body": "grant_type=password&client_secret=hush%2Fhush" }),
        &json!({ "body": "grant_type=password&client_secret=REDACTED" }),
    );
    check(
        &json!({ "body": r#"{ "user": "ann", "password": "hush" }"# }),
        &json!({ "body": r#"{"password":"REDACTED","user":"ann"}"# }),
    );
    check(
        &json!({ "body": r#"{ "user":  "ann" }"# }),
        &json!({ "body": r#"{ "user":  "ann" }"# }),
    );
}

#[test]
fn a_secret_is_hidden_wherever_else_it_stands() {
    check(
        &json!({ "token": "hush-hush", "note": "use hush-hush here", "hush-hush": 1 }),
        &json!({ "token": "REDACTED", "note": "use REDACTED here", "REDACTED": 1 }),
    );
    // Too short to search for: only its name hides it.
    check(
        &json!({ "token": "ab", "note": "about" }),
        &json!({ "token": "REDACTED", "note": "about" }),
    );
}

#[test]
fn a_secret_is_known_in_its_other_spellings() {
    // `ann:hush/hush "it"`
    let headers = json!({ "headers": { "Authorization": "Basic YW5uOmh1c2gvaHVzaCAiaXQi" } });
    let secrets = redact_input(&headers, &Marks::default()).secrets;
    let repeated = [
        "YW5uOmh1c2gvaHVzaCAiaXQi",
        r#"hush/hush "it""#,
        r#"hush/hush \"it\""#,
        "hush%2Fhush+%22it%22",
    ];
    for text in repeated {
        assert_eq!(secrets.clean_text(&format!("<{text}>")), "<REDACTED>");
    }
}

#[test]
fn the_policy_marks_more() {
    let marks = Marks::new(&["X-Tenant"], &["ssn", "/context/customer"]);
    let input = json!({
        "headers": { "x-tenant": "hush-one" }, "body": { "SSN": "hush-two" }, "context": { "customer": { "name": "hush-three" } },
        "target_url": "https://x.example/hush-three/y",
    });
    let redacted = redact_input(&input, &marks);
    let expected = json!({
        "headers": { "x-tenant": "REDACTED" }, "body": { "SSN": "REDACTED" }, "context": { "customer": "REDACTED" },
        "target_url": "https://x.example/REDACTED/y",
    });
    assert_eq!(redacted.value, expected);
    assert_eq!(
        redacted.secrets.clean_text("hush-two and hush-three"),
        "REDACTED and REDACTED"
    );
    assert!(!format!("{redacted:?}").contains("hush"));
}

/// What looks like a host within a random secret is a part of it; the host of a secret URL is what an approver has to see.
#[test]
fn a_host_that_is_a_part_of_a_secret_is_not_told() {
    let values = [
        "pw@Ss:word-1".to_owned(),
        "https://hooks.test/T0/abcdef".to_owned(),
    ];
    let secrets = Secrets::of(&values);
    for (host, held) in [("ss", true), ("hooks.test", false), ("other.test", false)] {
        assert_eq!(secrets.hold(&Host::parse(host).unwrap()), held, "{host}");
    }
}
