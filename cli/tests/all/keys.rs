//! The keys to the HTTP API, as an operator handles them.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::support::Fleet;

/// Posts a document to the fleet's HTTP API; answers with the body.
fn post(fleet: &Fleet, path: &str, key: &str, body: &Value) -> Value {
    let host = fleet.dev.url("http_url").strip_prefix("http://").unwrap();
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(host).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(body).unwrap()
}

#[test]
fn the_gate_is_explained_over_http_as_on_the_command_line() {
    let fleet = Fleet::start();
    let made = fleet.run(&["key", "create", "--role", "viewer", "--workspace", "acme"]);
    let key = made.ends(0).out.trim().to_owned();
    let run = json!({ "input": { "runtime": { "steps": [{ "tool_calls": [
        { "tool": "runtime.noop" }, { "tool": "fs.format" },
        { "tool": "egress.request", "input": { "target_url": "https://x.test/", "method": "POST" } } ] }] } } });
    let over_http = post(&fleet, "/v1/policy/explain", &key, &json!({ "run": run }));
    let typed = fleet.feed(
        &["policy", "explain", "-", "-w", "acme", "--json"],
        &run.to_string(),
    );
    let mut typed = typed.json();
    // Counters are looked up on the command line only.
    for call in typed["calls"].as_array_mut().unwrap() {
        call["counters"] = json!([]);
    }
    assert_eq!(over_http, typed);
    assert_eq!(
        over_http["calls"][1]["error"]["reason_code"],
        "tool_not_found"
    );
    let document = "mode = \"enforce\"\n";
    let asked = json!({ "run": run, "document": document });
    let closed = post(&fleet, "/v1/policy/explain", &key, &asked);
    assert_eq!(
        closed["calls"][0]["tool_gate"]["decision"]["reason_code"],
        "default_deny"
    );
}

#[test]
fn a_key_is_shown_once_listed_without_its_secret_and_revoked() {
    let fleet = Fleet::start();
    let create = |rest: &[&str]| fleet.run(&[&["key", "create"], rest].concat());
    let made = create(&["--role", "submitter", "--workspace", "acme", "--for", "job"]);
    let made = made.ends(0);
    let key = made.out.trim();
    let parts: Vec<&str> = key.split('_').collect();
    assert!(matches!(parts[..], ["gw", id, secret] if id.len() == 12 && secret.len() == 64));

    let list = fleet.run(&["key", "list", "--json"]);
    assert!(!list.out.contains(parts[2]), "{}", list.out);
    let found = &list.json()["items"][0];
    assert_eq!(
        (&found["id"], &found["name"]),
        (&parts[1].into(), &"job".into())
    );
    assert!(found["revoked_at"].is_null());
    fleet.run(&["key", "revoke", parts[1]]).ends(0);
    let list = fleet.run(&["key", "list", "--json"]);
    assert!(list.json()["items"][0]["revoked_at"].is_string());

    create(&["--role", "viewer", "--workspace", "*"]).ends(2);
    create(&["--role", "submitter,approver", "--workspace", "acme"]).ends(2);
    create(&["--role", "admin", "--workspace", "*"]).ends(0);
}
