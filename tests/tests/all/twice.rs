//! Every message handled twice: histories stay single.

use std::{collections::HashMap, time::Duration};

use async_nats::HeaderMap;
use futures::StreamExt as _;
use gatewright_schemas::{Command, RunStatus};
use gatewright_tests::{
    Fleetlet, eventually, outside::Outsider, policy, proxy::Proxy, role::RoleOptions, run,
    upstream::Upstream,
};
use serde_json::{Value, json};

use crate::FLEET_ROLE;

/// Longer than a lease of half a minute.
const LEASE: Duration = Duration::from_mins(1);

/// A run that does nothing and then writes.
fn writing(id: &str, upstream: &Upstream) -> Value {
    let write = json!({ "method": "POST", "target_url": upstream.url(&format!("/{id}")) });
    json!({ "run_id": id, "input": { "runtime": { "steps": [
        { "tool_calls": [{ "tool": "runtime.noop" }] },
        { "tool_calls": [{ "tool": "egress.request", "input": write }] },
    ] } } })
}

fn assert_written_once(upstream: &Upstream, ids: &[String]) {
    let mut times: HashMap<String, usize> = HashMap::new();
    for request in upstream.seen() {
        *times.entry(request.path[1..].to_owned()).or_default() += 1;
    }
    let wrong: Vec<_> = ids.iter().filter(|id| times.get(*id) != Some(&1)).collect();
    assert!(wrong.is_empty(), "not written once: {wrong:?} of {times:?}");
}

async fn nothing_waits(outsider: &Outsider) {
    eventually("nothing waits in the queues", LEASE, async || {
        let waiting = (
            outsider.count("SUBMISSIONS").await,
            outsider.count("QUEUE").await,
        );
        if waiting == (0, 0) {
            Ok(())
        } else {
            Err(format!("{waiting:?}"))
        }
    })
    .await;
}

