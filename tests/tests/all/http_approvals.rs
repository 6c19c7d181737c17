//! Approvals over HTTP: whoever decides is the key's name, and sees its own workspace only.

use std::net::SocketAddr;

use gatewright_schemas::{EventType, KeyRole, RunStatus};
use gatewright_tests::{Fleetlet, http::Client, policy, run};
use serde_json::{Value, json};

async fn client(fleet: &Fleetlet, to: SocketAddr, name: &str, role: KeyRole) -> Client {
    let key = fleet.key(name, &[role]).await;
    Client { to, key }
}

/// A run of one echo, which waits for an approval.
fn echo(id: &str, say: &Value) -> Value {
    json!({ "run_id": id, "input": { "runtime": { "steps": [
        { "tool_calls": [{ "tool": "runtime.echo", "input": { "say": say } }] } ] } } })
}

async fn parked(fleet: &Fleetlet, requester: &Client, id: &str, say: &Value) -> String {
    let made = requester.post("/v1/runs", &echo(id, say)).await;
    assert_eq!(made.status, 201, "{made:?}");
    fleet.parked(&run(id)).await.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_approved_by_one_key_and_another_denied_and_the_names_are_the_keys() {
    let fleet = Fleetlet::start(1).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    fleet.apply_policy(&policy::echo_needs_approval()).await;
    let sam = client(&fleet, to, "sam", KeyRole::Submitter).await;
    let ann = client(&fleet, to, "ann", KeyRole::Approver).await;
    let odd = json!("<script>\u{202e}");
    let (yes, no) = (
        parked(&fleet, &sam, "yes", &odd).await,
        parked(&fleet, &sam, "no", &json!(2)).await,
    );
    fleet.projected().await;
    let waiting = ann.get("/v1/approvals").await;
    let ids: Vec<&str> = waiting.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["approval_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [&yes, &no], "the most urgent first");
    let shown = ann.get(&format!("/v1/approvals/{yes}")).await;
    assert_eq!(shown.body["input"], json!({ "say": odd }), "{shown:?}");
    assert_eq!(shown.body["status"], "waiting");
    assert_eq!(shown.body["asked"]["asked_by"]["actor_id"], "sam");

    // A name in the body is refused, not obeyed and not ignored.
    let named = json!({ "by": "boss" });
    let approve = format!("/v1/approvals/{yes}/approve");
    ann.post(&approve, &named).await.is_problem(422, None);
    for role in [KeyRole::Viewer, KeyRole::Submitter, KeyRole::Actor] {
        let other = client(&fleet, to, "vic", role).await;
        other.post(&approve, &json!({})).await.is_problem(403, None);
    }
    // Whoever asked does not approve, whatever the key may do.
    let same = client(&fleet, to, "sam", KeyRole::Approver).await;
    let own = same.post(&approve, &json!({})).await;
    own.is_problem(403, Some("approver_not_allowed"));

    let done = ann.post(&approve, &json!({ "reason": "fine" })).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(done.body["by"], "ann");
    assert_eq!(fleet.ended(&run("yes")).await, RunStatus::Succeeded);
    let told = fleet
        .the_event(&run("yes"), EventType::ApprovalDecided)
        .await
        .data;
    assert_eq!(
        (&told["by"], &told["reason"]),
        (&json!("ann"), &json!("fine"))
    );
    let deny = format!("/v1/approvals/{no}/deny");
    let denied = ann.post(&deny, &json!({ "reason": "not now" })).await;
    assert_eq!(
        (denied.status, &denied.body["approved"]),
        (200, &json!(false))
    );
    assert_eq!(fleet.ended(&run("no")).await, RunStatus::Failed);
    // Said twice it is done; the other way round it is too late.
    assert_eq!(ann.post(&deny, &json!({})).await.status, 200);
    let late = ann
        .post(&format!("/v1/approvals/{no}/approve"), &json!({}))
        .await;
    late.is_problem(409, Some("approval_denied"));
    let never = ann
        .post("/v1/approvals/acme.yes.1.1.a9/approve", &json!({}))
        .await;
    never.is_problem(404, Some("approval_not_found"));
    for missing in ["acme.missing.1.1.a1", "x", "acme.yes"] {
        ann.get(&format!("/v1/approvals/{missing}"))
            .await
            .is_problem(404, None);
    }
    for missing in ["acme.missing.1.1.a1", "x"] {
        let refused = ann
            .post(&format!("/v1/approvals/{missing}/deny"), &json!({}))
            .await;
        refused.is_problem(404, None);
    }
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn approvals_come_in_pages_and_those_of_another_workspace_not_at_all() {
    let fleet = Fleetlet::start(1).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    fleet.apply_policy(&policy::echo_needs_approval()).await;
    let sam = client(&fleet, to, "sam", KeyRole::Submitter).await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(parked(&fleet, &sam, &format!("r{n}"), &json!(n)).await);
    }
    fleet.projected().await;
    for (status, expected) in [
        ("waiting", ids.clone()),
        ("all", ids.iter().rev().cloned().collect()),
    ] {
        let (mut found, mut after) = (Vec::new(), String::new());
        for _ in 0..4 {
            let path = format!("/v1/approvals?status={status}&limit=1{after}");
            let page = sam.get(&path).await.body;
            for item in page["items"].as_array().unwrap() {
                found.push(item["approval_id"].as_str().unwrap().to_owned());
            }
            let Some(next) = page["next"].as_str() else {
                break;
            };
            after = format!("&after={next}");
        }
        assert_eq!(found, expected, "{status}");
    }
    for bad in ["after=x", "limit=0", "status=odd", "colour=red"] {
        sam.get(&format!("/v1/approvals?{bad}"))
            .await
            .is_problem(400, None);
    }
    let elsewhere = fleet
        .key_of_workspace("elsewhere", "eve", &[KeyRole::Admin])
        .await;
    let elsewhere = Client { to, key: elsewhere };
    for status in ["waiting", "all"] {
        let list = elsewhere
            .get(&format!("/v1/approvals?status={status}"))
            .await;
        assert_eq!(list.body["items"], json!([]), "{list:?}");
    }
    elsewhere
        .get("/v1/approvals?workspace=acme")
        .await
        .is_problem(403, None);
    // Whether they are there or not.
    for id in [ids[0].as_str(), "acme.missing.1.1.a1"] {
        elsewhere
            .get(&format!("/v1/approvals/{id}"))
            .await
            .is_problem(403, None);
        for verb in ["approve", "deny"] {
            let path = format!("/v1/approvals/{id}/{verb}");
            elsewhere
                .post(&path, &json!({}))
                .await
                .is_problem(403, None);
        }
    }
    let all = fleet.key_of_workspace("*", "root", &[KeyRole::Admin]).await;
    let all = Client { to, key: all };
    let list = all.get("/v1/approvals").await;
    assert_eq!(list.body["items"].as_array().unwrap().len(), 3);
    let approved = all
        .post(&format!("/v1/approvals/{}/approve", ids[0]), &json!({}))
        .await;
    assert_eq!(approved.status, 200, "{approved:?}");
    fleet.ended(&run("r0")).await;
}
