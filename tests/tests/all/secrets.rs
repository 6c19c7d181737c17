//! Secrets reach the tool that needs them, and are recorded nowhere.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _};
use gatewright_dispatcher::reconciler::forget_leftovers;
use gatewright_policy::redact::{Marks, Parts, Vault, take_out};
use gatewright_schemas::{Command, Digest, EventType, ReasonCode, Reply, RunId, RunStatus};
use gatewright_tests::{Fleetlet, eventually, outside::Outsider, policy, run};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// Part of every secret here and of nothing else.
const TELLTALE: &str = "s3cr3t";

/// A server that answers with whatever was sent to it.
struct Mirror {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Mirror {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !is_whole(&request) && stream.read_buf(&mut request).await.unwrap() > 0 {}
                let request = String::from_utf8(request).unwrap();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nx-mirror: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{request}",
                    request.lines().next().unwrap(),
                    request.len(),
                );
                all.lock().unwrap().push(request);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { url, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.to_lowercase();
    let length = length.split("content-length: ").nth(1);
    let length = length.map_or(0, |l| l.lines().next().unwrap().trim().parse().unwrap());
    body.len() >= length
}

/// Hears what is published and answered, and what servers deliver.
struct Eavesdropper {
    heard: Vec<async_nats::Subscriber>,
    outsider: Outsider,
}

impl Eavesdropper {
    async fn listen(fleet: &Fleetlet) -> Self {
        let outsider = Outsider::connect(&fleet.nats.url()).await;
        let mut heard = Vec::new();
        for subject in [
            "fleet.events.>",
            "fleet.queue.>",
            "fleet.dead.>",
            "_INBOX.>",
        ] {
            heard.push(outsider.subscribe(subject).await);
        }
        Self { heard, outsider }
    }

