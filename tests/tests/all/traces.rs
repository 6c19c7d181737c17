//! One run is one trace, from whoever submitted it to the read tables.

use std::{collections::HashSet, time::Duration};

use async_nats::HeaderMap;
use gatewright_schemas::{EventType, RunStatus};
use gatewright_tests::{
    Fleetlet,
    collector::{Collector, text},
    eventually,
    outside::Outsider,
    policy, run,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const SOON: Duration = Duration::from_secs(30);

/// Sends this process's spans to a collector of its own: a process has one for as long as it lives.
async fn collector() -> Collector {
    let collector = Collector::start().await;
    let variable = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" => Some(collector.endpoint.clone()),
        _ => None,
    };
    let settings = gatewright_traces::Settings::read(None, variable).unwrap();
    let exporting = gatewright_traces::start(&settings.unwrap(), "tests", "tests-1").unwrap();
    // To the end of the process.
    std::mem::forget(exporting);
    collector
}

fn hex(bytes: &[u8]) -> String {
    let digits =
        |byte: &u8| [byte >> 4, byte & 15].map(|four| char::from_digit(four.into(), 16).unwrap());
    bytes.iter().flat_map(digits).collect()
}

/// Waits until the collector has spans of all these names; answers with every span.
async fn told(collector: &Collector, names: &[&str]) -> Vec<Span> {
    eventually(&format!("{names:?}"), SOON, async || {
        let spans = collector.seen();
        let seen: HashSet<_> = spans.iter().map(|span| span.name.as_str()).collect();
        if names.iter().all(|name| seen.contains(name)) {
            Ok(spans)
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await
}

/// Every span is of this trace, and below another of it or below `PARENT`.
fn assert_is_one_trace(spans: &[Span]) {
    let ids: HashSet<_> = spans.iter().map(|span| span.span_id.clone()).collect();
    for span in spans {
        assert_eq!(hex(&span.trace_id), TRACE, "{span:?}");
        let is_below = ids.contains(&span.parent_span_id) || hex(&span.parent_span_id) == PARENT;
        assert!(is_below, "{} is below nothing: {span:?}", span.name);
    }
    let below_parent = spans
        .iter()
        .filter(|span| hex(&span.parent_span_id) == PARENT);
    let names: Vec<_> = below_parent.map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["process SUBMISSIONS"]);
}

/// A run that waits for an approval, submitted from within a trace.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_parked_is_one_trace_from_its_submitter_to_the_tables() {
    let collector = collector().await;
    let fleet = Fleetlet::start(1).await;
    fleet.apply_policy(&policy::echo_needs_approval()).await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let before = collector.seen().len();
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", format!("00-{TRACE}-{PARENT}-01"));
    let submission = json!({ "run_id": "traced", "input": { "runtime": { "steps": [
        { "tool_calls": [{ "tool": "runtime.echo", "input": { "password": "s3cr3t", "say": "t0ld" } }] } ] } } });
    outsider
        .publish_with("fleet.submit.acme", headers, submission.to_string())
        .await;
    let approval = eventually("the run is there", SOON, async || {
        let events = fleet.types(&run("traced")).await;
        events
            .contains(&"approval.requested")
            .then_some(())
            .ok_or(format!("{events:?}"))
    });
    approval.await;
    let approval_id = fleet.parked(&run("traced")).await;
    let yes = gatewright_schemas::Command::DecideApproval {
        approval_id,
        approve: true,
        reason: None,
        remember_s: None,
    };
    fleet.command_as("ann", &run("traced"), yes).await;
    assert_eq!(fleet.ended(&run("traced")).await, RunStatus::Succeeded);
    fleet.projected().await;

    let names = [
        "process SUBMISSIONS",
        "process QUEUE",
        "authorize_tool_call",
        "execute_tool runtime.echo",
        "append EVENTS",
        "process EVENTS",
    ];
    told(&collector, &names).await;
    // Spans come in batches, every five seconds. Those of the tables are the last.
    let commits = fleet.history(&run("traced")).await.len();
    let of_run = eventually("every commit is told as projected", SOON, async || {
        let mut spans = collector.seen().split_off(before);
        spans.retain(|span| hex(&span.trace_id) == TRACE);
        let projected = spans.iter().filter(|span| span.name == "process EVENTS");
        let projected = projected.count();
        (projected == commits)
            .then_some(spans)
            .ok_or(format!("{projected} of {commits}"))
    })
    .await;
    assert_is_one_trace(&of_run);
    let turns = of_run.iter().filter(|span| span.name == "process QUEUE");
    assert_eq!(turns.count(), 2, "before the approval and after it");
    for name in ["append EVENTS", "process EVENTS"] {
        let spans = of_run.iter().filter(|span| span.name == name);
        assert_eq!(spans.count(), commits, "{name}");
    }
    let decisions: Vec<_> = of_run
        .iter()
        .filter_map(|span| text(span, "gatewright.reason_code"))
        .collect();
    assert!(
        decisions.contains(&"tool_requires_approval"),
        "{decisions:?}"
    );
    let all = format!("{of_run:?}");
    for never in ["s3cr3t", "t0ld"] {
        assert!(!all.contains(never), "{all}");
    }
    let created = fleet.the_event(&run("traced"), EventType::RunCreated).await;
    assert_eq!(
        created.data["trace"]["traceparent"],
        format!("00-{TRACE}-{PARENT}-01")
    );
    fleet.audit().await;
}

/// What cannot be read is no trace context, and stops nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_trace_context_that_is_none_is_left_out_and_every_message_of_a_run_says_where_it_belongs()
{
    let fleet = Fleetlet::start(1).await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    for (n, garbage) in ["", "00", "ff-00-00-00", "00-0000-00-01\u{7f}"]
        .into_iter()
        .enumerate()
    {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", garbage);
        let id = format!("r{n}");
        let submission = json!({ "run_id": id }).to_string();
        outsider
            .publish_with("fleet.submit.acme", headers, submission)
            .await;
        eventually("it has ended", SOON, async || {
            let types = fleet.types(&run(&id)).await;
            types
                .contains(&"run.completed")
                .then_some(())
                .ok_or(format!("{types:?}"))
        })
        .await;
        let created = fleet.the_event(&run(&id), EventType::RunCreated).await;
        assert!(created.data.get("trace").is_none(), "{created:?}");
        let traces: HashSet<_> = fleet
            .history(&run(&id))
            .await
            .iter()
            .map(|stored| hex(&stored.trace.unwrap().trace_id()))
            .collect();
        assert_eq!(traces.len(), 1, "{id}: {traces:?}");
    }
    fleet.audit().await;
}

/// Nobody listens where spans are sent: they are lost, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_stops_no_run() {
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/v1/traces", away.local_addr().unwrap());
    drop(away);
    let variable =
        |name: &str| (name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").then(|| endpoint.clone());
    let settings = gatewright_traces::Settings::read(None, variable).unwrap();
    let exporting = gatewright_traces::start(&settings.unwrap(), "tests", "tests-1").unwrap();
    let fleet = Fleetlet::start(1).await;
    for n in 0..20 {
        let (id, status) = fleet.ended_run(&json!({ "run_id": format!("r{n}") })).await;
        assert_eq!(status, RunStatus::Succeeded, "{}", fleet.told(&id).await);
    }
    let ending = exporting.finish(Duration::from_secs(2));
    tokio::time::timeout(SOON, ending).await.unwrap();
    fleet.audit().await;
}
