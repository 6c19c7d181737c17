//! Each role's credential, tried against everything that it must not do.

use std::time::Duration;

use async_nats::{ConnectOptions, HeaderMap};
use futures::{FutureExt as _, StreamExt as _};
use gatewright_bus::{clock, permissions::Role};
use gatewright_projector::aside::{copy_dead_letters, copy_workers};
use gatewright_schemas::{RunStatus, Timestamp, WorkspaceId, Zone};
use gatewright_store::{dead_letter, worker};
use gatewright_tests::{Fleetlet, credentials, eventually, intruder::Intruder, outside::Outsider};
use serde_json::{Value, json};

/// How long anything that should happen soon may take.
const SOON: Duration = Duration::from_secs(20);

/// What no credential may do to a stream.
const ADMINISTRATION: [&str; 7] = [
    "STREAM.PURGE",
    "STREAM.DELETE",
    "STREAM.UPDATE",
    "STREAM.MSG.DELETE",
    "STREAM.RESTORE",
    "STREAM.SNAPSHOT",
    "STREAM.LEADER.STEPDOWN",
];

const STREAMS: [&str; 6] = [
    "EVENTS",
    "QUEUE",
    "SUBMISSIONS",
    "DEAD_LETTERS",
    "KV_authority",
    "KV_secrets",
];

async fn cannot_administer(intruder: &mut Intruder) {
    for stream in STREAMS {
        for verb in ADMINISTRATION {
            intruder
                .cannot_publish(&format!("$JS.API.{verb}.{stream}"))
                .await;
        }
    }
}