    /// No message that was heard or is stored, and no row, has a secret in it.
    async fn heard_no_secret(mut self, fleet: &Fleetlet) {
        let mut messages = 0;
        for subscriber in &mut self.heard {
            while let Some(Some(message)) = subscriber.next().now_or_never() {
                let text = String::from_utf8_lossy(&message.payload).into_owned();
                // A submission on its way to a dispatcher, and a worker's look into the vault, hold what they are there for.
                let headers = message.headers.as_ref();
                let of_kv = headers.and_then(|headers| headers.get("Nats-Subject"));
                let is_due = message.subject.starts_with("fleet.submit.")
                    || of_kv.is_some_and(|key| key.as_str().starts_with("$KV.secrets."));
                assert!(
                    is_due || !text.contains(TELLTALE),
                    "{}: {text}",
                    message.subject
                );
                messages += 1;
            }
        }
        assert!(messages > 0);
        for stream in ["EVENTS", "DEAD_LETTERS"] {
            for stored in self.outsider.stored(stream, ">").await {
                let text = stored.body.to_string();
                assert!(
                    !text.contains(TELLTALE),
                    "{stream} {}: {text}",
                    stored.subject
                );
            }
        }
        // Work queues: what was in them was heard, and is gone. Timers were heard too, and wait for their time.
        for (stream, subject) in [
            ("QUEUE", "fleet.queue.>"),
            ("SUBMISSIONS", "fleet.submit.>"),
            ("SUBMISSIONS", "fleet.command.>"),
        ] {
            eventually(subject, Duration::from_secs(10), async || {
                let left = self.outsider.count_of(stream, subject).await;
                if left == 0 {
                    Ok(())
                } else {
                    Err(format!("{left} messages"))
                }
            })
            .await;
        }
        fleet.projected().await;
        let rows = gatewright_store::dump::folded(&fleet.store).await.unwrap();
        assert!(!rows.is_empty());
        for row in rows {
            assert!(!row.contains(TELLTALE), "{row}");
        }
        let copying = gatewright_projector::aside::copy_dead_letters(&fleet.fleet, &fleet.store);
        tokio::select! {
            () = copying => {}
            () = no_secret_in_letters(fleet) => {}
        }
    }
}

async fn no_secret_in_letters(fleet: &Fleetlet) {
    for stored in fleet.fleet.dead_letters(None, 0, 100).await.unwrap() {
        let row = eventually(
            "the letter has a row",
            Duration::from_secs(10),
            async || {
                let row = gatewright_store::dead_letter::show(&fleet.store, stored.sequence).await;
                row.map_err(|e| e.to_string())?.ok_or("no row".to_owned())
            },
        )
        .await;
        assert!(!format!("{row:?}").contains(TELLTALE), "{row:?}");
    }
}

async fn is_empty(fleet: &Fleetlet) {
    let mender = fleet.mender().await;
    eventually("the vault is empty", Duration::from_secs(10), async || {
        let kept = mender.kept_secrets().await.map_err(|e| e.to_string())?;
        if kept.is_empty() {
            Ok(())
        } else {
            Err(format!("{kept:?}"))
        }
    })
    .await;
}

async fn kept(fleet: &Fleetlet) -> Vec<RunId> {
    let kept = fleet.mender().await.kept_secrets().await.unwrap();
    kept.into_iter().map(|kept| kept.run_id).collect()
}

/// Every reference to a secret, and every secret, in its place.
fn submission(id: &str, url: &str) -> Value {
    json!({ "run_id": id, "title": "with s3cr3t-bearer", "input": {
        "note": { "api_key": "s3cr3t-note", "again": "s3cr3t-bearer" },
        "runtime": { "steps": [{ "title": "s3cr3t-bearer", "tool_calls": [
            { "tool": "egress.request", "input": {
                "target_url": format!("{url}/first?page=2&api_key=s3cr3t%2Fquery#s3cr3t-not-sent"), "method": "POST",
                "headers": { "Authorization": "Bearer s3cr3t-bearer", "X-Tenant": "s3cr3t-tenant", "X-Plain": "plain" },
                "body": { "user": "ann", "ssn": "s3cr3t-ssn" } } },
            { "tool": "egress.request", "input": { "target_url": format!("{url}/again/s3cr3t-ssn") } },
            { "tool": "runtime.echo", "input": { "password": "s3cr3t-echo", "say": "it is s3cr3t-echo" } },
        ] }] },
    } })
}

fn marking() -> String {
    policy::OPEN.replace(
        "[egress]",
        "[egress]\nredact_headers = [\"X-Tenant\"]\nredact_fields = [\"ssn\"]",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_reach_the_server_and_are_recorded_nowhere() {
    let (fleet, mirror) = tokio::join!(Fleetlet::start(2), Mirror::start());
    fleet.apply_policy(&marking()).await;
    let eavesdropper = Eavesdropper::listen(&fleet).await;

    let (id, status) = fleet.ended_run(&submission("all", &mirror.url)).await;
    assert_eq!(status, RunStatus::Succeeded, "{}", fleet.told(&id).await);
    let seen = mirror.seen();
    assert_eq!(seen.len(), 2);
    for part in [
        "POST /first?page=2&api_key=s3cr3t%2Fquery HTTP/1.1",
        "authorization: Bearer s3cr3t-bearer",
        "x-tenant: s3cr3t-tenant",
        r#"{"ssn":"s3cr3t-ssn","user":"ann"}"#,
    ] {
        assert!(seen[0].contains(part), "{part} is missing in {}", seen[0]);
    }
    assert!(seen[1].starts_with("GET /again/s3cr3t-ssn "), "{}", seen[1]);

    // What people see instead.
    let created = fleet.the_event(&id, EventType::RunCreated).await.data;
    let input = &created["submission"]["input"]["runtime"]["steps"][0]["tool_calls"][0]["input"];
    assert_eq!(
        input["target_url"]["shows"],
        format!("{}/first?page=2&api_key=REDACTED", mirror.url)
    );
    assert_eq!(input["headers"]["X-Plain"], "plain");
    assert!(input["headers"]["Authorization"]["$secret"].is_string());
    let events = fleet.events(&id).await;
    let invoked = events
        .iter()
        .find(|event| event.event_type == EventType::ToolInvoked)
        .unwrap();
    assert_eq!(&invoked.data["input"], input);
    assert_eq!(invoked.data["input_digest"], Digest::of(input).as_str());

    // The short form.
    let short = json!({ "input": { "runtime": { "egress": { "target_url": format!("{}/?token=s3cr3t-short", mirror.url) } } } });
    let (id, status) = fleet.ended_run(&short).await;
    assert_eq!(status, RunStatus::Succeeded, "{}", fleet.told(&id).await);
    assert!(mirror.seen()[2].starts_with("GET /?token=s3cr3t-short "));

    is_empty(&fleet).await;
    eavesdropper.heard_no_secret(&fleet).await;
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_kept_without_its_secrets() {
    let fleet = Fleetlet::start(1).await;
    fleet.apply_policy(&marking()).await;
    let eavesdropper = Eavesdropper::listen(&fleet).await;
    let refused = |reply: Reply| match reply {
        Reply::Refused {
            reason_code,
            violations,
            ..
        } => (reason_code.unwrap(), violations),
        accepted @ Reply::Accepted { .. } => panic!("{accepted:?}"),
    };
    let invalid = |code| code == ReasonCode::SubmissionInvalid;

    let mut wrong = submission("wrong", "http://127.0.0.1:1");
    wrong["lane"] = json!("fast");
    assert!(invalid(refused(fleet.submit(&wrong).await).0));
    let torn = submission("torn", "http://127.0.0.1:1").to_string();
    let torn = torn.into_bytes().split_last().unwrap().1.to_vec();
    assert!(invalid(refused(fleet.submit_bytes(torn).await).0));

    // Nobody may point at another's secrets.
    let mut pointing = submission("pointing", "http://127.0.0.1:1");
    let calls = "/input/runtime/steps/0/tool_calls/2/input";
    *pointing.pointer_mut(calls).unwrap() = json!({ "say": [{ "$secret": "1" }] });
    let (code, violations) = refused(fleet.submit(&pointing).await);
    assert!(invalid(code));
    assert_eq!(violations[0].pointer, format!("{calls}/say/0"));

    // Taken by another content.
    fleet.ended_run(&json!({ "run_id": "taken" })).await;
    let taken = submission("taken", "http://127.0.0.1:1");
    assert_eq!(
        refused(fleet.submit(&taken).await).0,
        ReasonCode::RunIdConflict
    );
    is_empty(&fleet).await;

    let letters = fleet.fleet.dead_letters(None, 0, 100).await.unwrap();
    assert_eq!(letters.len(), 4);
    for letter in letters {
        assert!(letter.letter.redacted);
        let replayed = fleet.fleet.replay(&letter, Duration::from_secs(5)).await;
        let error = replayed.unwrap_err().to_string();
        assert!(error.contains("without its secrets"), "{error}");
    }
    eavesdropper.heard_no_secret(&fleet).await;
    fleet.audit().await;
}

fn asking(id: &str, secret: &str) -> Value {
    json!({ "run_id": id, "input": { "runtime": { "steps": [{ "tool_calls": [
        { "tool": "runtime.echo", "input": { "password": secret } },
    ] }] } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_wait_with_their_run_and_are_forgotten_when_it_ends() {
    let fleet = Fleetlet::start(2).await;
    fleet.apply_policy(&policy::echo_needs_approval()).await;
    let eavesdropper = Eavesdropper::listen(&fleet).await;

    let id = fleet.accepted(&asking("cancelled", "s3cr3t-one")).await;
    fleet.parked(&id).await;
    let asked = fleet
        .the_event(&id, EventType::ApprovalRequested)
        .await
        .data;
    assert_eq!(asked["input"], json!({ "password": { "$secret": "1" } }));
    assert_eq!(asked["input_digest"], Digest::of(&asked["input"]).as_str());
    // A secret is no part of what a run is: the same run again changes nothing, nor does it overwrite.
    fleet.accepted(&asking("cancelled", "s3cr3t-two")).await;
    assert_eq!(kept(&fleet).await, std::slice::from_ref(&id));
    let content = Digest::of(&Value::Null);
    assert_eq!(
        fleet
            .mender()
            .await
            .secrets(&fleet.acme, &id, &content)
            .await
            .unwrap(),
        None
    );
    fleet.command(&id, Command::Cancel { reason: None }).await;
    is_empty(&fleet).await;
    // Submitted once more after its end, nothing is kept for it.
    fleet.accepted(&asking("cancelled", "s3cr3t-one")).await;
    is_empty(&fleet).await;
    let reply = fleet
        .command(&id, Command::Retry { new_run_id: None })
        .await;
    let Reply::Refused {
        reason_code,
        reason,
        ..
    } = reply
    else {
        panic!("{reply:?}")
    };
    assert_eq!(reason_code, Some(ReasonCode::SecretMissing));
    assert!(reason.contains("submit it again"), "{reason}");

    for (id, approve, status) in [
        ("denied", false, RunStatus::Failed),
        ("approved", true, RunStatus::Succeeded),
    ] {
        let id = fleet.accepted(&asking(id, "s3cr3t-one")).await;
        let approval_id = fleet.parked(&id).await;
        let decide = Command::DecideApproval {
            approval_id,
            approve,
            reason: None,
            remember_s: None,
        };
        fleet.command_as("ann", &id, decide).await;
        assert_eq!(fleet.ended(&id).await, status, "{}", fleet.told(&id).await);
        is_empty(&fleet).await;
    }
    eavesdropper.heard_no_secret(&fleet).await;
    fleet.audit().await;
}

fn vault() -> Vault {
    let mut input = json!({ "password": "s3cr3t-left" });
    let parts = Parts {
        inputs: vec![&mut input],
        ..Parts::default()
    };
    take_out(parts, &Marks::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_secrets_are_gone_says_so_and_leftovers_are_forgotten() {
    let fleet = Fleetlet::start(1).await;
    fleet.apply_policy(&policy::echo_needs_approval()).await;
    let id = fleet.accepted(&asking("gone", "s3cr3t-one")).await;
    let approval_id = fleet.parked(&id).await;
    let created = fleet.the_event(&id, EventType::RunCreated).await.data;
    let content: Digest = serde_json::from_value(created["content_digest"].clone()).unwrap();
    fleet
        .mender()
        .await
        .forget_secrets(&fleet.acme, &id, &content)
        .await;
    let decide = Command::DecideApproval {
        approval_id,
        approve: true,
        reason: None,
        remember_s: None,
    };
    fleet.command_as("ann", &id, decide).await;
    assert_eq!(fleet.ended(&id).await, RunStatus::Failed);
    let error = fleet.row(&id).await.error.unwrap();
    assert_eq!(
        (&error["stage"], &error["reason_code"]),
        (&json!("input"), &json!("secret_missing"))
    );
    assert!(!fleet.types(&id).await.contains(&"tool.invoked"));

    // Kept, and the run has ended: forgotten. Kept, and the run is still to come, or goes on: not touched.
    let waiting = fleet.accepted(&asking("waiting", "s3cr3t-one")).await;
    fleet.parked(&waiting).await;
    for id in ["gone", "to-come"] {
        fleet
            .mender()
            .await
            .keep_secrets(&fleet.acme, &run(id), &content, &vault())
            .await
            .unwrap();
    }
    assert_eq!(forget_leftovers(&fleet.mender().await).await.unwrap(), 1);
    let mut left = kept(&fleet).await;
    left.sort();
    assert_eq!(left, [run("to-come"), waiting]);
    fleet.audit().await;
}
