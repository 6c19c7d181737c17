//! Runs of outside agents, end to end over plain commands: one call at a time, through the same gate.

use std::time::Duration;

use gatewright_schemas::{Command, EventType, ReasonCode, Reply, RunId, RunStatus, Timestamp};
use gatewright_store::recorded;
use gatewright_tests::{Fleetlet, eventually, policy, upstream::Upstream};
use serde_json::{Value, json};

use crate::FLEET_ROLE;

const OPEN: Command = Command::OpenStep {
    title: None,
    request_key: None,
};

/// An agent and its run.
struct Agent<'a> {
    fleet: &'a Fleetlet,
    run: RunId,
}

impl<'a> Agent<'a> {
    async fn new(fleet: &'a Fleetlet, id: &str, policy: &Value) -> Self {
        let submission = json!({ "run_id": id, "input": { "runtime": {
            "actor": "external", "policy": policy } } });
        let reply = fleet.submit(&submission).await;
        let Reply::Accepted {
            run_id,
            status: Some(RunStatus::WaitingActor),
            ..
        } = reply
        else {
            panic!("{reply:?}");
        };
        Self { fleet, run: run_id }
    }

    async fn command(&self, command: Command) -> Reply {
        self.fleet.command_as("agent", &self.run, command).await
    }

    async fn open_step(&self) -> String {
        match self.command(OPEN).await {
            Reply::Accepted {
                created: Some(step),
                ..
            } => step,
            refused => panic!("{refused:?}"),
        }
    }

    async fn ask(&self, step: &str, tool: &str, input: Value, key: &str) -> Reply {
        self.command(Command::RequestToolCall {
            step_id: step.parse().unwrap(),
            tool: tool.into(),
            input,
            sandbox_permissions: None,
            policy: Value::Null,
            request_key: Some(key.into()),
        })
        .await
    }

    /// Asks for a call and waits until it is over; answers with the event of its end.
    async fn call(&self, step: &str, tool: &str, input: Value, key: &str) -> Value {
        let id = called(&self.ask(step, tool, input, key).await);
        self.fleet
            .stands(&self.run, |status| {
                matches!(status, RunStatus::WaitingActor) || status.is_terminal()
            })
            .await;
        let events = self.fleet.events(&self.run).await;
        let end = events.into_iter().find(|event| {
            let is_end = matches!(
                event.event_type,
                EventType::ToolSucceeded | EventType::ToolFailed
            );
            is_end && event.data["tool_call_id"] == id
        });
        end.unwrap().data
    }
}

