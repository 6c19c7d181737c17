//! The contract of TASK-217: the worker puts every tool call before the gate, and what the gate blocks does not happen.

use std::time::{Duration, Instant};

use gatewright_schemas::{
    Command, DataAccess, EventType, ReasonCode, Reply, RunId, RunStatus, Scopes,
    event::PolicyDecided,
};
use gatewright_tests::{
    Fleetlet, holds_for,
    outside::{Outsider, next},
    policy, run,
    upstream::Upstream,
};
use serde_json::{Value, json};

/// Everything, but for what a test narrows.
fn all() -> Scopes {
    let any = || vec!["*".to_owned()];
    Scopes {
        tools: any(),
        rooms: any(),
        action_types: any(),
        egress_domains: any(),
        data_access: DataAccess {
            read: any(),
            write: any(),
        },
    }
}

fn tools(names: &[&str]) -> Scopes {
    Scopes {
        tools: names.iter().map(ToString::to_string).collect(),
        ..all()
    }
}

/// A run of one noop under a policy context.
fn noop(id: &str, policy: &Value) -> Value {
    json!({ "run_id": id, "input": { "runtime": { "policy": policy } } })
}

/// A run that writes to `url`, in TASK-217's short form.
fn egress(id: &str, url: &str, policy: &Value) -> Value {
    json!({ "run_id": id, "input": { "runtime": {
        "policy": policy,
        "egress": { "target_url": url, "method": "POST", "action": "external.write", "context": { "why": "contract" } },
    } } })
}

