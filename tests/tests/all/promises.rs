//! The promises over a mixed load, and that whoever watches over them would notice.

use std::time::Duration;

use async_nats::HeaderMap;
use gatewright_schemas::{Command, Reply, RunStatus};
use gatewright_tests::{
    Fleetlet, audit::Audit, outside::Outsider, policy, run, upstream::Upstream,
};
use serde_json::{Value, json};

/// Run number `n` of a load in which every kind of run has its part, and how it must end.
fn mixed(n: usize, upstream: &Upstream) -> (Value, RunStatus) {
    let write = |path: String| json!({ "tool": "egress.request", "input": { "method": "POST", "target_url": upstream.url(&path) } });
    let read = |path: String, more: Value| {
        let mut call =
            json!({ "tool": "egress.request", "input": { "target_url": upstream.url(&path) } });
        for (key, value) in more.as_object().unwrap() {
            call[key] = value.clone();
        }
        call
    };
    let (runtime, status) = match n % 8 {
        0 => (json!({}), RunStatus::Succeeded),
        1 => (
            json!({ "steps": [{ "tool_calls": [write(format!("/w{n}"))] }] }),
            RunStatus::Succeeded,
        ),
        2 => (
            json!({ "policy": { "capability_token_id": "unknown" } }),
            RunStatus::Failed,
        ),
        3 => (json!({ "policy": { "zone": "moon" } }), RunStatus::Failed),
        // Asked for again while the server says "not now", and then gone on from.
        4 => {
            let unavailable = read("/status/503".into(), json!({ "on_failure": "continue" }));
            let steps = json!([{ "tool_calls": [unavailable] }, { "tool_calls": [{ "tool": "runtime.noop" }] }]);
            (json!({ "steps": steps }), RunStatus::Succeeded)
        }
        5 => (
            json!({ "steps": [{ "tool_calls": [{ "tool": "no.such.tool" }] }] }),
            RunStatus::Failed,
        ),
        6 => {
            let steps: Vec<Value> = (0..5)
                .map(|_| json!({ "tool_calls": [{ "tool": "runtime.noop" }] }))
                .collect();
            (
                json!({ "policy": { "zone": "high_stakes" }, "steps": steps }),
                RunStatus::Succeeded,
            )
        }
        _ => (
            json!({ "steps": [{ "tool_calls": [] }, { "tool_calls": [] }] }),
            RunStatus::Succeeded,
        ),
    };
    let lane = if n.is_multiple_of(3) {
        "interactive"
    } else {
        "background"
    };
    (
        json!({ "run_id": format!("r{n}"), "lane": lane, "input": { "runtime": runtime } }),
        status,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_promise_holds_over_a_mixed_load_on_several_replicas() {
    let (fleet, upstream) = tokio::join!(Fleetlet::start(3), Upstream::start());
    fleet.start_dispatcher("dispatcher-2").await;
    fleet.start_projector("projector-2").await;
    let (submissions, wanted): (Vec<Value>, Vec<RunStatus>) =
        (0..240).map(|n| mixed(n, &upstream)).unzip();
    let ids = fleet.all_accepted(&submissions).await;
    for (id, wanted) in ids.iter().zip(wanted) {
        assert_eq!(fleet.ended(id).await, wanted, "{}", fleet.told(id).await);
    }
    for n in (1..240).step_by(8) {
        let path = format!("/w{n}");
        let seen = upstream.seen();
        let writes: Vec<_> = seen.iter().filter(|request| request.path == path).collect();
        assert_eq!(writes.len(), 1, "{path}");
        assert_eq!(
            writes[0].idempotency_key(),
            Some(format!("acme.r{n}.1.1").as_str())
        );
    }
    let retried = upstream.seen_at("/status/503");
    let keys: std::collections::BTreeSet<_> = retried
        .iter()
        .map(|r| r.idempotency_key().unwrap())
        .collect();
    assert_eq!(
        keys.len(),
        30,
        "each call has one key, however often it is repeated"
    );
    assert!(retried.len() > 30, "they were repeated");
    fleet.audit().await;
}

/// Whoever watches over the promises is not blind: what breaks them is found.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_history_is_noticed() {
    let fleet = Fleetlet::start(1).await;
    let (real, _) = fleet.ended_run(&json!({ "run_id": "real" })).await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let stored = outsider.stored("EVENTS", "fleet.events.acme.real.>").await;
    assert_eq!(stored.len(), 3);
    assert_eq!(Audit::default().faults(&fleet).await, [""; 0]);

    // Somebody with the run of the server writes past the fleet: the last commit once more, after the end.
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "forged");
    let forged = outsider.publish_with(&stored[2].subject, headers, stored[2].body.to_string());
    forged.await;
    let stream = outsider.stored("EVENTS", "fleet.events.acme.real.>").await;
    assert_eq!(stream.len(), 4);
    let faults = Audit::of_stream(&stream, &[]);
    for told in [
        "after the end",
        "does not join",
        "seq 5 where 8 belongs",
        "outcomes of acme.real.1.1",
        "no id of its own",
    ] {
        assert!(
            faults.iter().any(|fault| fault.contains(told)),
            "{told}: {faults:?}"
        );
    }
    // An intent without an allow, a call that is made twice, a run that stands still.
    let tampered = |pointer: &str, value: Value| {
        let mut one = stored.clone();
        *one[1].body.pointer_mut(pointer).unwrap() = value;
        Audit::of_stream(&one[..2], &[]).join("; ")
    };
    let decision = "/events/2/data/decision/decision";
    assert!(tampered(decision, json!("deny")).contains("without an allow"));
    assert!(tampered(decision, json!("deny")).contains("does not match its hash"));
    assert!(
        tampered("/events/2/data/idempotent", json!(false)).contains("neither ended nor parked")
    );
    assert_eq!(real, run("real"));

    // The fleet itself refuses to work with such a history.
    let retry = fleet.command(&real, Command::Retry { new_run_id: None });
    let answered = tokio::time::timeout(Duration::from_secs(3), retry).await;
    assert!(
        !matches!(answered, Ok(Reply::Accepted { .. })),
        "{answered:?}"
    );
}

/// A denial has no effect outside, whatever the call would have done.
#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_without_a_policy_denies_every_call() {
    let fleet = Fleetlet::servers().await;
    fleet.start_dispatcher("dispatcher-1").await;
    fleet.start_projector("projector-1").await;
    fleet.start_worker("worker-1").await;
    let upstream = Upstream::start().await;
    let (submission, _) = mixed(1, &upstream);
    let (id, status) = fleet.ended_run(&submission).await;
    assert_eq!(status, RunStatus::Failed);
    assert_eq!(
        fleet.row(&id).await.error.unwrap()["reason_code"],
        "policy_missing"
    );
    assert!(upstream.seen().is_empty());
    // A document that cannot be read leaves the one before in force.
    fleet.apply_policy(policy::OPEN).await;
    let message = gatewright_schemas::CommandMessage {
        issued_by: "operator".into(),
        command: Command::ApplyPolicy {
            document: "mode = \"maybe\"\ndefault = 3\n".into(),
        },
    };
    let fleets_own = gatewright_schemas::WorkspaceId::fleet();
    let authority = gatewright_schemas::RunId::authority();
    let refused = fleet
        .fleet
        .command(&fleets_own, &authority, &message, Duration::from_secs(10))
        .await
        .unwrap();
    let Reply::Refused { violations, .. } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(violations.len(), 2, "{violations:?}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (_, status) = fleet.ended_run(&json!({ "run_id": "after" })).await;
    assert_eq!(status, RunStatus::Succeeded);
    fleet.audit().await;
}
