//! Policy, capabilities, principals, dead letters and workers over HTTP: who may see and change them, and that it holds.

use std::net::SocketAddr;

use gatewright_schemas::{EventType, KeyRole, RunStatus};
use gatewright_tests::{Fleetlet, eventually, http::Client, policy};
use serde_json::{Value, json};

const SOON: std::time::Duration = std::time::Duration::from_secs(30);

async fn client(fleet: &Fleetlet, to: SocketAddr, workspace: &str, role: KeyRole) -> Client {
    let name = format!("{role}-of-{workspace}").replace('*', "all");
    let key = fleet.key_of_workspace(workspace, &name, &[role]).await;
    Client { to, key }
}

/// A run of one noop on the authority that `context` states.
fn noop(id: &str, context: &Value) -> Value {
    json!({ "run_id": id, "input": { "runtime": { "policy": context } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_principals_are_made_and_taken_away_over_http_by_an_admin_of_the_workspace() {
    let fleet = Fleetlet::start(1).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    let admin = client(&fleet, to, "acme", KeyRole::Admin).await;
    let principals = "/v1/principals";
    for id in ["agent-1", "agent-2"] {
        let new = json!({ "principal_id": id, "principal_type": "agent", "actor_id": id });
        assert_eq!(admin.post(principals, &new).await.status, 201);
    }
    let any = json!(["*"]);
    let scopes = json!({ "tools": any, "rooms": any, "action_types": any, "egress_domains": any });
    let token = json!({ "token_id": "cap-1", "to": "agent-1", "by": "operator", "scopes": scopes });
    let granted = admin.post("/v1/capabilities", &token).await;
    assert_eq!(
        (granted.status, &granted.body["token_id"]),
        (201, &json!("cap-1")),
        "{granted:?}"
    );
    assert_eq!(granted.header("location"), Some("/v1/capabilities/cap-1"));
    admin
        .post("/v1/capabilities", &token)
        .await
        .is_problem(409, None);
    let mut derived = token.clone();
    derived.as_object_mut().unwrap().remove("token_id");
    let derived = admin.post("/v1/capabilities", &derived).await;
    assert!(derived.body["token_id"].is_string(), "{derived:?}");

    let context = json!({ "principal_id": "agent-1", "capability_token_id": "cap-1" });
    let (_, status) = fleet.ended_run(&noop("may", &context)).await;
    assert_eq!(status, RunStatus::Succeeded);
    fleet.projected().await;
    let tokens = admin.all("/v1/capabilities").await;
    assert_eq!(tokens.len(), 2);
    let shown = admin.get("/v1/capabilities/cap-1").await;
    assert_eq!(shown.body["issued_to_principal_id"], "agent-1");
    let found = admin.all(principals).await;
    let ids: Vec<&Value> = found.iter().map(|one| &one["principal_id"]).collect();
    assert_eq!(ids, ["agent-1", "agent-2"]);

    let why = json!({ "reason": "leaked" });
    let revoked = admin.post("/v1/capabilities/cap-1/revoke", &why).await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    let quarantined = admin.post("/v1/principals/agent-2/quarantine", &why).await;
    assert_eq!(quarantined.status, 200, "{quarantined:?}");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let (id, status) = fleet.ended_run(&noop("may-not", &context)).await;
    assert_eq!(status, RunStatus::Failed);
    let error = fleet.the_event(&id, EventType::RunFailed).await.data["error"].clone();
    assert_eq!(error["reason_code"], "capability_token_revoked");
    fleet.projected().await;
    let shown = admin.get("/v1/capabilities/cap-1").await;
    assert_eq!(shown.body["revoked_by"], "admin-of-acme", "the key's name");
    assert_eq!(
        admin.get(principals).await.body["items"][1]["quarantine_reason"],
        "leaked"
    );
    let released = admin
        .post("/v1/principals/agent-2/release", &json!({}))
        .await;
    assert_eq!(released.status, 200, "{released:?}");
    for missing in [
        "/v1/capabilities/none/revoke",
        "/v1/principals/none/quarantine",
        "/v1/principals/none/release",
    ] {
        admin.post(missing, &why).await.is_problem(404, None);
    }
    admin
        .get("/v1/capabilities/none")
        .await
        .is_problem(404, None);
    let nameless = json!({ "to": "agent-1", "by": "operator", "scopes": { "tool": [] } });
    admin
        .post("/v1/capabilities", &nameless)
        .await
        .is_problem(422, None);
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_role_and_no_other_workspace_changes_or_sees_an_authority() {
    let fleet = Fleetlet::start(0).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    fleet.register("agent-1").await;
    fleet.projected().await;
    let body = json!({ "principal_id": "p", "principal_type": "agent", "actor_id": "p",
        "reason": "x", "to": "p", "by": "p", "scopes": {}, "document": policy::OPEN });
    let changes = [
        "/v1/principals",
        "/v1/principals/agent-1/quarantine",
        "/v1/principals/agent-1/release",
        "/v1/capabilities",
        "/v1/capabilities/cap-1/revoke",
        "/v1/policy",
        "/v1/dead-letters/1/replay",
    ];
    for role in [
        KeyRole::Viewer,
        KeyRole::Submitter,
        KeyRole::Actor,
        KeyRole::Approver,
    ] {
        let other = client(&fleet, to, "acme", role).await;
        for path in changes {
            other.post(path, &body).await.is_problem(403, None);
        }
    }
    let elsewhere = client(&fleet, to, "elsewhere", KeyRole::Admin).await;
    for path in changes.iter().filter(|path| !path.contains("dead-letters")) {
        let named = format!("{path}?workspace=acme");
        elsewhere.post(&named, &body).await.is_problem(403, None);
    }
    elsewhere
        .post(
            "/v1/principals/agent-1/quarantine",
            &json!({ "reason": "x" }),
        )
        .await
        .is_problem(404, None);
    for list in ["/v1/principals", "/v1/capabilities"] {
        assert_eq!(elsewhere.get(list).await.body["items"], json!([]));
        elsewhere
            .get(&format!("{list}?workspace=acme"))
            .await
            .is_problem(403, None);
    }
    // One policy for all: the admin of one workspace may not change it.
    elsewhere
        .post("/v1/policy", &json!({ "document": policy::OPEN }))
        .await
        .is_problem(403, None);
    let events = fleet
        .fleet
        .history(&fleet.acme, &gatewright_schemas::RunId::authority())
        .await
        .unwrap();
    assert_eq!(events.len(), 1, "only what the operator did: {events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_checked_applied_and_shown_over_http() {
    let fleet = Fleetlet::start(1).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    let root = client(&fleet, to, "*", KeyRole::Admin).await;
    let vera = client(&fleet, to, "acme", KeyRole::Viewer).await;
    let document = |text: &str| json!({ "document": text });
    let good = vera
        .post("/v1/policy/validate", &document(&policy::shadow()))
        .await;
    assert_eq!(
        (&good.body["valid"], &good.body["mode"]),
        (&json!(true), &json!("shadow")),
        "{good:?}"
    );
    let bad = "mode = \"enforce\"\ndefualt = \"allow\"\n";
    let checked = vera.post("/v1/policy/validate", &document(bad)).await;
    assert_eq!(checked.body["valid"], false, "{checked:?}");
    assert_eq!(checked.body["faults"][0]["position"]["line"], 2);
    let refused = root.post("/v1/policy", &document(bad)).await;
    refused.is_problem(422, None);
    assert!(
        refused.body["violations"][0]["message"]
            .as_str()
            .unwrap()
            .starts_with("line 2"),
        "{refused:?}"
    );

    let closed = policy::OPEN.replace("\"runtime.noop\", ", "");
    let applied = root.post("/v1/policy", &document(&closed)).await;
    assert_eq!(
        (applied.status, &applied.body["revision"]),
        (200, &json!(2)),
        "{applied:?}"
    );
    let active = vera.get("/v1/policy").await;
    assert_eq!(active.body["document"], json!(closed), "{active:?}");
    assert_eq!(active.body["by"], "admin-of-all");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let (_, status) = fleet.ended_run(&noop("closed", &Value::Null)).await;
    assert_eq!(status, RunStatus::Failed, "the new policy is obeyed");
    fleet.projected().await;
    let revisions = vera.all("/v1/policy/revisions").await;
    let numbers: Vec<&Value> = revisions.iter().map(|one| &one["revision"]).collect();
    assert_eq!(numbers, [2, 1]);
    assert_eq!(
        vera.get("/v1/policy/revisions/1").await.body["document"],
        policy::OPEN
    );
    for missing in ["3", "0", "x", "9223372036854775807"] {
        vera.get(&format!("/v1/policy/revisions/{missing}"))
            .await
            .is_problem(404, None);
    }
    let run = noop("asked", &Value::Null);
    let explained = vera
        .post("/v1/policy/explain", &json!({ "run": run }))
        .await;
    let gate = &explained.body["calls"][0]["tool_gate"];
    assert_eq!(
        gate["decision"]["reason_code"], "default_deny",
        "{explained:?}"
    );
    let opened = json!({ "run": run, "document": policy::OPEN });
    let opened = vera.post("/v1/policy/explain", &opened).await;
    assert_eq!(opened.body["blocked"], false, "{opened:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_seen_and_sent_again_by_their_own_workspace_and_workers_by_all() {
    let fleet = Fleetlet::start(1).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    let admin = client(&fleet, to, "acme", KeyRole::Admin).await;
    let elsewhere = client(&fleet, to, "elsewhere", KeyRole::Admin).await;
    for n in 0..2 {
        admin
            .post("/v1/runs", &json!({ "lane": n }))
            .await
            .is_problem(422, Some("submission_invalid"));
    }
    eventually("both are in the tables", SOON, async || {
        let page = admin.get("/v1/dead-letters").await.body;
        let count = page["items"].as_array().map_or(0, Vec::len);
        (count == 2).then_some(()).ok_or(page.to_string())
    })
    .await;
    let letters = admin.all("/v1/dead-letters").await;
    assert!(
        letters[0]["sequence"].as_u64() > letters[1]["sequence"].as_u64(),
        "the latest first"
    );
    let place = format!("/v1/dead-letters/{}", letters[0]["sequence"]);
    let shown = admin.get(&place).await;
    assert_eq!(shown.body["reason_code"], "submission_invalid", "{shown:?}");
    assert_eq!(shown.body["violations"][0]["pointer"], "/lane");
    let again = admin.post(&format!("{place}/replay"), &json!({})).await;
    again.is_problem(422, Some("submission_invalid"));
    assert_eq!(
        elsewhere.get("/v1/dead-letters").await.body["items"],
        json!([])
    );
    elsewhere.get(&place).await.is_problem(404, None);
    elsewhere
        .post(&format!("{place}/replay"), &json!({}))
        .await
        .is_problem(404, None);
    for missing in [
        "0",
        "999",
        "x",
        "-1",
        "9223372036854775807",
        "18446744073709551616",
    ] {
        admin
            .get(&format!("/v1/dead-letters/{missing}"))
            .await
            .is_problem(404, None);
    }
    eventually("the worker is in the tables", SOON, async || {
        let long_ago = gatewright_schemas::Timestamp::from_micros(0);
        let found = gatewright_store::worker::list(&fleet.store, long_ago, 9)
            .await
            .unwrap();
        (found.len() == 1).then_some(()).ok_or(format!("{found:?}"))
    })
    .await;
    let workers = elsewhere.get("/v1/workers").await;
    let worker = &workers.body["items"][0];
    assert_eq!(
        (&worker["worker_id"], &worker["state"]),
        (&json!("worker-1"), &json!("alive")),
        "{workers:?}"
    );
}
