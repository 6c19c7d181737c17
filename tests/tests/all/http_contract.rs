//! What the HTTP API says of itself is so, and nobody gets more of it than is theirs.

use std::{collections::BTreeSet, num::NonZeroU32};

use gatewright_schemas::KeyRole;
use gatewright_tests::{
    Fleetlet,
    contract::Operation,
    http::{Client, contract, send},
    policy, run,
};
use serde_json::{Value, json};

/// Roles that are not an admin's, which may do what each of them may.
const SINGLE: [KeyRole; 4] = [
    KeyRole::Submitter,
    KeyRole::Actor,
    KeyRole::Approver,
    KeyRole::Viewer,
];

/// Operations that name no workspace, and what a key of one workspace gets of them.
const OF_THE_FLEET: [(&str, &str); 10] = [
    ("showKey", "its own key"),
    ("showPolicy", "the fleet's policy"),
    ("listPolicyRevisions", "the fleet's policy"),
    ("showPolicyRevision", "the fleet's policy"),
    ("validatePolicy", "a document of its own"),
    ("applyPolicy", "nothing: only a key for all workspaces may"),
    ("listWorkers", "the fleet's workers"),
    ("showDeadLetter", "404 where it is another workspace's"),
    ("replayDeadLetter", "404 where it is another workspace's"),
    ("callTool", "403 where the step is another workspace's"),
];

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

/// Whether a schema says more than that there is an object.
fn says_something(document: &Value, schema: &Value) -> bool {
    if let Some(reference) = schema["$ref"].as_str() {
        let found = document.pointer(reference.strip_prefix('#').unwrap());
        return says_something(document, found.unwrap());
    }
    let any_of = schema["anyOf"].as_array();
    let is_one_of = any_of.is_some_and(|all| all.iter().all(|one| says_something(document, one)));
    is_one_of
        || schema["properties"]
            .as_object()
            .is_some_and(|all| !all.is_empty())
}

