//! Workers that are taken for dead, and come back.

use std::time::{Duration, Instant};

use gatewright_bus::presence::Presence;
use gatewright_schemas::{EventType, Lane, RunStatus, Wake, Zone};
use gatewright_tests::{Fleetlet, eventually, outside::Outsider, run, upstream::Upstream};
use serde_json::json;

use crate::crashes::{fleet_without_workers, worker_behind_proxy};

/// Longer than a lease of half a minute.
const LEASE: Duration = Duration::from_secs(50);

/// Waits until the worker answers pings and does not hold the run any more.
async fn has_let_go(fleet: &Fleetlet, worker: &str, id: &str) {
    let worker = worker.parse().unwrap();
    eventually(
        "the zombie is back and has let go",
        LEASE,
        async || match fleet.fleet.ping(&worker, &format!("acme/{id}")).await {
            Presence::Alive { holds: false } => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await;
}

/// Waits until a call was made by the zombie and again by its successor.
async fn hears_twice(upstream: &Upstream, path: &str) {
    eventually("the call is made again", LEASE, async || {
        let seen = upstream.seen_at(path);
        if seen.len() == 2 {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await;
}

/// The lease under which the run was taken over.
async fn new_lease(fleet: &Fleetlet, id: &str) -> u64 {
    let resumed = fleet.the_event(&run(id), EventType::RunResumed).await;
    resumed.data["lease"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_whose_run_was_taken_over_records_nothing_and_acknowledges_nothing() {
    let (fleet, upstream) = tokio::join!(fleet_without_workers(), Upstream::start());
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let (zombie, proxy) = worker_behind_proxy(&fleet, "zombie", &[]).await;
    // It may be repeated: its server knows it by its key.
    let write =
        json!({ "method": "POST", "idempotent": true, "target_url": upstream.url("/held/write") });
    let submission = json!({ "run_id": "r", "input": { "runtime": { "steps": [{ "tool_calls": [
        { "tool": "egress.request", "input": write },
        { "tool": "runtime.echo", "input": { "delay_ms": 4000 } },
    ] }] } } });
    let id = fleet.accepted(&submission).await;
    upstream.hears("/held/write").await;

    let gone = Instant::now();
    zombie.pause();
    proxy.cut();
    let successor = fleet.start_worker("successor").await;
    fleet.sees(&id, EventType::RunResumed).await;
    println!(
        "taken over {:?} after the connection was lost",
        gone.elapsed()
    );
    let lease = new_lease(&fleet, "r").await;
    hears_twice(&upstream, "/held/write").await;

    // It wakes in the middle of its call, gets the answer, as its successor does, and is fenced.
    proxy.mend();
    zombie.wake();
    upstream.let_go("write");
    has_let_go(&fleet, "zombie", "r").await;
    let queue = outsider.jetstream.get_stream("QUEUE").await.unwrap();
    assert!(
        !fleet.types(&id).await.contains(&"run.completed"),
        "the successor is not done yet"
    );
    assert!(
        queue.direct_get(lease).await.is_ok(),
        "the successor's wake-up is still there"
    );

    assert_eq!(
        fleet.ended(&id).await,
        RunStatus::Succeeded,
        "{}",
        fleet.told(&id).await
    );
    let resumed = fleet.the_event(&id, EventType::RunResumed).await.seq;
    let history = fleet.history(&id).await;
    let after = history
        .iter()
        .filter(|commit| commit.commit.events[0].seq >= resumed);
    let writers: Vec<&str> = after.map(|commit| commit.writer.as_str()).collect();
    assert!(
        writers.iter().all(|writer| *writer == "successor"),
        "{writers:?}"
    );
    let requests = upstream.seen_at("/held/write");
    assert!(
        requests
            .iter()
            .all(|request| request.idempotency_key() == Some("acme.r.1.1")),
        "{requests:?}"
    );

    // A zombie no more: it goes on as a worker.
    successor.stop().await;
    let (id, status) = fleet.ended_run(&json!({ "run_id": "next" })).await;
    assert_eq!(status, RunStatus::Succeeded);
    assert_eq!(
        fleet.history(&id).await.last().unwrap().writer.as_str(),
        "zombie"
    );
    fleet.audit().await;
}

/// The server hands the very same message out again: both hold the same lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_whose_lease_lapsed_does_not_take_the_run_from_its_successor() {
    let (fleet, upstream) = tokio::join!(fleet_without_workers(), Upstream::start());
    let (zombie, _proxy) = worker_behind_proxy(&fleet, "zombie", &[]).await;
    let write = |key: &str, idempotent: bool| json!({ "method": "POST", "idempotent": idempotent, "target_url": upstream.url(&format!("/held/{key}")) });
    let submission = json!({ "run_id": "r", "input": { "runtime": { "steps": [{ "tool_calls": [
        { "tool": "egress.request", "input": write("one", true) },
        { "tool": "egress.request", "input": write("two", false) },
    ] }] } } });
    let id = fleet.accepted(&submission).await;
    upstream.hears("/held/one").await;
    zombie.pause();
    let _successor = fleet.start_worker("successor").await;
    hears_twice(&upstream, "/held/one").await;
    upstream.let_go("one");
    upstream.hears("/held/two").await;

    // The answer to its own call awaits it, and its successor is in the middle of the next.
    zombie.wake();
    has_let_go(&fleet, "zombie", "r").await;
    // Long enough for a message that was given back to be handed out again and worked on.
    tokio::time::sleep(Duration::from_secs(1)).await;
    upstream.let_go("two");
    assert_eq!(
        fleet.ended(&id).await,
        RunStatus::Succeeded,
        "{}",
        fleet.told(&id).await
    );
    fleet.the_event(&id, EventType::RunResumed).await;
    assert_eq!(upstream.seen_at("/held/two").len(), 1);
    fleet.audit().await;
}

/// A worker that hangs, of another zone, makes nobody wait for another worker's runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_worker_does_not_delay_the_takeover_of_a_dead_ones_runs() {
    let fleet = fleet_without_workers().await;
    let (hanging, _proxy) =
        worker_behind_proxy(&fleet, "hanging", &[("--zone", "supervised")]).await;
    hanging.pause();
    let (dead, _other) = worker_behind_proxy(&fleet, "dead", &[]).await;
    let echo = json!({ "tool": "runtime.echo", "input": { "delay_ms": 60000 } });
    let id = fleet
        .accepted(&json!({ "run_id": "r", "input": { "runtime": { "steps": [{ "tool_calls": [echo] }] } } }))
        .await;
    fleet.sees(&id, EventType::ToolInvoked).await;
    let killed = Instant::now();
    dead.kill().await;
    fleet.start_worker("successor").await;
    fleet.sees(&id, EventType::RunResumed).await;
    println!(
        "taken over {:?} after the kill, beside a hanging worker",
        killed.elapsed()
    );
    assert!(killed.elapsed() < Duration::from_secs(10));
    let cancel = gatewright_schemas::Command::Cancel { reason: None };
    fleet.command(&id, cancel).await;
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_somebody_holds_is_not_taken_over_whatever_woke_it() {
    let fleet = Fleetlet::start(1).await;
    let slow = json!({ "run_id": "held", "input": { "runtime": { "steps": [
        { "tool_calls": [{ "tool": "runtime.echo", "input": { "delay_ms": 3_000 } }] } ] } } });
    let id = fleet.accepted(&slow).await;
    fleet.sees(&id, EventType::ToolInvoked).await;
    fleet.start_worker("worker-2").await;
    let mender = fleet.mender().await;
    let seen = fleet.history(&id).await.last().unwrap().sequence;
    let wake = Wake {
        workspace_id: fleet.acme.clone(),
        run_id: id.clone(),
        seen,
        hint: None,
    };
    for n in 0..8 {
        let reason = format!("mistaken-{n}");
        mender
            .wake(Zone::Sandbox, Lane::Background, &wake, &reason)
            .await;
    }
    assert_eq!(fleet.ended(&id).await, RunStatus::Succeeded);
    let types = fleet.types(&id).await;
    assert!(!types.contains(&"run.resumed"), "{types:?}");
    fleet.audit().await;
}