/// Publishes everything that is published under `subject` once more, under a message id of its own.
async fn double(url: &str, subject: &'static str) -> tokio::task::JoinHandle<()> {
    const MARK: &str = "Doubled";
    let outsider = Outsider::connect(url).await;
    let mut heard = outsider.subscribe(subject).await;
    tokio::spawn(async move {
        while let Some(message) = heard.next().await {
            if message
                .headers
                .as_ref()
                .is_some_and(|h| h.get(MARK).is_some())
            {
                continue;
            }
            let mut headers = HeaderMap::new();
            headers.insert(MARK, "yes");
            outsider
                .publish_with(&message.subject, headers, message.payload)
                .await;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn submissions_commands_and_wake_ups_that_come_twice_do_their_work_once() {
    let (fleet, upstream) = tokio::join!(Fleetlet::start(3), Upstream::start());
    fleet.start_dispatcher("dispatcher-2").await;
    let needs_approval = policy::open_with("require_approval = [\"runtime.echo\"]\n");
    fleet.apply_policy(&needs_approval).await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    for subject in ["fleet.submit.*", "fleet.command.acme.*", "fleet.queue.*.*"] {
        double(&fleet.nats.url(), subject).await;
    }
    let ids: Vec<String> = (0..40).map(|n| format!("w{n}")).collect();
    for id in &ids {
        outsider
            .publish("fleet.submit.acme", writing(id, &upstream).to_string())
            .await;
    }
    for n in 0..10 {
        let steps = json!([{ "tool_calls": [{ "tool": "runtime.echo" }] }]);
        let submission =
            json!({ "run_id": format!("a{n}"), "input": { "runtime": { "steps": steps } } });
        outsider
            .publish("fleet.submit.acme", submission.to_string())
            .await;
    }
    for n in 0..10 {
        let id = run(&format!("a{n}"));
        let approval_id = fleet.parked(&id).await;
        let command = if n % 2 == 0 {
            Command::DecideApproval {
                approval_id,
                approve: true,
                reason: None,
                remember_s: None,
            }
        } else {
            Command::Cancel { reason: None }
        };
        fleet.command(&id, command).await;
        let wanted = if n % 2 == 0 {
            RunStatus::Succeeded
        } else {
            RunStatus::Cancelled
        };
        assert_eq!(fleet.ended(&id).await, wanted, "{}", fleet.told(&id).await);
    }
    for id in &ids {
        let status = fleet.ended(&run(id)).await;
        assert_eq!(
            status,
            RunStatus::Succeeded,
            "{}",
            fleet.told(&run(id)).await
        );
    }
    assert_written_once(&upstream, &ids);
    nothing_waits(&outsider).await;
    fleet.audit().await;
}

/// Not one acknowledgement arrives, so that the server hands everything out again when the lease has lapsed.
#[tokio::test(flavor = "multi_thread")]
async fn messages_whose_acknowledgements_were_lost_do_their_work_once() {
    let fleet = Fleetlet::servers().await;
    let upstream = Upstream::start().await;
    fleet.start_projector("projector-1").await;
    let before = || Proxy::before(fleet.nats.port());
    let (dispatcher_proxy, worker_proxy) = tokio::join!(before(), before());
    let _dispatcher = RoleOptions::new(FLEET_ROLE, "dispatcher", "dispatcher-1", &fleet)
        .through(dispatcher_proxy.url())
        .start()
        .await;
    fleet.apply_policy(policy::OPEN).await;
    let _worker = RoleOptions::new(FLEET_ROLE, "worker", "worker-1", &fleet)
        .through(worker_proxy.url())
        .start()
        .await;
    for proxy in [&dispatcher_proxy, &worker_proxy] {
        proxy.lose(&["$JS.ACK."]);
    }
    let ids: Vec<String> = (0..40).map(|n| format!("w{n}")).collect();
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    for id in &ids {
        outsider
            .publish("fleet.submit.acme", writing(id, &upstream).to_string())
            .await;
    }
    outsider.publish("fleet.submit.acme", "not JSON").await;
    for id in &ids {
        assert_eq!(fleet.ended(&run(id)).await, RunStatus::Succeeded);
    }
    for stream in ["SUBMISSIONS", "QUEUE"] {
        assert_ne!(
            outsider.count(stream).await,
            0,
            "{stream}: nothing was acknowledged"
        );
    }
    for proxy in [&dispatcher_proxy, &worker_proxy] {
        proxy.lose(&[]);
    }
    nothing_waits(&outsider).await;
    assert_written_once(&upstream, &ids);
    assert_eq!(
        outsider.count("DEAD_LETTERS").await,
        1,
        "one message was not JSON"
    );
    fleet.audit().await;
}

/// A publish that timed out may be stored all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_stored_without_an_answer_is_recognised_as_stored() {
    let fleet = Fleetlet::servers().await;
    let upstream = Upstream::start().await;
    fleet.start_projector("projector-1").await;
    let before = || Proxy::before(fleet.nats.port());
    let (dispatcher_proxy, worker_proxy) = tokio::join!(before(), before());
    let _dispatcher = RoleOptions::new(FLEET_ROLE, "dispatcher", "dispatcher-1", &fleet)
        .through(dispatcher_proxy.url())
        .start()
        .await;
    fleet.apply_policy(policy::OPEN).await;
    let _worker = RoleOptions::new(FLEET_ROLE, "worker", "worker-1", &fleet)
        .through(worker_proxy.url())
        .start()
        .await;
    for proxy in [&dispatcher_proxy, &worker_proxy] {
        proxy.lose_first_answers(&["fleet.events.", "fleet.queue.", "fleet.dead."]);
    }
    let ids: Vec<String> = (0..20).map(|n| format!("w{n}")).collect();
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    for id in &ids {
        outsider
            .publish("fleet.submit.acme", writing(id, &upstream).to_string())
            .await;
    }
    outsider.publish("fleet.submit.acme", "not JSON").await;
    for id in &ids {
        eventually(&format!("{id} ends"), LEASE, async || {
            let history = fleet.history(&run(id)).await;
            match history.last().and_then(|last| last.status) {
                Some(RunStatus::Succeeded) => Ok(()),
                _ => Err(fleet.told(&run(id)).await),
            }
        })
        .await;
        // Every commit was published twice, and is there once.
        assert_eq!(
            fleet.history(&run(id)).await.len(),
            5,
            "{}",
            fleet.told(&run(id)).await
        );
    }
    assert_written_once(&upstream, &ids);
    nothing_waits(&outsider).await;
    assert_eq!(
        outsider.count("DEAD_LETTERS").await,
        1,
        "one message was not JSON"
    );
    fleet.audit().await;
}