/// Asks for an operation at a place where there is nothing, with nothing.
async fn probe(
    client: &Client,
    operation: &Operation,
    query: &str,
) -> gatewright_tests::http::Answer {
    let path = operation.at(|_| "acme.nothing.1.1.a1".to_owned());
    let path = format!("{path}{query}");
    match operation.method.as_str() {
        "GET" => client.get(&path).await,
        _ => client.post(&path, &json!({})).await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_that_is_described_is_served_and_needs_a_key_where_it_says_so() {
    let fleet = Fleetlet::start(0).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    let contract = contract(to).await;
    let document = contract.document();
    let mut found = BTreeSet::new();
    references(document, &mut found);
    assert!(found.len() > 40, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} leads nowhere"
        );
    }
    assert!(contract.operations().count() > 40);
    let mut names = BTreeSet::new();
    for operation in contract.operations() {
        let (name, path) = (&operation.name, &operation.path);
        assert!(names.insert(name), "{name} is there twice");
        let concrete = operation.at(str::to_owned);
        let answer = send(to, &operation.method, &concrete, &[], "{}").await;
        if operation.needs_key() {
            answer.is_problem(401, None);
        } else {
            assert!([200, 503].contains(&answer.status), "{name}: {answer:?}");
        }
        let told = operation.parameters("path");
        for part in path.split('/').filter_map(|part| part.strip_prefix('{')) {
            let parameter = part.trim_end_matches('}');
            assert!(
                told.contains(&parameter),
                "{path} does not tell of {parameter}"
            );
        }
        for (status, answer) in operation.told["responses"].as_object().unwrap() {
            let schema = &answer["content"]["application/json"]["schema"];
            let is_told = !status.starts_with('2') || schema.is_null();
            assert!(
                is_told || says_something(document, schema),
                "{name} does not say what it answers with {status}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_is_let_in_where_the_table_of_routes_says_so_and_nowhere_else() {
    let fleet = Fleetlet::start(0).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    let contract = contract(to).await;
    let mut refused = 0;
    for role in SINGLE {
        let key = fleet.key(role.as_str(), &[role]).await;
        let client = Client { to, key };
        for operation in contract.operations().filter(|one| one.needs_key()) {
            let answer = probe(&client, operation, "").await;
            let name = &operation.name;
            if operation
                .role()
                .is_none_or(|needed| needed == role.as_str())
            {
                assert!(
                    ![401, 403].contains(&answer.status),
                    "{role} {name}: {answer:?}"
                );
            } else {
                answer.is_problem(403, None);
                refused += 1;
            }
        }
    }
    assert!(refused > 40, "{refused}");
    let key = fleet.key("admin", &[KeyRole::Admin]).await;
    let admin = Client { to, key };
    for operation in contract.operations().filter(|one| one.needs_key()) {
        let answer = probe(&admin, operation, "").await;
        let may = operation.name != "applyPolicy";
        assert_eq!(answer.status != 403, may, "{}: {answer:?}", operation.name);
    }
    let events = fleet
        .fleet
        .history(&fleet.acme, &gatewright_schemas::RunId::authority())
        .await
        .unwrap();
    assert!(events.is_empty(), "nothing came of it: {events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_gives_a_key_anything_of_another_workspace() {
    let fleet = Fleetlet::start(1).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    let contract = contract(to).await;
    fleet
        .ended_run(&json!({ "run_id": "nothing", "title": "acme's own" }))
        .await;
    fleet.submit(&json!({ "lane": "acme's own" })).await;
    fleet.projected().await;
    let roles = [KeyRole::Admin];
    let key = fleet.key_of_workspace("elsewhere", "eve", &roles).await;
    let eve = Client { to, key };
    for operation in contract.operations().filter(|one| one.needs_key()) {
        let name = operation.name.as_str();
        let (query, path) = (operation.parameters("query"), operation.parameters("path"));
        let by_id = path
            .iter()
            .any(|one| ["step", "call", "approval"].contains(one));
        if query.contains(&"workspace") {
            let named = probe(&eve, operation, "?workspace=acme").await;
            named.is_problem(403, None);
        } else if by_id {
            probe(&eve, operation, "").await.is_problem(403, None);
        } else {
            let is_known = OF_THE_FLEET.iter().any(|(known, _)| *known == name);
            assert!(is_known, "what does a key of one workspace get of {name}?");
        }
        // Without a name it is the key's own workspace, where there is nothing.
        let unnamed = operation.at(|part| if part == "run" { "nothing" } else { "1" }.into());
        let unnamed = match operation.method.as_str() {
            "GET" => eve.get(&unnamed).await,
            _ => eve.post(&unnamed, &json!({})).await,
        };
        let told = unnamed.body.to_string();
        assert!(!told.contains("acme's own"), "{name}: {told}");
        if path.contains(&"run") || path.contains(&"sequence") {
            unnamed.is_problem(404, None);
        }
    }
}

#[expect(
    clippy::too_many_lines,
    reason = "a story is told from its beginning to its end"
)]
#[tokio::test(flavor = "multi_thread")]
async fn every_operation_answers_what_the_description_says() {
    let fleet = Fleetlet::start(1).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    let contract = contract(to).await;
    let root = fleet.key_of_workspace("*", "root", &[KeyRole::Admin]).await;
    let root = Client { to, key: root };
    let ann = fleet.key("ann", &[KeyRole::Admin]).await;
    let ann = Client { to, key: ann };
    let good = |answer: gatewright_tests::http::Answer| {
        assert!(answer.status < 300, "{answer:?}");
        answer.body
    };
    for path in ["/health", "/ready", "/v1/key", "/v1/workers", "/v1/policy"] {
        good(ann.get(path).await);
    }
    let asking = policy::echo_needs_approval().replace(
        "[domains]",
        "[approvals]\nmax_remember = \"1h\"\n\n[domains]",
    );
    let document = json!({ "document": asking });
    good(ann.post("/v1/policy/validate", &document).await);
    good(root.post("/v1/policy", &document).await);
    let echo = |id: &str| {
        json!({ "run_id": id, "input": { "runtime": { "policy": { "principal_id": "p" }, "steps": [
            { "tool_calls": [{ "tool": "runtime.echo", "input": { "say": id } }] } ] } } })
    };
    good(
        ann.post("/v1/policy/explain", &json!({ "run": echo("asked") }))
            .await,
    );
    let principal = json!({ "principal_id": "p", "principal_type": "agent", "actor_id": "p" });
    good(ann.post("/v1/principals", &principal).await);
    let token =
        json!({ "token_id": "t", "to": "p", "by": "operator", "scopes": { "tools": ["*"] } });
    good(ann.post("/v1/capabilities", &token).await);

    let sam = fleet.key("sam", &[KeyRole::Submitter]).await;
    let sam = Client { to, key: sam };
    let mut asked = Vec::new();
    for id in ["yes", "no"] {
        good(sam.post("/v1/runs", &echo(id)).await);
        asked.push(fleet.parked(&run(id)).await);
    }
    fleet.projected().await;
    let [yes, no] = [&asked[0], &asked[1]].map(|id| format!("/v1/approvals/{id}"));
    good(ann.get(&yes).await);
    let remembering = json!({ "remember_s": 600, "reason": "often" });
    good(ann.post(&format!("{yes}/approve"), &remembering).await);
    good(
        ann.post(&format!("{no}/deny"), &json!({ "reason": "not this" }))
            .await,
    );
    for id in ["yes", "no"] {
        fleet.ended(&run(id)).await;
    }
    good(
        sam.post("/v1/runs/no/retry", &json!({ "new_run_id": "again" }))
            .await,
    );
    fleet.parked(&run("again")).await;
    good(
        sam.post("/v1/runs/again/cancel", &json!({ "reason": "enough" }))
            .await,
    );
    let outside = json!({ "run_id": "out", "input": { "runtime": { "actor": "external" } } });
    good(sam.post("/v1/runs", &outside).await);
    let step = good(
        ann.post("/v1/runs/out/steps", &json!({ "title": "one" }))
            .await,
    );
    let calls = format!("/v1/steps/{}/toolcalls", step["step_id"].as_str().unwrap());
    let call = good(ann.post(&calls, &json!({ "tool": "runtime.noop" })).await);
    let call = format!("/v1/toolcalls/{}", call["tool_call_id"].as_str().unwrap());
    good(ann.get(&call).await);
    good(ann.post("/v1/runs/out/complete", &json!({})).await);
    ann.post("/v1/runs", &json!({ "lane": 7 }))
        .await
        .is_problem(422, Some("submission_invalid"));
    // Before the tables have it, and after that.
    good(ann.get("/v1/runs/out").await);
    fleet.projected().await;
    for part in [
        "",
        "/events",
        "/chain",
        "/steps",
        "/toolcalls",
        "/decisions",
    ] {
        for id in ["yes", "no", "again", "out"] {
            good(ann.get(&format!("/v1/runs/{id}{part}")).await);
        }
    }
    let remembered = fleet.eventually_one(&ann, "/v1/remembered-approvals").await;
    assert_eq!(remembered["state"], "holds");
    let remembered = remembered["remembered_id"].as_str().unwrap();
    let revoke = format!("/v1/remembered-approvals/{remembered}/revoke");
    let revoked = good(ann.post(&revoke, &json!({ "reason": "enough" })).await);
    assert!(revoked["revoked_at"].is_string(), "{revoked}");
    let dead = fleet.eventually_one(&ann, "/v1/dead-letters").await;
    let dead = format!("/v1/dead-letters/{}", dead["sequence"]);
    good(ann.get(&dead).await);
    fleet.projected().await;
    for list in [
        "/v1/runs",
        "/v1/approvals?status=all",
        "/v1/remembered-approvals",
        "/v1/capabilities",
        "/v1/capabilities/t",
        "/v1/principals",
        "/v1/policy/revisions",
        "/v1/policy/revisions/1",
        "/v1/overview",
    ] {
        good(ann.get(list).await);
    }
    let why = json!({ "reason": "over" });
    for change in [
        "/v1/capabilities/t/revoke",
        "/v1/principals/p/quarantine",
        "/v1/principals/p/release",
    ] {
        good(ann.post(change, &why).await);
    }
    let all = ann.get("/v1/remembered-approvals").await.body;
    assert_eq!(all["items"][0]["state"], "revoked", "{all}");
    // A tail is no document; of a message that is refused again nothing succeeds.
    let tails = ["tailRun", "replayDeadLetter"];
    let mut missing = contract.never_succeeded();
    missing.retain(|name| !tails.contains(name));
    assert_eq!(missing, [""; 0], "not tried");
    fleet.audit().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_comes_without_a_good_key_too_often_is_held_off_and_a_good_key_there_is_not()
 {
    let fleet = Fleetlet::start(0).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    let key = fleet.key("vera", &[KeyRole::Viewer]).await;
    let good = Client { to, key };
    let wrong = format!("gw_0123456789ab_{}", "0".repeat(64));
    let guess = async |n: usize| {
        let headers = [
            format!("Authorization: Bearer {wrong}"),
            // Whatever it says of where it comes from.
            format!("X-Forwarded-For: 192.0.2.{}", n % 250),
            format!("Forwarded: for=192.0.2.{}", n % 250),
        ];
        send(to, "GET", "/v1/runs", &headers, "").await
    };
    let mut held_off = 0;
    for round in 0..50 {
        let answers = futures::future::join_all((0..40).map(|n| guess(round * 40 + n))).await;
        for one in answers {
            if one.status == 429 {
                one.is_problem(429, None);
                assert_eq!(one.header("retry-after"), Some("1"));
                held_off += 1;
            } else {
                one.is_problem(401, None);
            }
        }
        assert_eq!(good.get("/v1/runs").await.status, 200);
        if held_off > 20 {
            break;
        }
    }
    assert!(held_off > 20, "{held_off}");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    guess(0).await.is_problem(401, None);
}
