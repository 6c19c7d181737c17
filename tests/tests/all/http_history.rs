//! A run over HTTP: its parts page by page, and its events as they come.

use std::time::Duration;

use gatewright_schemas::{KeyRole, RunStatus};
use gatewright_tests::{Fleetlet, http::Client, policy, run};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

async fn viewer(fleet: &Fleetlet, to: std::net::SocketAddr) -> Client {
    let key = fleet.key("vera", &[KeyRole::Viewer]).await;
    Client { to, key }
}

/// Two steps of two calls each.
fn echoes(id: &str) -> Value {
    let echo = |say: u32| json!({ "tool": "runtime.echo", "input": { "say": say } });
    json!({ "run_id": id, "input": { "runtime": { "steps": [
        { "title": "one", "tool_calls": [echo(1), echo(2)] },
        { "title": "two", "tool_calls": [echo(3), echo(4)] },
    ] } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runs_steps_calls_decisions_and_events_come_page_by_page() {
    let fleet = Fleetlet::start(1).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    let vera = viewer(&fleet, to).await;
    fleet.ended_run(&echoes("parts")).await;
    fleet.projected().await;
    let field = |items: Vec<Value>, name: &str| -> Vec<Value> {
        items.iter().map(|item| item[name].clone()).collect()
    };
    let steps = vera.all("/v1/runs/parts/steps").await;
    assert_eq!(field(steps, "title"), [json!("one"), json!("two")]);
    let calls = vera.all("/v1/runs/parts/toolcalls").await;
    let said: Vec<&Value> = calls.iter().map(|call| &call["output"]["say"]).collect();
    assert_eq!(said, [1, 2, 3, 4]);
    let decisions = vera.all("/v1/runs/parts/decisions").await;
    assert_eq!(field(decisions, "decision"), vec![json!("allow"); 4]);
    let events = vera.all("/v1/runs/parts/events").await;
    let types: Vec<&str> = events
        .iter()
        .map(|e| e["event"]["event_type"].as_str().unwrap())
        .collect();
    assert_eq!(types, fleet.types(&run("parts")).await);
    for part in ["steps", "toolcalls", "decisions", "events", "tail"] {
        let of = |run: &str, query: &str| format!("/v1/runs/{run}/{part}{query}");
        vera.get(&of("missing", "")).await.is_problem(404, None);
        vera.get(&of("parts", "?after=x"))
            .await
            .is_problem(400, None);
        vera.get(&of("parts", "?odd=1")).await.is_problem(400, None);
        vera.get(&of("parts", "?workspace=other"))
            .await
            .is_problem(403, None);
    }
    let elsewhere = fleet
        .key_of_workspace("elsewhere", "eve", &[KeyRole::Admin])
        .await;
    let elsewhere = Client { to, key: elsewhere };
    for part in ["", "/steps", "/toolcalls", "/decisions", "/events", "/tail"] {
        elsewhere
            .get(&format!("/v1/runs/parts{part}"))
            .await
            .is_problem(404, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_that_broke_off_goes_on_behind_the_last_event_that_was_seen() {
    let fleet = Fleetlet::start(1).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    fleet.apply_policy(&policy::echo_needs_approval()).await;
    let vera = viewer(&fleet, to).await;
    let one = json!({ "run_id": "live", "input": { "runtime": { "steps": [
        { "tool_calls": [{ "tool": "runtime.echo", "input": { "say": "live" } }] } ] } } });
    let id = fleet.accepted(&one).await;
    let mut tail = vera.tail("/v1/runs/live/tail", &[]).await;
    let approval = fleet.parked(&id).await;
    let mut seen = Vec::new();
    // In the middle of a commit: the run's start and the approval are one.
    while seen.len() < 3 {
        let sent = tokio::time::timeout(SOON, tail.next())
            .await
            .unwrap()
            .unwrap();
        seen.push(sent);
    }
    drop(tail);
    let last = format!("Last-Event-ID: {}", seen[2].id);
    let again = vera.tail("/v1/runs/live/tail", &[&last]).await;
    let rest = tokio::spawn(again.rest());
    let approve = gatewright_schemas::Command::DecideApproval {
        approval_id: approval,
        approve: true,
        reason: None,
        remember_s: None,
    };
    fleet.command_as("ann", &id, approve).await;
    assert_eq!(fleet.ended(&id).await, RunStatus::Succeeded);
    // It ends with the run.
    seen.extend(tokio::time::timeout(SOON, rest).await.unwrap().unwrap());
    let types: Vec<&str> = seen.iter().map(|sent| sent.event.as_str()).collect();
    assert_eq!(
        types,
        fleet.types(&id).await,
        "none is missing, none comes twice"
    );
    let seqs: Vec<u64> = seen
        .iter()
        .map(|sent| sent.data["event"]["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());

    let whole = vera.tail("/v1/runs/live/tail", &[]).await.rest().await;
    assert_eq!(whole, seen, "the same from the beginning");
    let end = seen.last().unwrap().id.clone();
    let nothing = vera.get(&format!("/v1/runs/live/tail?after={end}")).await;
    assert_eq!(nothing.status, 204, "browsers need not come again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_that_goes_lets_no_tail_hold_it() {
    let fleet = Fleetlet::start(0).await;
    let (to, serving) = fleet.start_http("http-1").await;
    let vera = viewer(&fleet, to).await;
    fleet.accepted(&json!({ "run_id": "quiet" })).await;
    let mut tail = vera.tail("/v1/runs/quiet/tail", &[]).await;
    assert_eq!(tail.next().await.unwrap().event, "run.created");
    tokio::time::timeout(SOON, serving.stop())
        .await
        .expect("it stops");
    assert_eq!(tokio::time::timeout(SOON, tail.next()).await.unwrap(), None);
}