/// Submits a run that must fail; answers with the stage and reason code that are on the stream and in both tables.
async fn fails(fleet: &Fleetlet, submission: &Value) -> (RunId, String, String) {
    let (id, status) = fleet.ended_run(submission).await;
    assert_eq!(status, RunStatus::Failed, "{}", fleet.told(&id).await);
    let error = fleet.the_event(&id, EventType::RunFailed).await.data["error"].clone();
    let row = fleet.row(&id).await;
    assert_eq!(
        (row.status.as_str(), row.error.as_ref()),
        ("failed", Some(&error))
    );
    let calls = fleet.call_rows(&id).await;
    let last = calls.last().unwrap();
    assert_eq!(
        (last.status.as_str(), last.error.as_ref()),
        ("failed", Some(&error))
    );
    let word = |key: &str| error[key].as_str().unwrap().to_owned();
    (id, word("stage"), word("reason_code"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_capability_does_not_allow_the_runtime_tool_is_denied() {
    let fleet = Fleetlet::start(2).await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let mut denials = outsider.subscribe("fleet.events.*.*.*.deny.*").await;
    fleet.register("agent-1").await;
    fleet
        .grant("narrow", "agent-1", tools(&["runtime.echo"]))
        .await;

    let context =
        json!({ "principal_id": "agent-1", "capability_token_id": "narrow", "zone": "sandbox" });
    let (id, stage, code) = fails(&fleet, &noop("denied", &context)).await;
    assert_eq!(
        (stage.as_str(), code.as_str()),
        ("tool_policy", "capability_scope_tool_not_allowed")
    );

    // The subject alone tells a subscriber, and a consumer with that filter, of the denial.
    let heard = next(&mut denials).await;
    assert!(
        heard
            .subject
            .starts_with("fleet.events.acme.denied.worker-"),
        "{}",
        heard.subject
    );
    assert!(heard.subject.ends_with(".deny.failed"), "{}", heard.subject);
    let stored = outsider.stored("EVENTS", "fleet.events.*.*.*.deny.*").await;
    assert_eq!(stored.len(), 1, "{stored:#?}");
    let types: Vec<&Value> = stored[0].body["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["event_type"])
        .collect();
    assert_eq!(
        types,
        [
            "run.started",
            "step.created",
            "policy.denied",
            "tool.failed",
            "step.completed",
            "run.failed"
        ],
        "the denial and all its consequences are one commit"
    );

    // In the tables: the call, the run, and the event with its run and step.
    let row = fleet.row(&id).await;
    let error = row.error.unwrap();
    assert_eq!(error["blocked"], true);
    assert_eq!(error["enforcement_mode"], "enforce");
    assert_eq!(error["decision"], "deny");
    assert_eq!(error["tool_name"], "runtime.noop");
    let calls = fleet.call_rows(&id).await;
    assert_eq!((calls[0].invocations, calls[0].executions), (0, 0));
    let events = gatewright_store::event::of_run(&fleet.store, &fleet.acme, &id, 0, 100)
        .await
        .unwrap();
    let denied: Vec<_> = events
        .iter()
        .filter(|stored| stored.event.event_type == EventType::PolicyDenied)
        .collect();
    assert_eq!(denied.len(), 1);
    assert_eq!(denied[0].event.run_id, id);
    assert_eq!(
        denied[0]
            .event
            .step_id
            .as_ref()
            .map(gatewright_schemas::StepId::as_str),
        Some("acme.denied.1")
    );
    let told: PolicyDecided = serde_json::from_value(denied[0].event.data.clone()).unwrap();
    assert_eq!(told.capability_token_id.unwrap().as_str(), "narrow");
    assert!(
        events
            .iter()
            .all(|stored| stored.event.event_type != EventType::ToolInvoked)
    );
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_shadow_mode_the_same_denial_is_recorded_and_the_call_is_made() {
    let fleet = Fleetlet::start(1).await;
    fleet.apply_policy(&policy::shadow()).await;
    fleet.register("agent-1").await;
    fleet
        .grant("narrow", "agent-1", tools(&["runtime.echo"]))
        .await;
    let context = json!({ "principal_id": "agent-1", "capability_token_id": "narrow" });
    let (id, status) = fleet.ended_run(&noop("shadow", &context)).await;
    assert_eq!(status, RunStatus::Succeeded, "{}", fleet.told(&id).await);
    let denied = fleet.the_event(&id, EventType::PolicyDenied).await.data;
    assert_eq!(denied["decision"]["blocked"], false);
    assert_eq!(
        denied["decision"]["reason_code"],
        "capability_scope_tool_not_allowed"
    );
    let invoked = fleet.the_event(&id, EventType::ToolInvoked).await.data;
    assert_eq!(invoked["decision"]["enforcement_mode"], "shadow");
    assert_eq!(fleet.row(&id).await.denied_calls, 0, "nothing was stopped");
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_outside_the_tokens_domains_never_reaches_the_server() {
    let (fleet, upstream) = tokio::join!(Fleetlet::start(1), Upstream::start());
    fleet.register("agent-1").await;
    let domains = |names: &[&str]| Scopes {
        egress_domains: names.iter().map(ToString::to_string).collect(),
        ..all()
    };
    fleet
        .grant("elsewhere", "agent-1", domains(&["*.example.com"]))
        .await;
    fleet.grant("nowhere", "agent-1", domains(&[])).await;
    fleet
        .grant("here", "agent-1", domains(&["127.0.0.1"]))
        .await;
    let mut reads = all();
    reads.action_types = vec!["internal.read".into()];
    fleet.grant("reads", "agent-1", reads).await;
    let context = |token: &str| json!({ "principal_id": "agent-1", "capability_token_id": token });

    for (token, code) in [
        ("elsewhere", "capability_scope_egress_domain_not_allowed"),
        ("nowhere", "capability_scope_egress_domain_required"),
        ("reads", "capability_scope_action_not_allowed"),
    ] {
        let submission = egress(token, &upstream.url("/denied"), &context(token));
        let (id, stage, found) = fails(&fleet, &submission).await;
        // What the token's scopes say of hosts and actions is found when the gate is asked about the tool.
        assert_eq!((stage.as_str(), found.as_str()), ("tool_policy", code));
        assert!(!fleet.types(&id).await.contains(&"tool.invoked"));
    }
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());

    let submission = egress("inside", &upstream.url("/allowed"), &context("here"));
    let (id, status) = fleet.ended_run(&submission).await;
    assert_eq!(status, RunStatus::Succeeded, "{}", fleet.told(&id).await);
    let seen = upstream.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].method, "POST");
    assert_eq!(seen[0].idempotency_key(), Some("acme.inside.1.1"));
    let types = fleet.types(&id).await;
    for wanted in ["egress.requested", "egress.allowed"] {
        assert!(types.contains(&wanted), "{types:?}");
    }
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_context_a_run_runs_and_a_malformed_one_is_denied() {
    let fleet = Fleetlet::start(1).await;
    let nothing = [
        ("absent", json!({ "run_id": "absent" })),
        ("null", noop("null", &json!(null))),
        (
            "blank",
            noop(
                "blank",
                &json!({ "principal_id": " ", "capability_token_id": "", "zone": null }),
            ),
        ),
    ];
    for (id, submission) in nothing {
        let (_, status) = fleet.ended_run(&submission).await;
        assert_eq!(
            status,
            RunStatus::Succeeded,
            "{id}: {}",
            fleet.told(&run(id)).await
        );
        assert_eq!(fleet.row(&run(id)).await.zone, "sandbox");
    }
    let malformed = [
        ("list", json!([])),
        ("text", json!("sandbox")),
        ("number", json!({ "principal_id": 7 })),
        ("token", json!({ "capability_token_id": ["narrow"] })),
        ("zone", json!({ "zone": "moon" })),
        ("spelling", json!({ "zonne": "high_stakes" })),
        ("unsafe", json!({ "capability_token_id": "a.b>" })),
    ];
    for (id, context) in malformed {
        let (id, stage, code) = fails(&fleet, &noop(id, &context)).await;
        assert_eq!(
            (stage.as_str(), code.as_str()),
            ("tool_policy", "policy_context_invalid"),
            "{id}"
        );
        assert!(fleet.types(&id).await.contains(&"policy.denied"));
    }
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zone_principal_and_token_bind_a_run() {
    let fleet = Fleetlet::start(1).await;
    fleet
        .apply_policy(&policy::OPEN.replace(
            "[domains]",
            "[tokens]\nrequired_in_zones = [\"high_stakes\"]\n\n[kill_switches]\nzones = [\"supervised\"]\n\n[domains]",
        ))
        .await;
    for agent in ["agent-1", "agent-2"] {
        fleet.register(agent).await;
    }
    fleet.grant("mine", "agent-1", all()).await;
    let as_agent = |id: &str, token: Value| json!({ "principal_id": id, "capability_token_id": token, "actor_type": "agent", "actor_id": id });
    let refused = [
        (
            "no-token",
            json!({ "zone": "high_stakes" }),
            "capability_token_required",
        ),
        (
            "switched-off",
            json!({ "zone": "supervised" }),
            "kill_switch_active",
        ),
        (
            "unknown-token",
            json!({ "capability_token_id": "none" }),
            "capability_token_not_found",
        ),
        (
            "not-mine",
            as_agent("agent-2", json!("mine")),
            "capability_token_principal_mismatch",
        ),
        (
            "nobody",
            json!({ "actor_type": "agent", "actor_id": "agent-1" }),
            "agent_principal_required",
        ),
        (
            "stranger",
            as_agent("agent-9", json!(null)),
            "agent_principal_not_found",
        ),
    ];
    for (id, context, code) in refused {
        let (_, stage, found) = fails(&fleet, &noop(id, &context)).await;
        assert_eq!(
            (stage.as_str(), found.as_str()),
            ("tool_policy", code),
            "{id}"
        );
    }
    let mut high = as_agent("agent-1", json!("mine"));
    high["zone"] = json!("high_stakes");
    let (id, status) = fleet.ended_run(&noop("high", &high)).await;
    assert_eq!(status, RunStatus::Succeeded, "{}", fleet.told(&id).await);
    let woken = Outsider::connect(&fleet.nats.url()).await;
    assert_eq!(
        woken.count("QUEUE").await,
        0,
        "every wake-up was acknowledged"
    );
    fleet.audit().await;
}

/// Submits many runs, which go to whichever worker asks first: so many that they reach them all.
/// Answers with the workers that ended them, and how they ended.
async fn many(fleet: &Fleetlet, prefix: &str, context: &Value) -> (Vec<String>, Vec<RunStatus>) {
    let submissions: Vec<Value> = (0..60)
        .map(|n| noop(&format!("{prefix}-{n}"), context))
        .collect();
    let ids = fleet.all_accepted(&submissions).await;
    let (mut workers, mut statuses) = (Vec::new(), Vec::new());
    for id in &ids {
        statuses.push(fleet.ended(id).await);
        workers.push(fleet.history(id).await.last().unwrap().writer.to_string());
    }
    workers.sort();
    workers.dedup();
    (workers, statuses)
}

/// Promise 7: on every worker, within a second.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_or_quarantined_is_denied_on_every_worker_within_a_second() {
    let fleet = Fleetlet::start(3).await;
    fleet.register("agent-1").await;
    fleet.register("agent-2").await;
    fleet.grant("short-lived", "agent-1", all()).await;
    let with_token = json!({ "principal_id": "agent-1", "capability_token_id": "short-lived" });
    let as_agent =
        json!({ "principal_id": "agent-2", "actor_type": "agent", "actor_id": "agent-2" });
    for (prefix, context) in [("token", &with_token), ("agent", &as_agent)] {
        let (_, before) = many(&fleet, &format!("{prefix}-before"), context).await;
        assert!(
            before.iter().all(|s| *s == RunStatus::Succeeded),
            "{prefix}: {before:?}"
        );
    }
    let commands = [
        (
            "token",
            &with_token,
            Command::RevokeCapability {
                token_id: "short-lived".parse().unwrap(),
                reason: None,
            },
        ),
        (
            "agent",
            &as_agent,
            Command::QuarantinePrincipal {
                principal_id: "agent-2".parse().unwrap(),
                reason: "contract".into(),
            },
        ),
    ];
    for (prefix, context, command) in commands {
        let revoked = Instant::now();
        fleet.authority(&fleet.acme, command).await;
        tokio::time::sleep_until((revoked + Duration::from_secs(1)).into()).await;
        let (workers, after) = many(&fleet, &format!("{prefix}-after"), context).await;
        assert!(
            after.iter().all(|s| *s == RunStatus::Failed),
            "{prefix}: {after:?}"
        );
        assert_eq!(
            workers,
            ["worker-1", "worker-2", "worker-3"],
            "{prefix}: all were asked"
        );
    }
    let release = Command::ReleasePrincipal {
        principal_id: "agent-2".parse().unwrap(),
        reason: None,
    };
    fleet.authority(&fleet.acme, release).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (_, released) = many(&fleet, "released", &as_agent).await;
    assert!(
        released.iter().all(|s| *s == RunStatus::Succeeded),
        "{released:?}"
    );
    fleet.audit().await;
}

/// A run whose call waits for an approval.
fn echo(id: &str, more: &Value) -> Value {
    json!({ "run_id": id, "input": { "runtime": {
        "policy": more,
        "steps": [{ "tool_calls": [{ "tool": "runtime.echo", "input": { "say": id } }] }],
    } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_needs_approval_waits_for_it_and_is_made_once() {
    let fleet = Fleetlet::start(2).await;
    fleet.apply_policy(&policy::echo_needs_approval()).await;
    let approve = |approval_id| Command::DecideApproval {
        approval_id,
        approve: true,
        reason: None,
        remember_s: None,
    };

    let id = fleet.accepted(&echo("asks", &json!(null))).await;
    let approval = fleet.parked(&id).await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    assert_eq!(
        outsider.count("QUEUE").await,
        0,
        "a parked run holds no wake-up"
    );
    let row = fleet.row(&id).await;
    assert_eq!(row.status, "waiting_approval");
    assert_eq!(row.waiting_approval_id.as_deref(), Some(approval.as_str()));
    holds_for(
        "nothing happens while nobody decides",
        Duration::from_millis(300),
        async || {
            let types = fleet.types(&id).await;
            if types.contains(&"tool.invoked") {
                Err(format!("{types:?}"))
            } else {
                Ok(())
            }
        },
    )
    .await;

    let answers = tokio::join!(
        fleet.command_as("ann", &id, approve(approval.clone())),
        fleet.command_as("ben", &id, approve(approval.clone())),
    );
    let accepted = |reply: &Reply| matches!(reply, Reply::Accepted { .. });
    assert!(accepted(&answers.0) || accepted(&answers.1), "{answers:?}");
    assert_eq!(
        fleet.ended(&id).await,
        RunStatus::Succeeded,
        "{}",
        fleet.told(&id).await
    );
    let invoked = fleet.the_event(&id, EventType::ToolInvoked).await.data;
    assert_eq!(invoked["approval_id"], approval.as_str());
    assert_eq!(invoked["decision"]["reason_code"], "approval_allows_action");
    fleet.the_event(&id, EventType::ApprovalDecided).await;
    let before = fleet.types(&id).await;
    let again = fleet.command(&id, approve(approval.clone())).await;
    assert!(accepted(&again), "the same answer again: {again:?}");
    let deny = Command::DecideApproval {
        approval_id: approval,
        approve: false,
        reason: None,
        remember_s: None,
    };
    let other = fleet.command(&id, deny).await;
    assert!(
        matches!(
            other,
            Reply::Refused {
                reason_code: Some(ReasonCode::ApprovalAlreadyUsed),
                ..
            }
        ),
        "{other:?}"
    );
    assert_eq!(
        fleet.types(&id).await,
        before,
        "an ended run stays as it is"
    );

    let id = fleet.accepted(&echo("refused", &json!(null))).await;
    let approval = fleet.parked(&id).await;
    let deny = Command::DecideApproval {
        approval_id: approval,
        approve: false,
        reason: Some("no".into()),
        remember_s: None,
    };
    assert!(accepted(&fleet.command_as("ann", &id, deny).await));
    assert_eq!(fleet.ended(&id).await, RunStatus::Failed);
    let error = fleet.row(&id).await.error.unwrap();
    assert_eq!(
        (&error["stage"], &error["reason_code"]),
        (&json!("tool_policy"), &json!("approval_denied"))
    );
    assert!(!fleet.types(&id).await.contains(&"tool.invoked"));

    let (id, stage, code) =
        fails(&fleet, &echo("at-once", &json!({ "on_approval": "fail" }))).await;
    assert_eq!(
        (stage.as_str(), code.as_str()),
        ("tool_policy", "tool_requires_approval")
    );
    assert!(!fleet.types(&id).await.contains(&"approval.requested"));
    fleet.audit().await;
}

/// An approval settles what it was asked for; what changed since is asked anew.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_lifts_no_denial_that_came_after_it() {
    let fleet = Fleetlet::start(1).await;
    fleet.apply_policy(&policy::echo_needs_approval()).await;
    fleet.register("agent-1").await;
    fleet.grant("mine", "agent-1", all()).await;
    let context = json!({ "principal_id": "agent-1", "capability_token_id": "mine" });
    let id = fleet.accepted(&echo("late", &context)).await;
    let approval = fleet.parked(&id).await;
    let revoke = Command::RevokeCapability {
        token_id: "mine".parse().unwrap(),
        reason: None,
    };
    fleet.authority(&fleet.acme, revoke).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let approve = Command::DecideApproval {
        approval_id: approval,
        approve: true,
        reason: None,
        remember_s: None,
    };
    fleet.command_as("ann", &id, approve).await;
    assert_eq!(
        fleet.ended(&id).await,
        RunStatus::Failed,
        "{}",
        fleet.told(&id).await
    );
    let error = fleet.row(&id).await.error.unwrap();
    assert_eq!(error["reason_code"], "capability_token_revoked");
    assert!(!fleet.types(&id).await.contains(&"tool.invoked"));
    fleet.audit().await;
}
