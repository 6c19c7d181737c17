//! What submissions and commands get: runs, answers, refusals. Nothing is dropped silently.

use std::time::Duration;

use async_nats::HeaderMap;
use futures::{StreamExt as _, stream::FuturesUnordered};
use gatewright_schemas::{
    Command, EventType, ReasonCode, Reply, RunId, RunStatus, Timestamp, Violation,
};
use gatewright_tests::{
    Fleetlet, eventually,
    outside::{Outsider, next},
    run,
    upstream::Upstream,
};
use serde_json::{Value, json};

/// A run whose call takes `ms` milliseconds.
fn echo(id: &str, ms: u64) -> Value {
    let call = json!({ "tool": "runtime.echo", "input": { "delay_ms": ms } });
    json!({ "run_id": id, "input": { "runtime": { "steps": [{ "tool_calls": [call] }] } } })
}

/// Submits what must be refused; answers with the id of the record, the reason and what is wrong.
async fn refused(fleet: &Fleetlet, bytes: &[u8]) -> (RunId, ReasonCode, Vec<Violation>) {
    match fleet.submit_bytes(bytes.to_vec()).await {
        Reply::Refused {
            run_id,
            reason_code,
            violations,
            ..
        } => (run_id.unwrap(), reason_code.unwrap(), violations),
        accepted @ Reply::Accepted { .. } => {
            panic!("{}: {accepted:?}", String::from_utf8_lossy(bytes))
        }
    }
}

