//! The HTTP API over a real socket: who may do what, and that it does what a NATS client would do.

use std::{net::SocketAddr, time::Duration};

use gatewright_schemas::KeyRole;
use gatewright_tests::{
    Fleetlet, eventually,
    http::{Answer, send},
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

async fn get(to: SocketAddr, path: &str, key: &str) -> Answer {
    send(to, "GET", path, &[key.to_owned()], "").await
}

async fn post(to: SocketAddr, path: &str, key: &str, body: &Value) -> Answer {
    send(to, "POST", path, &[key.to_owned()], &body.to_string()).await
}

#[track_caller]
fn assert_problem(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    let kind = "content-type: application/problem+json";
    assert!(answer.head.contains(kind), "{answer:?}");
    assert_eq!(answer.body["status"], status, "{answer:?}");
    assert!(answer.body["detail"].is_string(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_says_whether_it_is_alive_and_works() {
    let mut fleet = Fleetlet::start(0).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    let alive = send(to, "GET", "/health", &[], "").await;
    assert_eq!(alive.status, 200);
    for line in ["x-content-type-options: nosniff", "cache-control: no-store"] {
        assert!(alive.head.contains(line), "{alive:?}");
    }
    eventually("it is ready", SOON, async || {
        let ready = send(to, "GET", "/ready", &[], "").await;
        (ready.status == 200)
            .then_some(())
            .ok_or(ready.body.to_string())
    })
    .await;
    fleet.nats.kill().await.unwrap();
    eventually("it is not ready without NATS", SOON, async || {
        let ready = send(to, "GET", "/ready", &[], "").await;
        (ready.status == 503)
            .then_some(())
            .ok_or(ready.body.to_string())
    })
    .await;
    assert_eq!(send(to, "GET", "/health", &[], "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_foreign_pages_and_without_a_key_are_refused() {
    let fleet = Fleetlet::start(0).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    let key = fleet.key("vera", &[KeyRole::Viewer]).await;
    let with = |line: &str| [key.clone(), line.to_owned()];
    let runs = "/v1/runs";
    assert_eq!(get(to, runs, &key).await.status, 200);
    let named = send(to, "GET", runs, &with("Host: gate.example"), "").await;
    assert_eq!(named.status, 200, "{named:?}");
    let rebound = send(to, "GET", runs, &with("Host: evil.example"), "").await;
    assert_problem(&rebound, 421);
    let foreign = send(to, "GET", runs, &with("Origin: http://evil.example"), "").await;
    assert_problem(&foreign, 403);
    assert_problem(&get(to, "/nowhere", &key).await, 404);
    assert_problem(&send(to, "DELETE", runs, &with("X: y"), "").await, 405);

    let wrong = format!("{}0", key.strip_suffix(|_: char| true).unwrap());
    let other = format!("{}1", key.strip_suffix(|_: char| true).unwrap());
    let wrong = if wrong == key { other } else { wrong };
    for bad in [wrong.as_str(), "Authorization: Bearer gw_x_y", "X: none"] {
        let refused = get(to, runs, bad).await;
        assert_problem(&refused, 401);
        assert!(refused.head.contains("www-authenticate: bearer"));
    }
    let id = key.split('_').nth(1).unwrap();
    fleet.fleet.revoke_key(id).await.unwrap().unwrap();
    assert_problem(&get(to, runs, &key).await, 401);
    let kept = fleet.fleet.keys().await.unwrap();
    assert!(kept[0].revoked_at.is_some());
    let secret = key.rsplit('_').next().unwrap();
    assert!(!serde_json::to_string(&kept).unwrap().contains(secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_good_for_its_roles_and_its_workspace_only() {
    let fleet = Fleetlet::start(0).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    let submitter = fleet.key("sam", &[KeyRole::Submitter]).await;
    let made = post(to, "/v1/runs", &submitter, &json!({ "run_id": "mine" })).await;
    assert_eq!(made.status, 201, "{made:?}");
    for role in [KeyRole::Viewer, KeyRole::Actor, KeyRole::Approver] {
        let key = fleet.key("other", &[role]).await;
        for path in ["/v1/runs", "/v1/runs/mine/cancel", "/v1/runs/mine/retry"] {
            assert_problem(&post(to, path, &key, &json!({})).await, 403);
        }
        assert_eq!(get(to, "/v1/runs/mine", &key).await.status, 200);
    }
    let elsewhere = get(to, "/v1/runs/mine?workspace=other", &submitter).await;
    assert_problem(&elsewhere, 403);
    let authority = get(to, "/v1/runs/_authority/events", &submitter).await;
    assert_problem(&authority, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_submitted_watched_cancelled_and_retried_over_http() {
    let fleet = Fleetlet::start(1).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    let key = fleet.key("sam", &[KeyRole::Submitter]).await;
    let echo = json!({ "run_id": "echo", "input": { "runtime": { "steps": [
        { "tool_calls": [{ "tool": "runtime.echo", "input": { "say": 1 } }] } ] } } });
    let made = post(to, "/v1/runs", &key, &echo).await;
    assert_eq!((made.status, &made.body["run_id"]), (201, &json!("echo")));
    assert_eq!(post(to, "/v1/runs", &key, &echo).await.status, 200);
    let other = json!({ "run_id": "echo", "title": "other" });
    let conflict = post(to, "/v1/runs", &key, &other).await;
    assert_problem(&conflict, 409);
    assert_eq!(conflict.body["reason_code"], "run_id_conflict");
    let bad = post(to, "/v1/runs", &key, &json!({ "lane": "fast", "title": 7 })).await;
    assert_problem(&bad, 422);
    assert_eq!(bad.body["reason_code"], "submission_invalid");
    assert!(
        bad.body["violations"].as_array().unwrap().len() >= 2,
        "{bad:?}"
    );
    assert_problem(
        &send(to, "POST", "/v1/runs", std::slice::from_ref(&key), "{").await,
        422,
    );
    let large = "x".repeat(256 * 1024 + 1);
    let large = send(to, "POST", "/v1/runs", std::slice::from_ref(&key), &large).await;
    assert_problem(&large, 413);

    fleet.ended(&"echo".parse().unwrap()).await;
    let shown = get(to, "/v1/runs/echo", &key).await;
    assert_eq!(shown.body["status"], "succeeded", "{shown:?}");
    let mut types = Vec::new();
    let mut page = get(to, "/v1/runs/echo/events?limit=1", &key).await.body;
    loop {
        for item in page["items"].as_array().unwrap() {
            types.push(item["event"]["event_type"].as_str().unwrap().to_owned());
        }
        let Some(next) = page["next"].as_str() else {
            break;
        };
        let path = format!("/v1/runs/echo/events?limit=1&after={next}");
        page = get(to, &path, &key).await.body;
    }
    assert_eq!(types, fleet.types(&"echo".parse().unwrap()).await);
    assert_problem(&get(to, "/v1/runs/missing", &key).await, 404);

    let later = json!({ "run_id": "later", "not_before": "2999-01-01T00:00:00Z" });
    assert_eq!(post(to, "/v1/runs", &key, &later).await.status, 201);
    let why = json!({ "reason": "enough" });
    let ended = post(to, "/v1/runs/later/cancel", &key, &why).await;
    assert_eq!(
        (ended.status, &ended.body["status"]),
        (200, &json!("cancelled"))
    );
    let cancelled = fleet.events(&"later".parse().unwrap()).await;
    let by = serde_json::to_string(&cancelled.last().unwrap().data).unwrap();
    assert!(by.contains("\"sam\"") && by.contains("enough"), "{by}");
    let again = json!({ "new_run_id": "again" });
    let retried = post(to, "/v1/runs/later/retry", &key, &again).await;
    assert_eq!(
        (retried.status, &retried.body["run_id"]),
        (201, &json!("again"))
    );
    fleet.ended(&"again".parse().unwrap()).await;
    assert_problem(
        &post(to, "/v1/runs/again/retry", &key, &json!({})).await,
        409,
    );

    fleet.projected().await;
    let first = get(to, "/v1/runs?limit=1", &key).await.body;
    assert_eq!(first["items"][0]["run_id"], "again", "{first}");
    let path = format!(
        "/v1/runs?status=cancelled,failed&after={}",
        first["next"].as_str().unwrap()
    );
    let rest = get(to, &path, &key).await.body;
    assert_eq!(rest["items"].as_array().unwrap().len(), 1, "{rest}");
    assert_eq!(rest["items"][0]["run_id"], "later");
    let all = get(to, "/v1/runs?status=", &key).await.body;
    assert_eq!(all, get(to, "/v1/runs", &key).await.body, "no state is any");
    for bad in [
        "limit=0",
        "limit=501",
        "status=odd",
        "status=failed,",
        "colour=red",
    ] {
        let refused = get(to, &format!("/v1/runs?{bad}"), &key).await;
        assert_problem(&refused, 400);
    }
    fleet.audit().await;
}