/// What each stream holds, by number.
async fn held(outsider: &Outsider) -> Vec<u64> {
    let mut held = Vec::new();
    for stream in ["EVENTS", "QUEUE", "SUBMISSIONS", "DEAD_LETTERS"] {
        held.push(outsider.count(stream).await);
    }
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_through_with_each_role_under_its_own_credential() {
    let fleet = Fleetlet::start(1).await;
    let workspace = WorkspaceId::new("acme").unwrap();
    let submitter = Role::Submitter { workspace };
    let submitter = fleet.join("submitter-acme", &submitter).await;
    let submission = json!({ "run_id": "r1", "input": { "runtime": { "steps": [
        { "tool_calls": [{ "tool": "runtime.noop" }] },
    ] } } });
    let reply = submitter
        .submit(&fleet.acme, submission.to_string().into_bytes(), SOON)
        .await
        .unwrap();
    assert!(
        matches!(reply, gatewright_schemas::Reply::Accepted { .. }),
        "{reply:?}"
    );
    let run = gatewright_tests::run("r1");
    assert_eq!(fleet.ended(&run).await, RunStatus::Succeeded);
    assert_eq!(fleet.row(&run).await.status, "succeeded");
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projectors_credential_suffices_for_what_stands_beside_the_stream() {
    let fleet = Fleetlet::start(1).await;
    let reply = fleet.submit_bytes(b"no JSON".to_vec()).await;
    assert!(
        matches!(reply, gatewright_schemas::Reply::Refused { .. }),
        "{reply:?}"
    );
    let projector = fleet.join("projector", &Role::Projector).await;
    let copying = tokio::spawn({
        let store = fleet.store.clone();
        async move {
            tokio::join!(
                copy_workers(&projector, &store, clock::now),
                copy_dead_letters(&projector, &store)
            )
        }
    });
    eventually("both tables have a row", SOON, async || {
        let long_ago = Timestamp::from_micros(0);
        let workers = worker::list(&fleet.store, long_ago, 10).await.unwrap();
        let letters = dead_letter::last_sequence(&fleet.store).await.unwrap();
        match (workers.as_slice(), letters) {
            ([worker], 1) if worker.worker_id == "worker-1" => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await;
    copying.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_cannot_write_anothers_events_nor_take_from_another_zone() {
    let fleet = Fleetlet::servers().await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let role = Role::Worker {
        zones: vec![Zone::Sandbox],
        services: Vec::new(),
    };
    let mut worker = Intruder::connect(&fleet, "worker-a", &role).await;
    let before = held(&outsider).await;
    for subject in [
        // Another's events, and the chain of what is allowed.
        "fleet.events.acme.r1.worker-b.allow.running",
        "fleet.events.acme.r1.dispatcher.none.queued",
        "fleet.events._fleet._authority.worker-a.none.recorded",
        "fleet.events.acme._authority.worker-a.none.recorded",
        // What is the dispatchers'.
        "fleet.command.acme.r1",
        "fleet.timer.acme.r1.lapse",
        "fleet.submit.acme",
        "fleet.queue.sandbox.interactive",
        "fleet.interrupt.acme.r1",
        "$KV.authority.policy",
        "$KV.authority.capability.acme.c1",
        "$KV.authority.clock",
        "$KV.workers.worker-b",
        // Another zone's queue.
        "$JS.API.CONSUMER.MSG.NEXT.QUEUE.high_stakes-interactive",
        "$JS.API.CONSUMER.MSG.NEXT.QUEUE.supervised-background",
        "$JS.ACK.QUEUE.high_stakes-interactive.1.1.1.1.0",
        "$JS.API.DIRECT.GET.QUEUE",
        "$JS.API.STREAM.MSG.GET.QUEUE",
        // Consumers of its own making.
        "$JS.API.CONSUMER.CREATE.QUEUE",
        "$JS.API.CONSUMER.CREATE.QUEUE.mine.fleet.queue.high_stakes.interactive",
        "$JS.API.CONSUMER.DURABLE.CREATE.QUEUE.mine",
        "$JS.API.CONSUMER.DELETE.QUEUE.high_stakes-interactive",
        "$JS.API.CONSUMER.CREATE.EVENTS",
        "$JS.API.CONSUMER.CREATE.SUBMISSIONS",
        "$JS.API.CONSUMER.MSG.NEXT.SUBMISSIONS.commands",
        // Of the buckets too: where a consumer delivers to is its maker's word.
        "$JS.API.CONSUMER.CREATE.KV_authority",
        "$JS.API.CONSUMER.CREATE.KV_secrets",
        // JetStream of its own, and the server itself.
        "$JS.API.STREAM.CREATE.MINE",
        "$JS.API.INFO",
        "$SYS.REQ.SERVER.PING",
        "$SYS.REQ.ACCOUNT.gatewright.CONNZ",
        // Who asked it something, without being asked.
        "_R_.x.y",
        "_INBOX.operator.1",
    ] {
        worker.cannot_publish(subject).await;
    }
    cannot_administer(&mut worker).await;
    for subject in [
        "_INBOX.operator.>",
        "_INBOX.>",
        "fleet.events.>",
        "fleet.submit.*",
        "fleet.queue.>",
        "fleet.ping.worker-b",
        "fleet.peer.worker-b",
        "$JS.>",
        "$SYS.>",
        "_R_.>",
        "$KV.secrets.>",
        "$KV.quota.>",
        ">",
    ] {
        worker.cannot_hear(subject).await;
    }
    assert_eq!(held(&outsider).await, before);
    // What it is there for, it may: a list that refuses everything would pass all of the above.
    worker
        .stores("fleet.events.acme.r1.worker-a.allow.running")
        .await;
    worker.stores("$KV.workers.worker-a").await;
    worker.stores("fleet.dead.acme").await;
}

/// A header can ask the server for more than to keep the message: to delete others, to delete it later, to publish it elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn no_header_of_a_worker_deletes_history_or_sets_a_timer() {
    let fleet = Fleetlet::servers().await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let worker = Intruder::connect(&fleet, "worker-a", &credentials::worker()).await;
    let own = "fleet.events.acme.r1.worker-a.allow.running";
    outsider
        .publish("fleet.events.acme.r1.worker-b.allow.running", "{}")
        .await;
    worker.stores(own).await;
    for headers in [
        vec![("Nats-Rollup", "all")],
        vec![("Nats-Rollup", "sub")],
        vec![("Nats-TTL", "1s")],
        vec![
            ("Nats-Schedule", "@at 2099-01-01T00:00:00Z"),
            ("Nats-Schedule-Target", "fleet.command.acme.r1"),
        ],
    ] {
        let mut asked = HeaderMap::new();
        for (name, value) in &headers {
            asked.insert(*name, *value);
        }
        let answer = worker.client.request_with_headers(own, asked, "{}".into());
        let answer: Value = serde_json::from_slice(&answer.await.unwrap().payload).unwrap();
        assert!(answer["error"].is_object(), "{headers:?}: {answer}");
    }
    assert_eq!(outsider.count("EVENTS").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projector_writes_nothing() {
    let fleet = Fleetlet::servers().await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let mut projector = Intruder::connect(&fleet, "projector", &Role::Projector).await;
    let before = held(&outsider).await;
    for subject in [
        "fleet.events.acme.r1.projector.none.queued",
        "fleet.submit.acme",
        "fleet.command.acme.r1",
        "fleet.timer.acme.r1.lapse",
        "fleet.queue.sandbox.interactive",
        "fleet.dead.acme",
        "$KV.authority.policy",
        "$KV.secrets.acme.r1.x",
        "$KV.workers.projector",
        "$KV.quota.x",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.approvals",
        "$JS.API.CONSUMER.CREATE.EVENTS.approvals",
        "$JS.API.CONSUMER.DELETE.EVENTS.approvals",
        "$JS.API.DIRECT.GET.KV_secrets",
    ] {
        projector.cannot_publish(subject).await;
    }
    cannot_administer(&mut projector).await;
    projector.cannot_hear("_INBOX.operator.>").await;
    assert_eq!(held(&outsider).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submitter_reaches_its_own_workspace_and_reads_nothing() {
    let fleet = Fleetlet::servers().await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let workspace = fleet.acme.clone();
    let role = Role::Submitter { workspace };
    let mut submitter = Intruder::connect(&fleet, "submitter-acme", &role).await;
    let before = held(&outsider).await;
    for subject in [
        "fleet.submit.globex",
        "fleet.command.acme.r1",
        "fleet.command.globex.r1",
        "fleet.timer.acme.r1.lapse",
        "fleet.events.acme.r1.submitter-acme.none.queued",
        "fleet.queue.sandbox.interactive",
        "$JS.API.DIRECT.GET.EVENTS",
        "$JS.API.CONSUMER.CREATE.EVENTS",
        "$JS.API.STREAM.INFO.EVENTS",
        "$JS.API.STREAM.CREATE.MINE",
        "$SYS.REQ.SERVER.PING",
        "_INBOX.operator.1",
        "$KV.authority.policy",
    ] {
        submitter.cannot_publish(subject).await;
    }
    cannot_administer(&mut submitter).await;
    for subject in ["fleet.events.globex.>", "fleet.>", "_INBOX.operator.>"] {
        submitter.cannot_hear(subject).await;
    }
    assert_eq!(held(&outsider).await, before);
    submitter.stores("fleet.submit.acme").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dispatchers_operators_and_provisioners_cannot_change_the_past() {
    let fleet = Fleetlet::servers().await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let before = held(&outsider).await;
    for (name, role) in [
        ("dispatcher", Role::Dispatcher),
        ("operator", Role::Operator),
        ("provisioner", Role::Provisioner),
    ] {
        let mut intruder = Intruder::connect(&fleet, name, &role).await;
        cannot_administer(&mut intruder).await;
        let event = "fleet.events.acme.r1.worker-1.allow.running";
        intruder.cannot_publish(event).await;
    }
    for subject in [
        "fleet.timer.acme.r1.lapse",
        "fleet.events.acme.r1.operator.none.queued",
        "$KV.authority.policy",
        "$JS.API.DIRECT.GET.KV_secrets",
    ] {
        let mut operator = Intruder::connect(&fleet, "operator", &Role::Operator).await;
        operator.cannot_publish(subject).await;
    }
    assert_eq!(held(&outsider).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_goes_to_inboxes_only() {
    let fleet = Fleetlet::start(0).await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let mut elsewhere = outsider.subscribe("fleet.interrupt.acme.r1").await;
    let mut inbox = outsider.subscribe("_INBOX.asker.1").await;
    for to in ["fleet.interrupt.acme.r1", "_INBOX.asker.1"] {
        let mut headers = HeaderMap::new();
        headers.insert(gatewright_schemas::command::REPLY_TO, to);
        outsider
            .publish_with("fleet.submit.acme", headers, "nonsense")
            .await;
    }
    eventually("the one in order is answered", SOON, async || {
        let answer = inbox.next().now_or_never().flatten();
        answer.ok_or_else(|| "no answer".to_owned())
    })
    .await;
    assert!(elsewhere.next().now_or_never().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_server_does_not_know_is_not_let_in() {
    let fleet = Fleetlet::servers().await;
    fleet.join("worker-a", &credentials::worker()).await;
    let key = gatewright_bus::nkey::UserKey::generate();
    let refused = ConnectOptions::with_nkey(key.seed().unwrap())
        .connect(fleet.nats.url())
        .await;
    assert!(refused.is_err());
}