fn pointers(violations: &[Violation]) -> Vec<&str> {
    violations
        .iter()
        .map(|violation| violation.pointer.as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_submission_gets_every_violation_is_recorded_and_kept() {
    let fleet = Fleetlet::start(0).await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let mut rejections = outsider.subscribe("fleet.events.acme.*.*.*.rejected").await;
    let deep = format!(
        "{{\"input\":{{\"x\":{}1{}}}}}",
        "[".repeat(70),
        "]".repeat(70)
    );
    let large = format!("{{\"title\":\"{}\"}}", "x".repeat(300_000));
    let long = json!({ "title": "x".repeat(201) }).to_string();
    let many =
        json!({ "input": { "runtime": { "steps": vec![json!({ "tool_calls": [] }); 101] } } })
            .to_string();
    let both = json!({ "input": { "runtime": { "steps": [{ "tool_calls": [] }], "egress": { "target_url": "http://x" } } } }).to_string();
    let wrong = json!({ "lane": "fast", "surprise": 1, "not_before": "soon",
        "input": { "runtime": { "polcy": {}, "steps": [{ "tool_calls": [{ "tool": 3 }, {}] }] } } })
    .to_string();
    let times = json!({ "not_before": "2099-01-02T00:00:00Z", "deadline": "2099-01-01T00:00:00Z" })
        .to_string();
    let cases: Vec<(&[u8], Vec<&str>)> = vec![
        (b"not JSON at all", vec![""]),
        (b"\xff\xfe\x00", vec![""]),
        (b"[]", vec![""]),
        (b"", vec![""]),
        (deep.as_bytes(), vec![""]),
        (large.as_bytes(), vec![""]),
        (long.as_bytes(), vec!["/title"]),
        (many.as_bytes(), vec!["/input/runtime/steps"]),
        (both.as_bytes(), vec!["/input/runtime"]),
        (times.as_bytes(), vec!["/deadline"]),
        (
            wrong.as_bytes(),
            vec![
                "",
                "/lane",
                "/not_before",
                "/input/runtime",
                "/input/runtime/steps/0/tool_calls/0/tool",
                "/input/runtime/steps/0/tool_calls/1",
            ],
        ),
    ];
    for (n, (bytes, wanted)) in cases.iter().enumerate() {
        let (record, code, violations) = refused(&fleet, bytes).await;
        assert_eq!(code, ReasonCode::SubmissionInvalid, "case {n}");
        let found = pointers(&violations);
        for pointer in wanted {
            assert!(
                found.contains(pointer),
                "case {n}: `{pointer}` is missing in {violations:?}"
            );
        }
        // On the stream, in the tables, and kept as it came.
        let heard = next(&mut rejections).await;
        assert!(heard.subject.contains(record.as_str()), "{}", heard.subject);
        let row = fleet.row(&record).await;
        assert_eq!(row.status, "rejected");
        assert_eq!(
            row.error.unwrap()["violations"].as_array().unwrap().len(),
            violations.len()
        );
        let letters = fleet
            .fleet
            .dead_letters(Some(&fleet.acme), 0, 100)
            .await
            .unwrap();
        assert_eq!(letters.len(), n + 1);
        let letter = &letters[n].letter;
        assert_eq!(letter.run_id.as_ref(), Some(&record), "case {n}");
        assert_eq!(letter.violations, violations, "case {n}");
        assert_eq!(letter.subject, "fleet.submit.acme");
        assert!(letter.json.is_some() || letter.text.is_some(), "case {n}");
    }
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_are_not_safe_in_a_subject_are_refused_at_the_edge() {
    let fleet = Fleetlet::start(1).await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    for id in [
        "a.b",
        "*",
        ">",
        "a b",
        "",
        "ü",
        "a\n",
        "$JS",
        &"x".repeat(65),
        "_authority",
    ] {
        let (_, code, violations) =
            refused(&fleet, json!({ "run_id": id }).to_string().as_bytes()).await;
        assert_eq!(code, ReasonCode::SubmissionInvalid);
        assert!(
            pointers(&violations).iter().all(|p| *p == "/run_id"),
            "{id:?}: {violations:?}"
        );
    }
    // A workspace is a token of the subject: one that is none never becomes one.
    outsider.publish("fleet.submit.bad$name", "{}").await;
    outsider.publish("fleet.submit._fleet", "{}").await;
    outsider.publish("fleet.command.acme.bad$name", "{}").await;
    eventually("all of it is kept", Duration::from_secs(10), async || {
        let letters = fleet
            .fleet
            .dead_letters(None, 0, 100)
            .await
            .map_err(|e| e.to_string())?;
        let waiting = outsider.count("SUBMISSIONS").await;
        if letters.len() == 13 && waiting == 0 {
            Ok(())
        } else {
            Err(format!("{waiting}: {letters:#?}"))
        }
    })
    .await;
    let events = outsider.stored("EVENTS", "fleet.events.>").await;
    let safe = |subject: &str| {
        subject
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    assert!(
        events.iter().all(|stored| safe(&stored.subject)),
        "{events:#?}"
    );
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_id_stands_for_one_content() {
    let fleet = Fleetlet::start(1).await;
    let first = json!({ "run_id": "r", "title": "one" });
    let (id, _) = fleet.ended_run(&first).await;
    let history = fleet.history(&id).await;
    // Spelt otherwise, and with what is the default: the same content.
    let again =
        json!({ "title": "one", "lane": "background", "input": { "runtime": {} }, "run_id": "r" });
    match fleet.submit(&again).await {
        Reply::Accepted { run_id, status, .. } => {
            assert_eq!((run_id, status), (id.clone(), Some(RunStatus::Succeeded)));
        }
        refused @ Reply::Refused { .. } => panic!("{refused:?}"),
    }
    let other = json!({ "run_id": "r", "title": "two" }).to_string();
    let (record, code, violations) = refused(&fleet, other.as_bytes()).await;
    assert_eq!(
        (code, pointers(&violations)),
        (ReasonCode::RunIdConflict, vec!["/run_id"])
    );
    let row = fleet.row(&record).await;
    assert_eq!(
        (row.status.as_str(), row.requested_run_id.as_deref()),
        ("rejected", Some("r"))
    );
    assert_eq!(fleet.history(&id).await, history, "nothing changed");
    // The same id in another workspace is another run.
    let umbrella = "umbrella".parse().unwrap();
    let elsewhere = fleet
        .fleet
        .submit(&umbrella, other.into_bytes(), Duration::from_secs(10))
        .await
        .unwrap();
    assert!(matches!(elsewhere, Reply::Accepted { .. }), "{elsewhere:?}");
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_ends_the_run_or_lets_it_go_on_as_it_asked() {
    let fleet = Fleetlet::start(1).await;
    let steps = |on_failure: &str| {
        json!([
            { "title": "broken", "tool_calls": [
                { "tool": "no.such.tool", "on_failure": on_failure },
                { "tool": " runtime.echo ", "input": { "delay_ms": "long" }, "on_failure": on_failure },
            ] },
            { "title": "sound", "tool_calls": [{ "tool": "runtime.noop" }] },
        ])
    };
    let submission = |id: &str, on_failure| json!({ "run_id": id, "input": { "runtime": { "steps": steps(on_failure) } } });
    let (id, status) = fleet.ended_run(&submission("stops", "fail")).await;
    assert_eq!(status, RunStatus::Failed);
    let error = fleet.row(&id).await.error.unwrap();
    assert_eq!(
        (&error["stage"], &error["reason_code"]),
        (&json!("registry"), &json!("tool_not_found"))
    );

    let (id, status) = fleet.ended_run(&submission("goes-on", "continue")).await;
    assert_eq!(status, RunStatus::Succeeded, "{}", fleet.told(&id).await);
    let row = fleet.row(&id).await;
    assert_eq!((row.succeeded_calls, row.failed_calls), (1, 2));
    let calls = fleet.call_rows(&id).await;
    let invalid = calls[1].error.as_ref().unwrap();
    assert_eq!(
        (&invalid["stage"], &invalid["reason_code"]),
        (&json!("input"), &json!("tool_input_invalid"))
    );
    assert_eq!(invalid["violations"][0]["pointer"], "/delay_ms");
    let of_broken = fleet.types(&id).await;
    assert_eq!(
        of_broken
            .iter()
            .filter(|kind| **kind == "tool.invoked")
            .count(),
        1,
        "{of_broken:?}"
    );
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn not_before_and_deadline_are_kept() {
    let fleet = Fleetlet::start(1).await;
    let now = || gatewright_bus::clock::now();
    let not_before: Timestamp = now().plus(Duration::from_secs(2));
    let later = fleet
        .accepted(&json!({ "run_id": "later", "not_before": not_before }))
        .await;
    let deadline = now().plus(Duration::from_secs(2));
    let mut slow = echo("slow", 30_000);
    slow["deadline"] = json!(deadline);
    let slow = fleet.accepted(&slow).await;
    let mut never = json!({ "run_id": "never", "deadline": deadline });
    never["input"] = json!({ "runtime": { "policy": { "zone": "supervised" } } });
    never["not_before"] = json!(now().plus(Duration::from_secs(1)));
    let in_time = fleet.accepted(&never).await;

    assert_eq!(fleet.row(&later).await.status, "queued");
    assert_eq!(fleet.ended(&later).await, RunStatus::Succeeded);
    let started = fleet
        .the_event(&later, EventType::RunStarted)
        .await
        .occurred_at;
    assert!(started >= not_before, "started at {started}");
    assert_eq!(fleet.ended(&in_time).await, RunStatus::Succeeded);
    assert_eq!(fleet.ended(&slow).await, RunStatus::Failed);
    let error = fleet.row(&slow).await.error.unwrap();
    assert_eq!(
        (&error["stage"], &error["reason_code"]),
        (&json!("lifecycle"), &json!("deadline_exceeded"))
    );
    // A deadline that has passed already fails the run before it does anything.
    let mut past = echo("past", 0);
    past["deadline"] = json!("2020-01-01T00:00:00Z");
    past["not_before"] = json!("2019-01-01T00:00:00Z");
    let past = fleet.accepted(&past).await;
    fleet.ended(&past).await;
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_cancelled_wherever_it_stands_and_can_be_retried() {
    let (fleet, upstream) = tokio::join!(Fleetlet::start(1), Upstream::start());
    let cancel = || Command::Cancel {
        reason: Some("enough".into()),
    };
    let cancelled = async |id: &RunId| {
        let reply = fleet.command_as("ann", id, cancel()).await;
        let status = match &reply {
            Reply::Accepted { status, .. } => *status,
            Reply::Refused { .. } => None,
        };
        assert_eq!(status, Some(RunStatus::Cancelled), "{reply:?}");
        let end = fleet.the_event(id, EventType::RunCancelled).await.data;
        assert_eq!(
            (&end["by"], &end["reason"]),
            (&json!("ann"), &json!("enough"))
        );
    };
    // Queued.
    let queued = fleet
        .accepted(&json!({ "run_id": "queued", "not_before": "2099-01-01T00:00:00Z" }))
        .await;
    cancelled(&queued).await;
    // In the middle of a call that would take a minute: the worker is free again at once.
    let running = fleet.accepted(&echo("running", 60_000)).await;
    fleet.sees(&running, EventType::ToolInvoked).await;
    cancelled(&running).await;
    let failed = fleet.the_event(&running, EventType::ToolFailed).await.data;
    assert_eq!(failed["error"]["reason_code"], "outcome_unknown");
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    eventually(
        "the worker lets go of it",
        Duration::from_secs(5),
        async || match outsider.count("QUEUE").await {
            0 => Ok(()),
            waiting => Err(format!("{waiting} wake-ups")),
        },
    )
    .await;
    // In the middle of a write: it is not repeated by the retry, which is another run with keys of its own.
    let write = json!({ "method": "POST", "target_url": upstream.url("/held/write") });
    let writing = fleet
        .accepted(
            &json!({ "run_id": "writing", "title": "report", "input": { "runtime": {
            "steps": [{ "tool_calls": [{ "tool": "egress.request", "input": write }] }] } } }),
        )
        .await;
    upstream.hears("/held/write").await;
    cancelled(&writing).await;
    // Ended: there is nothing to cancel.
    for id in ["writing", "no-such-run"] {
        let again = fleet.command(&run(id), cancel()).await;
        assert!(matches!(again, Reply::Refused { .. }), "{again:?}");
    }

    upstream.let_go("write");
    let retry = Command::Retry {
        new_run_id: Some(run("writing-2")),
    };
    let reply = fleet.command(&writing, retry.clone()).await;
    assert!(
        matches!(&reply, Reply::Accepted { run_id, .. } if run_id.as_str() == "writing-2"),
        "{reply:?}"
    );
    let again = fleet.command(&writing, retry).await;
    assert!(matches!(again, Reply::Accepted { .. }), "{again:?}");
    assert_eq!(fleet.ended(&run("writing-2")).await, RunStatus::Succeeded);
    let row = fleet.row(&run("writing-2")).await;
    assert_eq!(
        (row.retry_of.as_deref(), row.title.as_deref()),
        (Some("writing"), Some("report"))
    );
    let keys: Vec<_> = upstream
        .seen()
        .iter()
        .map(|r| r.idempotency_key().unwrap().to_owned())
        .collect();
    assert_eq!(keys, ["acme.writing.1.1", "acme.writing-2.1.1"]);
    let succeeded = fleet
        .command(&run("writing-2"), Command::Retry { new_run_id: None })
        .await;
    assert!(matches!(succeeded, Reply::Refused { .. }), "{succeeded:?}");
    fleet.audit().await;
}

/// Everything by plain NATS and plain JSON: what a program in any language does.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_in_another_language_submits_listens_and_commands() {
    let fleet = Fleetlet::start(1).await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let mut ends = outsider
        .subscribe("fleet.events.acme.*.*.*.succeeded")
        .await;

    // No header of ours, no run id: it is told by the events.
    outsider
        .publish("fleet.submit.acme", r#"{"correlation_id":"job-7"}"#)
        .await;
    let end = next(&mut ends).await;
    let commit: Value = serde_json::from_slice(&end.payload).unwrap();
    let last = commit["events"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["event_type"], &last["correlation_id"]),
        (&json!("run.completed"), &json!("job-7"))
    );
    // A core publish, without waiting for anything.
    outsider
        .client
        .publish("fleet.submit.acme", r#"{"run_id":"plain"}"#.into())
        .await
        .unwrap();
    assert!(
        next(&mut ends)
            .await
            .subject
            .starts_with("fleet.events.acme.plain.")
    );

    // Whoever wants an answer says where to.
    let mut answers = outsider.subscribe("_INBOX.outsider.answers").await;
    let mut headers = HeaderMap::new();
    headers.insert("Gatewright-Reply-To", "_INBOX.outsider.answers");
    let ask = async |subject: &str, message: &str| {
        outsider
            .publish_with(subject, headers.clone(), message)
            .await;
    };
    ask("fleet.submit.acme", &echo("slow", 60_000).to_string()).await;
    let answer: Value = serde_json::from_slice(&next(&mut answers).await.payload).unwrap();
    assert_eq!(
        answer,
        json!({ "answer": "accepted", "run_id": "slow", "status": "queued", "created": null })
    );
    fleet.sees(&run("slow"), EventType::ToolInvoked).await;
    ask(
        "fleet.command.acme.slow",
        r#"{"issued_by":"ops","command":{"type":"cancel"}}"#,
    )
    .await;
    let answer: Value = serde_json::from_slice(&next(&mut answers).await.payload).unwrap();
    assert_eq!(
        (&answer["answer"], &answer["status"]),
        (&json!("accepted"), &json!("cancelled"))
    );
    ask(
        "fleet.command.acme.slow",
        r#"{"issued_by":"ops","command":{"type":"explode"}}"#,
    )
    .await;
    let answer: Value = serde_json::from_slice(&next(&mut answers).await.payload).unwrap();
    assert_eq!(answer["answer"], "refused");
    assert_eq!(
        answer["violations"][0]["pointer"], "/command/type",
        "{answer}"
    );
    fleet.audit().await;
}

/// Interactive runs do not wait behind background ones: told by the order in which runs were started.
#[tokio::test(flavor = "multi_thread")]
async fn an_interactive_run_goes_before_background_ones_that_wait() {
    const BACKGROUND: usize = 60;
    let fleet = Fleetlet::start(0).await;
    let config = gatewright_worker::WorkerConfig {
        concurrency: 2,
        ..gatewright_worker::WorkerConfig::default()
    };
    fleet.start_worker_with("busy", config).await;
    // Both places are taken, and everything else queues up behind them.
    let holders = [echo("holder-0", 60_000), echo("holder-1", 60_000)];
    for holder in fleet.all_accepted(&holders).await {
        fleet.sees(&holder, EventType::ToolInvoked).await;
    }
    let background: Vec<Value> = (0..BACKGROUND)
        .map(|n| echo(&format!("b{n}"), 20))
        .collect();
    let background = fleet.all_accepted(&background).await;
    let mut submission = echo("urgent", 0);
    submission["lane"] = json!("interactive");
    let urgent = fleet.accepted(&submission).await;
    let cancel = Command::Cancel { reason: None };
    fleet.command(&run("holder-0"), cancel.clone()).await;

    let started = async |run: &RunId| fleet.history(run).await[1].sequence;
    for run in background.iter().chain([&urgent]) {
        assert_eq!(fleet.ended(run).await, RunStatus::Succeeded);
    }
    let went = started(&urgent).await;
    let mut before = 0;
    for run in &background {
        before += usize::from(started(run).await < went);
    }
    // Some may have been taken before the worker heard of the interactive one.
    assert!(
        before < BACKGROUND / 4,
        "{before} background runs went first"
    );
    fleet.command(&run("holder-1"), cancel).await;
    fleet.audit().await;
}

/// More than a dispatcher works on at once: when it stops, some of them are fetched and not begun.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dispatcher_that_stops_had_fetched_does_not_wait_for_its_lease() {
    const MANY: usize = 800;
    let fleet = Fleetlet::servers().await;
    let stopping = fleet.start_dispatcher("stopping").await;
    fleet.apply_policy(gatewright_tests::policy::OPEN).await;
    let submissions: Vec<Value> = (0..MANY).map(|n| echo(&format!("r{n}"), 0)).collect();
    // Each waits ten seconds for its answer, a lease lapses after thirty.
    let mut answers: FuturesUnordered<_> = submissions.iter().map(|s| fleet.accepted(s)).collect();
    answers.next().await.unwrap();
    let another = async {
        stopping.stop().await;
        fleet.start_dispatcher("another").await
    };
    let (answered, _) = tokio::join!(answers.count(), another);
    assert_eq!(answered, MANY - 1);
}
