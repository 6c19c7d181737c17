//! What no repetition helps: it is told, kept, and not tried for ever.

use std::time::Duration;

use async_nats::HeaderMap;
use gatewright_schemas::{Command, EventType, ReasonCode, Reply, RunStatus};
use gatewright_tests::{Fleetlet, eventually, outside::Outsider, policy, run};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// A run of one call, as long as it is.
fn wordy(id: &str, bytes: usize) -> Value {
    let call = json!({ "tool": "runtime.echo", "input": { "text": "x".repeat(bytes) } });
    json!({ "run_id": id, "input": { "runtime": { "steps": [{ "tool_calls": [call] }] } } })
}

/// From now on the server stores no event of more than so many bytes.
async fn limit_events(outsider: &Outsider, bytes: i32) {
    let mut events = outsider.jetstream.get_stream("EVENTS").await.unwrap();
    let mut config = events.info().await.unwrap().config.clone();
    config.max_message_size = bytes;
    outsider.jetstream.update_stream(config).await.unwrap();
}

async fn is_empty(outsider: &Outsider, stream: &str) {
    eventually(
        &format!("{stream} is empty"),
        SOON,
        async || match outsider.count(stream).await {
            0 => Ok(()),
            left => Err(format!("{left} messages are left")),
        },
    )
    .await;
}

/// The reason codes of everything that is kept.
async fn kept(fleet: &Fleetlet) -> Vec<ReasonCode> {
    let letters = fleet.fleet.dead_letters(None, 0, 100).await.unwrap();
    letters.iter().map(|dead| dead.letter.reason_code).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_creation_the_server_never_stores_is_refused_and_kept() {
    let fleet = Fleetlet::start(0).await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    limit_events(&outsider, 3_000).await;
    let reply = fleet.submit(&wordy("long", 4_000)).await;
    let Reply::Refused {
        run_id: Some(record),
        reason_code,
        reason,
        ..
    } = reply
    else {
        panic!("{reply:?}");
    };
    assert_eq!(reason_code, Some(ReasonCode::CommitRefused), "{reason}");
    assert!(reason.contains("run `long` cannot be made"), "{reason}");
    let rejected = fleet.the_event(&record, EventType::RunRejected).await;
    assert_eq!(rejected.data["requested_run_id"], "long");
    assert_eq!(kept(&fleet).await, [ReasonCode::CommitRefused]);
    is_empty(&outsider, "SUBMISSIONS").await;

    // Its id is still free.
    let id = fleet.accepted(&wordy("long", 10)).await;
    fleet.start_worker("worker-1").await;
    assert_eq!(fleet.ended(&id).await, RunStatus::Succeeded);
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_first_call_the_server_never_stores_fails_and_its_wake_up_is_kept() {
    let fleet = Fleetlet::start(0).await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let id = fleet.accepted(&wordy("long", 4_000)).await;
    limit_events(&outsider, 3_000).await;
    fleet.start_worker("worker-1").await;
    assert_eq!(fleet.ended(&id).await, RunStatus::Failed);
    assert_eq!(
        fleet.types(&id).await,
        ["run.created", "run.started", "run.failed"]
    );
    let failed = fleet.the_event(&id, EventType::RunFailed).await;
    assert_eq!(failed.data["error"]["reason_code"], "commit_refused");
    is_empty(&outsider, "QUEUE").await;
    assert_eq!(kept(&fleet).await, [ReasonCode::CommitRefused]);
    fleet.audit().await;
}

/// Without a projector, which rightly stops at a message that it cannot read.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_to_a_history_that_cannot_be_read_is_answered_and_kept() {
    let fleet = Fleetlet::servers().await;
    fleet.start_dispatcher("dispatcher-1").await;
    fleet.apply_policy(policy::OPEN).await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    outsider
        .publish("fleet.events.acme.odd.somebody.none.queued", "no commit")
        .await;
    let commands = [
        Command::Cancel { reason: None },
        Command::Retry { new_run_id: None },
    ];
    for command in commands {
        let reply = fleet.command(&run("odd"), command).await;
        let Reply::Refused { reason_code, .. } = &reply else {
            panic!("{reply:?}");
        };
        assert_eq!(*reason_code, Some(ReasonCode::HistoryUnreadable));
    }
    let submitted = fleet.submit(&json!({ "run_id": "odd" })).await;
    assert!(
        matches!(&submitted, Reply::Refused { reason_code, .. } if *reason_code == Some(ReasonCode::HistoryUnreadable)),
        "{submitted:?}"
    );
    assert_eq!(kept(&fleet).await, [ReasonCode::HistoryUnreadable; 3]);
    is_empty(&outsider, "SUBMISSIONS").await;
}

/// The hint is all that makes a wake-up large.
#[tokio::test(flavor = "multi_thread")]
async fn a_wake_up_that_is_too_large_goes_without_its_hint() {
    let fleet = Fleetlet::start(1).await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let mut queue = outsider.jetstream.get_stream("QUEUE").await.unwrap();
    let mut config = queue.info().await.unwrap().config.clone();
    config.max_message_size = 1_000;
    outsider.jetstream.update_stream(config).await.unwrap();
    let (id, status) = fleet.ended_run(&wordy("long", 4_000)).await;
    assert_eq!(status, RunStatus::Succeeded, "{}", fleet.told(&id).await);
    fleet.audit().await;
}

/// The stream of dead letters may take less than the message has.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_too_large_is_kept_without_its_message() {
    let fleet = Fleetlet::start(0).await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let mut dead = outsider.jetstream.get_stream("DEAD_LETTERS").await.unwrap();
    let mut config = dead.info().await.unwrap().config.clone();
    config.max_message_size = 2_000;
    outsider.jetstream.update_stream(config).await.unwrap();
    outsider
        .publish_with(
            "fleet.submit.acme",
            HeaderMap::new(),
            json!({ "title": 1, "more": "x".repeat(4_000) }).to_string(),
        )
        .await;
    eventually("it is kept", SOON, async || {
        let kept = kept(&fleet).await;
        if kept == [ReasonCode::SubmissionInvalid] {
            Ok(())
        } else {
            Err(format!("{kept:?}"))
        }
    })
    .await;
    is_empty(&outsider, "SUBMISSIONS").await;
    fleet.audit().await;
}

