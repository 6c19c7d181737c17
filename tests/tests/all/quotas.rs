//! Limits that are counted across the fleet: held on every worker, whatever crashes.

use std::{collections::BTreeSet, time::Duration};

use gatewright_bus::{
    clock,
    quota::{Counter, Ledger, max_chunk},
};
use gatewright_policy::{Quota, QuotaWindow};
use gatewright_schemas::{Command, EventType, RunId, RunStatus};
use gatewright_tests::{
    Fleetlet, eventually,
    outside::Outsider,
    policy,
    role::{Role, RoleOptions},
    run,
    upstream::Upstream,
};
use serde_json::{Value, json};

use crate::{FLEET_ROLE, crashes::fleet_without_workers};

const ECHO: &str = "tool.runtime.echo";

fn echo(id: &str) -> Value {
    json!({ "run_id": id, "input": { "runtime": { "steps": [{ "tool_calls": [
        { "tool": "runtime.echo", "input": { "say": id } }] }] } } })
}

fn request(id: &str, url: &str, principal: Option<&str>) -> Value {
    json!({ "run_id": id, "input": { "runtime": {
        "policy": { "principal_id": principal },
        "steps": [{ "tool_calls": [{ "tool": "egress.request", "input": { "target_url": url } }] }],
    } } })
}

/// A fleet under a policy with these limits, which its workers know from their start on.
async fn limited(limits: &str, workers: usize) -> Fleetlet {
    let fleet = Fleetlet::start(0).await;
    fleet
        .apply_policy(&policy::open_with(&format!("[limits]\n{limits}\n")))
        .await;
    for n in 1..=workers {
        fleet.start_worker(&format!("worker-{n}")).await;
    }
    fleet
}

/// No window ends while a test counts.
async fn within_one_hour() {
    const TEST: Duration = Duration::from_secs(90);
    let now = clock::now();
    let left = QuotaWindow::Hour.resets_at(now).since(now);
    if left < TEST {
        tokio::time::sleep(left).await;
    }
}

async fn ledger(fleet: &Fleetlet, name: &str, window: QuotaWindow) -> Option<Ledger> {
    let quota = Quota {
        name: name.into(),
        limit: 0,
        window,
    };
    let counter = Counter::of(&quota, clock::now());
    fleet.fleet.quota(&counter).await.unwrap()
}

async fn leased(fleet: &Fleetlet, name: &str, window: QuotaWindow) -> u64 {
    let ledger = ledger(fleet, name, window).await;
    ledger.map_or(0, |ledger| ledger.leased)
}