#[track_caller]
fn called(reply: &Reply) -> String {
    match reply {
        Reply::Accepted {
            created: Some(id), ..
        } => id.clone(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_refused(reply: &Reply, code: ReasonCode) {
    assert!(
        matches!(reply, Reply::Refused { reason_code: Some(found), .. } if *found == code),
        "{reply:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_outside_asks_for_one_call_at_a_time_through_the_same_gate() {
    let (fleet, upstream) = tokio::join!(Fleetlet::start(2), Upstream::start());
    fleet
        .apply_policy(&policy::open_with(
            "require_approval = [\"egress.request\"]\n",
        ))
        .await;
    let agent = Agent::new(&fleet, "agent", &json!(null)).await;
    let step = agent.open_step().await;
    assert_eq!(step, "acme.agent.1");

    let said = agent
        .call(&step, "runtime.echo", json!({ "say": 1 }), "k1")
        .await;
    assert_eq!(said["output"], json!({ "say": 1 }));
    // In doubt, it asks again under the same key: there is one call.
    let again = agent
        .ask(&step, "runtime.echo", json!({ "say": 1 }), "k1")
        .await;
    assert_eq!(called(&again), "acme.agent.1.1");
    let other = agent
        .ask(&step, "runtime.echo", json!({ "say": 2 }), "k1")
        .await;
    assert_refused(&other, ReasonCode::RequestKeyConflict);

    let denied = agent.call(&step, "fs.format", json!({}), "k2").await;
    assert_eq!(denied["error"]["reason_code"], "tool_not_found");

    let write = json!({ "target_url": upstream.url("/order"), "method": "POST",
        "headers": { "Authorization": "Bearer s3cr3t" } });
    let asked = agent.ask(&step, "egress.request", write, "k3").await;
    let id = called(&asked);
    let approval = fleet.parked(&agent.run).await;
    let busy = agent.ask(&step, "runtime.echo", json!({}), "k4").await;
    assert_refused(&busy, ReasonCode::RunBusy);
    let yes = Command::DecideApproval {
        approval_id: approval,
        approve: true,
        reason: None,
        remember_s: None,
    };
    fleet.command_as("ann", &agent.run, yes).await;
    fleet
        .stands(&agent.run, |status| status == RunStatus::WaitingActor)
        .await;
    let seen = upstream.seen_at("/order");
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].idempotency_key(), Some(id.as_str()));
    assert_eq!(seen[0].headers["authorization"], "Bearer s3cr3t");
    let told = fleet.told(&agent.run).await;
    assert!(!told.contains("s3cr3t"), "{told}");
    assert_eq!(
        fleet.mender().await.kept_secrets().await.unwrap(),
        [],
        "forgotten"
    );

    let second = agent.open_step().await;
    assert_refused(
        &agent.ask(&step, "runtime.echo", json!({}), "k5").await,
        ReasonCode::StepNotOpen,
    );
    agent.call(&second, "runtime.noop", json!({}), "k6").await;
    let done = Command::CompleteRun {
        succeeded: true,
        reason: None,
    };
    for _ in 0..2 {
        let reply = agent.command(done.clone()).await;
        assert!(matches!(reply, Reply::Accepted { .. }), "{reply:?}");
    }
    assert_eq!(fleet.ended(&agent.run).await, RunStatus::Succeeded);
    let rows = fleet.call_rows(&agent.run).await;
    let statuses: Vec<&str> = rows.iter().map(|row| row.status.as_str()).collect();
    assert_eq!(statuses, ["succeeded", "failed", "succeeded", "succeeded"]);
    assert_eq!(fleet.row(&agent.run).await.status, "succeeded");
    fleet.audit().await;
}

/// A token may have been renewed until a call that was refused is asked for again, under the same key.
#[tokio::test(flavor = "multi_thread")]
async fn the_secrets_of_a_refused_call_are_forgotten_and_the_next_brings_its_own() {
    let (fleet, upstream) = tokio::join!(Fleetlet::start(1), Upstream::start());
    let document = policy::open_with("require_approval = [\"runtime.noop\"]\n");
    fleet.apply_policy(&document).await;
    let agent = Agent::new(&fleet, "renews", &json!(null)).await;
    let step = agent.open_step().await;
    let read = |token: &str| {
        json!({ "target_url": upstream.url("/read"),
            "headers": { "Authorization": format!("Bearer s3cr3t-{token}") } })
    };
    let mender = fleet.mender().await;
    let kept = async || mender.kept_secrets().await.unwrap();

    agent.ask(&step, "runtime.noop", json!({}), "busy").await;
    let approval_id = fleet.parked(&agent.run).await;
    let refused = agent.ask(&step, "egress.request", read("old"), "k").await;
    assert_refused(&refused, ReasonCode::RunBusy);
    assert_eq!(kept().await, [], "of a refused call");

    let yes = Command::DecideApproval {
        approval_id,
        approve: true,
        reason: None,
        remember_s: None,
    };
    fleet.command_as("ann", &agent.run, yes).await;
    fleet
        .stands(&agent.run, |status| status == RunStatus::WaitingActor)
        .await;
    agent.call(&step, "egress.request", read("new"), "k").await;
    let seen = upstream.seen_at("/read");
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].headers["authorization"], "Bearer s3cr3t-new");

    let unknown = json!({ "password": "s3cr3t-unused" });
    let denied = agent.call(&step, "fs.format", unknown, "denied").await;
    assert_eq!(denied["error"]["reason_code"], "tool_not_found");
    eventually("nothing is kept", Duration::from_secs(10), async || {
        let kept = kept().await;
        kept.is_empty().then_some(()).ok_or(format!("{kept:?}"))
    })
    .await;
    let told = fleet.told(&agent.run).await;
    assert!(!told.contains("s3cr3t"), "{told}");
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_call_survives_the_worker_that_takes_it() {
    let fleet = Fleetlet::start(0).await;
    let agent = Agent::new(&fleet, "survivor", &json!(null)).await;
    let step = agent.open_step().await;
    let victim = gatewright_tests::role::RoleOptions::new(FLEET_ROLE, "worker", "victim", &fleet)
        .start()
        .await;
    let slow = json!({ "delay_ms": 2_000 });
    called(&agent.ask(&step, "runtime.echo", slow, "slow").await);
    fleet.sees(&agent.run, EventType::ToolInvoked).await;
    victim.kill().await;
    fleet.start_worker("heir").await;
    fleet
        .stands(&agent.run, |status| status == RunStatus::WaitingActor)
        .await;
    fleet.the_event(&agent.run, EventType::ToolSucceeded).await;
    tokio::time::timeout(Duration::from_secs(10), async {
        let gave_up = Command::CompleteRun {
            succeeded: false,
            reason: Some("enough".into()),
        };
        agent.command(gave_up).await
    })
    .await
    .unwrap();
    assert_eq!(fleet.ended(&agent.run).await, RunStatus::Failed);
    let error = fleet.row(&agent.run).await.error.unwrap();
    assert_eq!(error["reason_code"], "actor_gave_up");
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_run_takes_no_calls_from_outside_and_an_external_one_has_no_plan() {
    let fleet = Fleetlet::start(1).await;
    let slow = json!({ "run_id": "planned", "input": { "runtime": { "steps": [
        { "tool_calls": [{ "tool": "runtime.echo", "input": { "delay_ms": 3_000 } }] } ] } } });
    let run = fleet.accepted(&slow).await;
    let reply = fleet.command(&run, OPEN).await;
    assert_refused(&reply, ReasonCode::RunNotExternal);
    let both = json!({ "input": { "runtime": { "actor": "external", "steps": [
        { "tool_calls": [{ "tool": "runtime.noop" }] } ] } } });
    assert_refused(&fleet.submit(&both).await, ReasonCode::SubmissionInvalid);
    fleet.ended(&run).await;
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_asked_for_again_under_its_key_is_opened_once() {
    let fleet = Fleetlet::start(0).await;
    fleet.start_dispatcher("dispatcher-2").await;
    let agent = Agent::new(&fleet, "agent", &json!(null)).await;
    let open = |key: &str, title: &str| {
        agent.command(Command::OpenStep {
            title: Some(title.into()),
            request_key: Some(key.into()),
        })
    };
    let (a, b, c) = tokio::join!(
        open("first", "look"),
        open("first", "look"),
        open("first", "look")
    );
    for reply in [a, b, c, open("first", "look").await] {
        assert_eq!(called(&reply), "acme.agent.1");
    }
    let other = open("first", "leap").await;
    assert_refused(&other, ReasonCode::RequestKeyConflict);
    assert_eq!(called(&open("second", "look").await), "acme.agent.2");
    let types = fleet.types(&agent.run).await;
    let opened = types.iter().filter(|name| **name == "step.created");
    assert_eq!(opened.count(), 2);
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_on_an_authority_of_its_own_is_recorded_under_that_authority() {
    let fleet = Fleetlet::start(1).await;
    fleet.register("p-run").await;
    fleet.register("p-call").await;
    let agent = Agent::new(&fleet, "agent", &json!({ "principal_id": "p-run" })).await;
    let step = agent.open_step().await;
    let reply = agent
        .command(Command::RequestToolCall {
            step_id: step.parse().unwrap(),
            tool: "runtime.noop".into(),
            input: json!({}),
            sandbox_permissions: None,
            policy: json!({ "principal_id": "p-call" }),
            request_key: None,
        })
        .await;
    called(&reply);
    fleet.sees(&agent.run, EventType::ToolSucceeded).await;
    fleet.projected().await;
    let since = Timestamp::from_micros(0);
    let decisions = recorded::page(&fleet.store, None, since, None, 10).await;
    let decisions = decisions.unwrap();
    let principals = decisions.iter().map(|d| d.principal_id.as_ref().unwrap());
    let principals: Vec<&str> = principals.map(AsRef::as_ref).collect();
    assert_eq!(principals, ["p-call"]);
}