/// Without a projector, which rightly stops at what it cannot read.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_to_a_run_of_a_newer_version_waits_for_one_that_reads_it() {
    let fleet = Fleetlet::servers().await;
    fleet.start_dispatcher("dispatcher-1").await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let newer = r#"{ "commit_id": "c", "said": "more" }"#;
    outsider
        .publish("fleet.events.acme.odd.somebody.none.queued", newer)
        .await;
    let cancel = r#"{ "issued_by": "ops", "command": { "type": "cancel" } }"#;
    outsider.publish("fleet.command.acme.odd", cancel).await;
    let stream = outsider.jetstream.get_stream("SUBMISSIONS").await.unwrap();
    let name = fleet.fleet.names().commands_consumer();
    eventually("it is handed out again", SOON, async || {
        let info = stream.consumer_info(name).await.unwrap();
        match info.delivered.consumer_sequence {
            n if n > 1 => Ok(()),
            n => Err(format!("handed out {n} times")),
        }
    })
    .await;
    assert_eq!(outsider.count("SUBMISSIONS").await, 1);
    assert!(kept(&fleet).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_up_counts_though_its_hint_is_of_a_newer_version() {
    let fleet = Fleetlet::start(0).await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let id = fleet.accepted(&wordy("plain", 10)).await;
    let queue = outsider.jetstream.get_stream("QUEUE").await.unwrap();
    let asked = queue.direct_get_last_for_subject("fleet.queue.>").await;
    let message = asked.unwrap();
    queue.purge().await.unwrap();
    let mut wake: Value = serde_json::from_slice(&message.payload).unwrap();
    assert!(wake["hint"].is_object());
    wake["hint"]["said"] = json!("more");
    outsider.publish(&message.subject, wake.to_string()).await;
    fleet.start_worker("worker-1").await;
    assert_eq!(fleet.ended(&id).await, RunStatus::Succeeded);
    assert!(kept(&fleet).await.is_empty());
    fleet.audit().await;
}
