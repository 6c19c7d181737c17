//! Runs that nobody holds and that no message wakes any more.

use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use futures::StreamExt as _;
use gatewright_bus::clock;
use gatewright_dispatcher::reconciler::wake_orphans;
use gatewright_schemas::RunStatus;
use gatewright_tests::{Fleetlet, eventually, outside::Outsider};
use serde_json::{Value, json};

/// More than the reconciler reads at a time.
const MANY: u64 = 510;

/// How long anything that should happen soon may take.
const SOON: Duration = Duration::from_secs(20);

/// Longer than a run may stand still.
const LATER: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_is_found_behind_any_number_of_runs_that_stand_still_for_a_reason() {
    // Without a worker everything stands still, and rightly so while its wake-up is in the queue.
    let fleet = Fleetlet::start(0).await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let waiting: Vec<Value> = (0..MANY)
        .map(|n| json!({ "run_id": format!("w{n}"), "lane": "background" }))
        .collect();
    fleet.all_accepted(&waiting).await;
    let id = fleet
        .accepted(&json!({ "run_id": "lost", "lane": "interactive" }))
        .await;
    let queue = outsider.jetstream.get_stream("QUEUE").await.unwrap();
    let lost = queue.purge().filter("fleet.queue.sandbox.interactive");
    assert_eq!(lost.await.unwrap().purged, 1);
    assert_eq!(outsider.count("QUEUE").await, MANY);
    fleet.projected().await;

    let mender = fleet.mender().await;
    wake_orphans(&mender, &fleet.store, clock::now().plus(LATER))
        .await
        .unwrap();
    assert_eq!(outsider.count("QUEUE").await, MANY + 1, "one is woken");
    fleet.start_worker("worker-1").await;
    fleet.ended(&id).await;
    for n in 0..MANY {
        fleet.ended(&gatewright_tests::run(&format!("w{n}"))).await;
    }
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_is_found_though_wake_ups_of_others_have_waited_as_long() {
    let fleet = Fleetlet::start(0).await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let queue = outsider.jetstream.get_stream("QUEUE").await.unwrap();
    for id in ["before", "lost", "after"] {
        fleet.accepted(&json!({ "run_id": id })).await;
        if id == "lost" {
            let last = queue.direct_get_last_for_subject("fleet.queue.>").await;
            let sequence = last.unwrap().sequence;
            assert!(queue.delete_message(sequence).await.unwrap());
        }
    }
    fleet.projected().await;
    let mender = fleet.mender().await;
    wake_orphans(&mender, &fleet.store, clock::now().plus(LATER))
        .await
        .unwrap();
    assert_eq!(outsider.count("QUEUE").await, 3, "the lost one is woken");
    let woken = queue.direct_get_last_for_subject("fleet.queue.>").await;
    let wake: Value = serde_json::from_slice(&woken.unwrap().payload).unwrap();
    assert_eq!(wake["run_id"], "lost");
}

/// In a cluster the server hands on what a worker had asked for though the worker is gone: it cannot see that nobody waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_wake_up_is_handed_to_a_worker_that_is_gone_is_woken_again() {
    let fleet = Fleetlet::start(0).await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let worker = fleet.start_worker("worker-1").await;
    // Long enough for the dispatcher to know the worker.
    let soon = clock::now().plus(Duration::from_secs(1)).to_string();
    let first = json!({ "run_id": "first", "not_before": soon });
    let (_, status) = fleet.ended_run(&first).await;
    assert_eq!(status, RunStatus::Succeeded);
    worker.stop().await;
    // Takes wake-ups as requests of one that is gone do: that is the last that is heard of them.
    let queue = outsider.jetstream.get_stream("QUEUE").await.unwrap();
    let consumer = queue.get_consumer::<pull::Config>("sandbox-interactive");
    let consumer = consumer.await.unwrap();
    let second = json!({ "run_id": "second", "lane": "interactive" });
    let run = fleet.accepted(&second).await;
    // The first one may come before the dispatcher has seen that the worker is gone, and be sent again for that.
    for taken in 1..=2 {
        let batch = consumer.batch().max_messages(1).expires(SOON);
        let mut handed = batch.messages().await.unwrap();
        assert!(handed.next().await.is_some(), "{taken}");
    }
    eventually("it is woken once more", SOON, async || {
        // What was handed out is still there: nobody acknowledged it.
        match outsider.count("QUEUE").await {
            count @ 0..=2 => Err(format!("{count} wake-ups")),
            _ => Ok(()),
        }
    })
    .await;
    fleet.start_worker("worker-2").await;
    assert_eq!(fleet.ended(&run).await, RunStatus::Succeeded);
}
