//! Runs that nobody holds and that no message wakes any more.

use std::time::Duration;

use gatewright_bus::clock;
use gatewright_dispatcher::reconciler::wake_orphans;
use gatewright_tests::{Fleetlet, outside::Outsider};
use serde_json::{Value, json};

/// More than the reconciler reads at a time.
const MANY: u64 = 510;

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