/// The error that a run failed with, as the table has it.
async fn error_of(fleet: &Fleetlet, id: &RunId) -> Value {
    fleet.row(id).await.error.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_beyond_its_tools_daily_limit_is_denied_and_says_when_there_is_more() {
    within_one_hour().await;
    let fleet = limited("each_tool_daily = 3", 2).await;
    let began = clock::now();
    let mut statuses = Vec::new();
    for n in 0..5 {
        statuses.push(fleet.ended_run(&echo(&format!("r{n}"))).await.1);
    }
    let (made, denied) = (RunStatus::Succeeded, RunStatus::Failed);
    assert_eq!(statuses, [made, made, made, denied, denied]);

    let id = run("r4");
    let types = fleet.types(&id).await;
    assert_eq!(
        types[types.len() - 5..],
        [
            "quota.exceeded",
            "policy.denied",
            "tool.failed",
            "step.completed",
            "run.failed"
        ]
    );
    let resets_at = QuotaWindow::Day.resets_at(began).to_string();
    let exceeded = fleet.the_event(&id, EventType::QuotaExceeded).await.data;
    assert_eq!(
        exceeded,
        json!({ "tool_call_id": "acme.r4.1.1", "quota": ECHO, "limit": 3, "resets_at": resets_at })
    );
    let error = error_of(&fleet, &id).await;
    assert_eq!(
        (&error["stage"], &error["reason_code"]),
        (&json!("tool_policy"), &json!("tool_quota_exceeded"))
    );
    let reason = error["reason"].as_str().unwrap();
    assert!(
        reason.contains(&resets_at) && reason.contains("day (UTC)"),
        "{reason}"
    );

    let stored = gatewright_store::event::of_run(&fleet.store, &fleet.acme, &id, 0, 100).await;
    let stored = stored.unwrap();
    let of_type = |wanted| stored.iter().any(|s| s.event.event_type == wanted);
    assert!(of_type(EventType::QuotaExceeded) && of_type(EventType::PolicyDenied));
    let decisions = gatewright_store::decision::of_run(&fleet.store, &fleet.acme, &id, 0, 9).await;
    let codes: Vec<String> = decisions
        .unwrap()
        .into_iter()
        .map(|d| d.reason_code)
        .collect();
    assert_eq!(codes, ["tool_quota_exceeded"]);
    // Other tools have limits of their own.
    let noop = fleet.ended_run(&json!({ "run_id": "other" })).await;
    assert_eq!(noop.1, RunStatus::Succeeded);
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_shadow_mode_a_limit_that_is_reached_is_recorded_and_the_call_is_made() {
    within_one_hour().await;
    let fleet = Fleetlet::start(0).await;
    let document = policy::open_with("[limits]\neach_tool_daily = 1\n");
    fleet
        .apply_policy(&document.replace("\"enforce\"", "\"shadow\""))
        .await;
    fleet.start_worker("worker-1").await;
    for id in ["first", "second"] {
        let (id, status) = fleet.ended_run(&echo(id)).await;
        assert_eq!(status, RunStatus::Succeeded, "{}", fleet.told(&id).await);
    }
    assert!(!fleet.types(&run("first")).await.contains(&"quota.exceeded"));
    let types = fleet.types(&run("second")).await;
    assert_eq!(
        types[3..6],
        ["quota.exceeded", "policy.denied", "tool.invoked"]
    );
    let denied = fleet
        .the_event(&run("second"), EventType::PolicyDenied)
        .await;
    assert_eq!(denied.data["decision"]["blocked"], false);
    assert_eq!(
        denied.data["decision"]["reason_code"],
        "tool_quota_exceeded"
    );
    assert_eq!(leased(&fleet, ECHO, QuotaWindow::Day).await, 1);
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_for_an_approval_consumes_when_it_is_made() {
    within_one_hour().await;
    let fleet = Fleetlet::start(0).await;
    let lines = "require_approval = [\"runtime.echo\"]\n\n[limits]\neach_tool_daily = 1\n";
    fleet.apply_policy(&policy::open_with(lines)).await;
    fleet.start_worker("worker-1").await;
    let mut ends = Vec::new();
    let runs = [
        fleet.accepted(&echo("one")).await,
        fleet.accepted(&echo("two")).await,
    ];
    let mut approvals = Vec::new();
    for id in &runs {
        approvals.push(fleet.parked(id).await);
    }
    assert_eq!(leased(&fleet, ECHO, QuotaWindow::Day).await, 0);
    for (id, approval_id) in runs.iter().zip(approvals) {
        let approve = Command::DecideApproval {
            approval_id,
            approve: true,
            reason: None,
            remember_s: None,
        };
        fleet.command_as("ann", id, approve).await;
        ends.push(fleet.ended(id).await);
    }
    assert_eq!(ends, [RunStatus::Succeeded, RunStatus::Failed]);
    let error = error_of(&fleet, &runs[1]).await;
    assert_eq!(error["reason_code"], "tool_quota_exceeded");
    assert!(!fleet.types(&runs[1]).await.contains(&"tool.invoked"));
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_repetition_of_a_call_consumes_like_a_call() {
    within_one_hour().await;
    let (fleet, upstream) = tokio::join!(limited("each_tool_daily = 2", 1), Upstream::start());
    let url = upstream.url("/status/503");
    let (id, status) = fleet.ended_run(&request("again", &url, None)).await;
    assert_eq!(status, RunStatus::Failed);
    assert_eq!(upstream.seen().len(), 2, "{}", fleet.told(&id).await);
    let failed = fleet.the_event(&id, EventType::ToolFailed).await.data;
    assert_eq!(failed["executions"], 2);
    assert_eq!(failed["error"]["reason_code"], "tool_quota_exceeded");
    fleet.the_event(&id, EventType::QuotaExceeded).await;
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principals_requests_to_the_outside_are_counted_by_the_hour_redirects_included() {
    within_one_hour().await;
    let (fleet, upstream) = tokio::join!(
        limited("egress_hourly_per_principal = 3", 2),
        Upstream::start()
    );
    for agent in ["agent-1", "agent-2"] {
        fleet.register(agent).await;
    }
    // Two hops, and one.
    let redirect = upstream.url(&format!("/redirect?{}", upstream.url("/to")));
    for (id, url) in [("a1", &redirect), ("a2", &upstream.url("/a2"))] {
        let (id, status) = fleet.ended_run(&request(id, url, Some("agent-1"))).await;
        assert_eq!(status, RunStatus::Succeeded, "{}", fleet.told(&id).await);
    }
    assert_eq!(upstream.seen().len(), 3);
    let (id, status) = fleet
        .ended_run(&request("a3", &upstream.url("/a3"), Some("agent-1")))
        .await;
    assert_eq!(status, RunStatus::Failed);
    let error = error_of(&fleet, &id).await;
    assert_eq!(
        (&error["stage"], &error["reason_code"]),
        (&json!("egress"), &json!("quota_exceeded"))
    );
    let exceeded = fleet.the_event(&id, EventType::QuotaExceeded).await.data;
    assert_eq!(exceeded["quota"], "egress.acme.agent-1");
    assert!(upstream.seen_at("/a3").is_empty());
    assert!(!fleet.types(&id).await.contains(&"tool.invoked"));

    // Another's are its own; of a redirect that is one too many, the first hop is made.
    for n in 0..2 {
        let (id, url) = (format!("b{n}"), upstream.url("/b"));
        let (_, status) = fleet.ended_run(&request(&id, &url, Some("agent-2"))).await;
        assert_eq!(status, RunStatus::Succeeded);
    }
    let beyond = upstream.url(&format!("/redirect?{}", upstream.url("/beyond")));
    let (id, status) = fleet
        .ended_run(&request("b2", &beyond, Some("agent-2")))
        .await;
    assert_eq!(status, RunStatus::Failed, "{}", fleet.told(&id).await);
    assert!(upstream.seen_at("/beyond").is_empty());
    assert_eq!(error_of(&fleet, &id).await["reason_code"], "quota_exceeded");
    let types = fleet.types(&id).await;
    let place = |wanted| types.iter().position(|t| *t == wanted).unwrap();
    assert!(place("quota.exceeded") < place("tool.failed"), "{types:?}");
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_lowered_holds_for_units_that_workers_hold() {
    within_one_hour().await;
    let fleet = limited("each_tool_daily = 1000", 2).await;
    for n in 0..6 {
        fleet.ended_run(&echo(&format!("before-{n}"))).await;
    }
    let lower = policy::open_with("[limits]\neach_tool_daily = 6\n");
    fleet.apply_policy(&lower).await;
    let revision = fleet.fleet.active_policy().await.unwrap().unwrap().revision;
    // What was asked under the old policy may still be made; the new one comes within a second.
    let mut n = 0;
    eventually(
        "the lower limit holds",
        Duration::from_secs(30),
        async || {
            n += 1;
            let (id, status) = fleet.ended_run(&echo(&format!("after-{n}"))).await;
            if status == RunStatus::Failed {
                return Ok(());
            }
            let invoked = fleet.the_event(&id, EventType::ToolInvoked).await.data;
            assert_ne!(
                invoked["decision"]["policy_revision"], revision,
                "{invoked}"
            );
            Err(fleet.told(&id).await)
        },
    )
    .await;
    fleet.audit().await;
}

/// The limit of the test below.
const LIMIT: u64 = 1_000;
/// Calls that a worker there makes at once.
const AT_ONCE: u64 = 8;

/// How many times the stream tells of an intent; no call is executed without one, or twice under one.
async fn invoked(fleet: &Fleetlet) -> (u64, BTreeSet<String>) {
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let stored = outsider.stored("EVENTS", "fleet.events.acme.>").await;
    let events = stored.iter().flat_map(|stored| {
        stored.body["events"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    });
    let (mut invoked, mut codes) = (0, BTreeSet::new());
    for event in events {
        match event["event_type"].as_str() {
            Some("tool.invoked") => invoked += 1,
            Some("tool.succeeded") => assert_eq!(event["data"]["executions"], 1),
            Some("tool.failed") => {
                codes.insert(event["data"]["error"]["reason_code"].to_string());
            }
            _ => {}
        }
    }
    (invoked, codes)
}

async fn hammer(fleet: &Fleetlet, name: &str, runs: usize) -> Vec<RunStatus> {
    let submissions: Vec<Value> = (0..runs).map(|n| echo(&format!("{name}-{n}"))).collect();
    let mut ids = Vec::new();
    for some in submissions.chunks(100) {
        ids.extend(fleet.all_accepted(some).await);
    }
    let mut ends = Vec::new();
    for id in ids {
        ends.push(fleet.ended(&id).await);
    }
    ends
}

/// Promise 9.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_a_thousand_holds_on_eight_workers_of_which_some_are_killed_all_the_time() {
    within_one_hour().await;
    let fleet = fleet_without_workers().await;
    let limits = format!("[limits]\ntools_daily = {{ \"runtime.echo\" = {LIMIT} }}\n");
    fleet.apply_policy(&policy::open_with(&limits)).await;
    let begin = |n: usize| {
        let at_once = AT_ONCE.to_string();
        RoleOptions::new(FLEET_ROLE, "worker", &format!("worker-{n}"), &fleet)
            .with("--concurrency", &at_once)
            .with("--max-crashes", "1000")
            .start()
    };
    let mut workers: Vec<Role> = futures::future::join_all((0..8).map(begin)).await;

    let killing = async {
        let mut killed = BTreeSet::new();
        for nth in 0..7_u64 {
            eventually(
                "the limit is consumed",
                Duration::from_mins(2),
                async || match leased(&fleet, ECHO, QuotaWindow::Day).await {
                    used if used > 100 * (nth + 1) => Ok(()),
                    used => Err(format!("{used}, {nth} killed")),
                },
            )
            .await;
            let dies = workers.remove(0);
            killed.insert(dies.name.clone());
            dies.kill().await;
            workers.push(begin(8 + usize::try_from(nth).unwrap()).await);
        }
        killed
    };
    let (killed, _) = tokio::join!(killing, hammer(&fleet, "storm", 1_150));

    // What the living have left is used, too, until nothing is.
    let mut round = 0;
    loop {
        eventually(
            "the living hold nothing",
            Duration::from_mins(1),
            async || {
                let ledger = ledger(&fleet, ECHO, QuotaWindow::Day).await.unwrap();
                if ledger
                    .leases
                    .iter()
                    .all(|lease| killed.contains(lease.holder.as_str()))
                {
                    return Ok(());
                }
                Err(format!("{ledger:?}"))
            },
        )
        .await;
        round += 1;
        let ends = hammer(&fleet, &format!("rest-{round}"), 20).await;
        if ends.iter().all(|end| *end == RunStatus::Failed) {
            break;
        }
    }
    let (executions, codes) = invoked(&fleet).await;
    let ledger = ledger(&fleet, ECHO, QuotaWindow::Day).await.unwrap();
    let stranded = LIMIT.checked_sub(executions);
    println!(
        "{executions} of {LIMIT}; stranded: {stranded:?} by {} kills; {:?}",
        killed.len(),
        ledger.leases
    );
    let stranded = stranded.expect("the limit is not exceeded");
    assert_eq!(ledger.leased, LIMIT, "all is leased");
    // Of each that was killed: what it had leased and not used, and what it had reserved for calls whose intent was not stored yet.
    let most = u64::try_from(killed.len()).unwrap() * (max_chunk(LIMIT) + AT_ONCE);
    assert!(
        stranded <= most,
        "{stranded} of at most {most} are stranded"
    );
    assert_eq!(
        codes,
        BTreeSet::from(["\"tool_quota_exceeded\"".to_owned()])
    );
    fleet.audit().await;
}
