//! What the HTTP API says of itself is so, and nobody gets more of it than is theirs.

use std::{collections::BTreeSet, num::NonZeroU32};

use gatewright_schemas::KeyRole;
use gatewright_tests::{
    Fleetlet,
    http::{Client, send},
};
use serde_json::Value;

/// Every operation of the description: its method, path and contents.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            found.push((method.to_uppercase(), path.clone(), operation));
        }
    }
    found
}

/// Every reference in a document.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                found.insert(reference);
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_that_is_described_is_served_and_needs_a_key_where_it_says_so() {
    let fleet = Fleetlet::start(0).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    let told = send(to, "GET", "/openapi.json", &[], "").await;
    assert_eq!(told.status, 200);
    let document = &told.body;
    let mut found = BTreeSet::new();
    references(document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} leads nowhere"
        );
    }
    let operations = operations(document);
    assert!(operations.len() > 30, "{}", operations.len());
    let mut names = BTreeSet::new();
    for (method, path, operation) in operations {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name), "{name} is there twice");
        let concrete: String = path.replace(['{', '}'], "");
        let answer = send(to, &method, &concrete, &[], "{}").await;
        if operation["security"].is_null() {
            assert!(
                [200, 503].contains(&answer.status),
                "{method} {path}: {answer:?}"
            );
        } else {
            answer.is_problem(401, None);
        }
        let parameters = operation["parameters"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        for part in path.split('/').filter_map(|part| part.strip_prefix('{')) {
            let name = part.trim_end_matches('}');
            let is_told = parameters
                .iter()
                .any(|one| one["in"] == "path" && one["name"] == name);
            assert!(is_told, "{path} does not tell of {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_asks_too_often_is_told_when_to_come_again_and_others_are_not() {
    let fleet = Fleetlet::start(0).await;
    let rate = NonZeroU32::new(2).unwrap();
    let (to, _serving) = fleet.start_http_limited("http-1", rate).await;
    let client = async |name: &str| Client {
        to,
        key: fleet.key(name, &[KeyRole::Viewer]).await,
    };
    let (eager, other) = (client("eager").await, client("other").await);
    let answers = futures::future::join_all((0..20).map(|_| eager.get("/v1/runs"))).await;
    let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|one| one.status == 200);
    assert!(served.len() >= 4, "twice as many at once: {}", served.len());
    assert!(refused.len() >= 8, "{}", refused.len());
    for one in refused {
        one.is_problem(429, None);
        assert_eq!(one.header("retry-after"), Some("1"));
    }
    assert_eq!(other.get("/v1/runs").await.status, 200);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(eager.get("/v1/runs").await.status, 200, "it may come again");
}
