//! Approvals, end to end: who may decide, for how long, what is bound, what is remembered, and that nothing is spent twice.

use std::{sync::Arc, time::Duration};

use gatewright_policy::Permit;
use gatewright_schemas::{
    ApprovalId, Command, Effect, EventType, ReasonCode, Reply, RunId, RunStatus, Wake,
};
use gatewright_tests::{Fleetlet, audit::Audit, eventually, policy, run, upstream::Upstream};
use gatewright_worker::{
    WorkerConfig,
    tool::{BoxFuture, Call, Definition, Execution, Registry, Tool},
};
use serde_json::{Value, json};

/// [`policy::OPEN`] with every request to the outside waiting for an approval that is given by `rules`.
fn requests_wait(rules: &str) -> String {
    policy::open_with(&format!(
        "require_approval = [\"egress.request\", \"runtime.echo\"]\n\n[approvals]\n{rules}\n"
    ))
}

/// A run that writes to `url`, on the authority that `context` states.
fn writing(id: &str, url: &str, context: &Value) -> Value {
    json!({ "run_id": id, "input": { "runtime": {
        "policy": context,
        "steps": [{ "tool_calls": [
            { "tool": "egress.request", "input": { "target_url": url, "method": "POST" } } ] }],
    } } })
}

fn decide(approval_id: &ApprovalId, approve: bool) -> Command {
    Command::DecideApproval {
        approval_id: approval_id.clone(),
        approve,
        reason: None,
        remember_s: None,
    }
}

fn yes_for(approval_id: &ApprovalId, seconds: u64) -> Command {
    Command::DecideApproval {
        approval_id: approval_id.clone(),
        approve: true,
        reason: None,
        remember_s: Some(seconds),
    }
}

#[track_caller]
fn assert_accepted(reply: &Reply) {
    assert!(matches!(reply, Reply::Accepted { .. }), "{reply:?}");
}

#[track_caller]
fn assert_refused(reply: &Reply, code: impl Into<Option<ReasonCode>>) {
    let Reply::Refused { reason_code, .. } = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(*reason_code, code.into(), "{reply:?}");
}

async fn code_of(fleet: &Fleetlet, id: &RunId) -> String {
    let error = fleet.row(id).await.error.unwrap();
    error["reason_code"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_who_did_not_ask_must_approve_where_the_policy_says_so() {
    let (fleet, upstream) = tokio::join!(Fleetlet::start(2), Upstream::start());
    fleet.apply_policy(&requests_wait("approvers = 2")).await;
    fleet.register("agent-1").await;
    let context = json!({
        "principal_id": "agent-1", "actor_type": "agent", "actor_id": "agent-1",
    });
    let id = fleet
        .accepted(&writing("two", &upstream.url("/two"), &context))
        .await;
    let approval = fleet.parked(&id).await;
    let asked = fleet
        .the_event(&id, EventType::ApprovalRequested)
        .await
        .data;
    assert_eq!(asked["approvers"], 2);
    assert_eq!(asked["asked_by"]["actor_id"], "agent-1");
    assert_eq!(asked["hosts"], json!(["127.0.0.1"]));

    let own = fleet
        .command_as("Agent-1", &id, decide(&approval, true))
        .await;
    assert_refused(&own, ReasonCode::ApproverNotAllowed);
    let first = fleet.command_as("ann", &id, decide(&approval, true)).await;
    assert!(
        matches!(
            first,
            Reply::Accepted {
                status: Some(RunStatus::WaitingApproval),
                ..
            }
        ),
        "{first:?}"
    );
    let again = fleet.command_as("ann", &id, decide(&approval, true)).await;
    assert_refused(&again, ReasonCode::ApproverNotAllowed);
    assert_eq!(upstream.seen().len(), 0, "one yes is not enough");
    assert_accepted(&fleet.command_as("ben", &id, decide(&approval, true)).await);
    assert_eq!(fleet.ended(&id).await, RunStatus::Succeeded);
    assert_eq!(upstream.seen().len(), 1);

    fleet.projected().await;
    let row = gatewright_store::approval::show(&fleet.store, &fleet.acme, &id, &approval)
        .await
        .unwrap()
        .unwrap();
    let voters: Vec<&str> = row.votes.as_array().unwrap().iter().map(by).collect();
    assert_eq!((row.approvers, voters), (2, vec!["ann", "ben"]));
    fleet.audit().await;
}

fn by(vote: &Value) -> &str {
    vote["by"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_lapses_although_no_process_was_up_when_its_time_came() {
    let fleet = Fleetlet::servers().await;
    let dispatcher = fleet.start_dispatcher("dispatcher-1").await;
    fleet.start_projector("projector-1").await;
    fleet.start_worker("worker-1").await;
    fleet.apply_policy(&requests_wait("ttl = \"3s\"")).await;
    let echo = |id: &str| {
        json!({ "run_id": id, "input": { "runtime": { "steps": [
            { "tool_calls": [{ "tool": "runtime.echo", "input": {} }] } ] } } })
    };
    let id = fleet.accepted(&echo("lapses")).await;
    let approval = fleet.parked(&id).await;
    // The timer is the server's once the dispatcher has seen the run park.
    let timer = format!("fleet.timer.acme.{id}.approval-a1");
    let outsider = gatewright_tests::outside::Outsider::connect(&fleet.nats.url()).await;
    let holds = async |subject: &str| {
        let is_there = outsider.holds("SUBMISSIONS", subject).await;
        is_there
            .then_some(())
            .ok_or_else(|| format!("no message of {subject}"))
    };
    let soon = Duration::from_secs(20);
    eventually("the server keeps the timer", soon, async || {
        holds(&timer).await
    })
    .await;
    dispatcher.stop().await;
    let command = format!("fleet.command.acme.{id}");
    eventually("the server gives the command", soon, async || {
        holds(&command).await
    })
    .await;
    fleet.start_dispatcher("dispatcher-2").await;
    assert_eq!(fleet.ended(&id).await, RunStatus::Failed);
    assert_eq!(code_of(&fleet, &id).await, "approval_expired");
    fleet.the_event(&id, EventType::ApprovalExpired).await;
    let late = fleet.command_as("ann", &id, decide(&approval, true)).await;
    assert_refused(&late, ReasonCode::ApprovalExpired);
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_does_the_one_right_thing_whenever_it_comes() {
    let fleet = Fleetlet::servers().await;
    for name in ["dispatcher-1", "dispatcher-2"] {
        fleet.start_dispatcher(name).await;
    }
    fleet.start_projector("projector-1").await;
    fleet.apply_policy(&requests_wait("")).await;
    let upstream = Upstream::start().await;
    let id = fleet
        .accepted(&writing("early", &upstream.url("/early"), &json!(null)))
        .await;
    // Before the run has parked: no worker is there yet.
    let approval: ApprovalId = "acme.early.1.1.a1".parse().unwrap();
    let early = fleet.command_as("ann", &id, decide(&approval, true)).await;
    assert_refused(&early, ReasonCode::ApprovalNotFound);
    fleet.start_worker("worker-1").await;
    fleet.start_worker("worker-2").await;
    assert_eq!(fleet.parked(&id).await, approval);

    // At once, by many, on two dispatchers: one decision is recorded, and the other way round is refused.
    let votes = (0..20).map(|n| {
        let (fleet, id, approval) = (&fleet, &id, &approval);
        async move {
            let who = format!("approver-{n}");
            fleet
                .command_as(&who, id, decide(approval, n % 2 == 0))
                .await
        }
    });
    let replies = futures::future::join_all(votes).await;
    let ended = fleet.ended(&id).await;
    let decided = fleet.the_event(&id, EventType::ApprovalDecided).await.data;
    let approved = decided["approved"].as_bool().unwrap();
    for (n, reply) in replies.iter().enumerate() {
        let accepted = matches!(reply, Reply::Accepted { .. });
        assert_eq!(accepted, (n % 2 == 0) == approved, "{n}: {reply:?}");
    }
    let wanted = if approved {
        RunStatus::Succeeded
    } else {
        RunStatus::Failed
    };
    assert_eq!(ended, wanted);
    assert_eq!(upstream.seen().len(), usize::from(approved));

    // For a finished run: the same again changes nothing, the contrary is refused.
    let types = fleet.types(&id).await;
    assert_accepted(
        &fleet
            .command_as("zoe", &id, decide(&approval, approved))
            .await,
    );
    let contrary = fleet
        .command_as("zoe", &id, decide(&approval, !approved))
        .await;
    let code = if approved {
        ReasonCode::ApprovalAlreadyUsed
    } else {
        ReasonCode::ApprovalDenied
    };
    assert_refused(&contrary, code);
    assert_eq!(fleet.types(&id).await, types);
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_workers_that_are_woken_for_one_approval_spend_it_once() {
    let (fleet, upstream) = tokio::join!(Fleetlet::start(4), Upstream::start());
    fleet.apply_policy(&requests_wait("")).await;
    let mender = fleet.mender().await;
    for n in 0..10 {
        let path = format!("/race-{n}");
        let id = fleet
            .accepted(&writing(
                &format!("race-{n}"),
                &upstream.url(&path),
                &json!(null),
            ))
            .await;
        let approval = fleet.parked(&id).await;
        assert_accepted(&fleet.command_as("ann", &id, decide(&approval, true)).await);
        // Whoever wakes the run says what it saw; a wake-up more of the same view is what a race is made of.
        let history = fleet.history(&id).await;
        let seen = history.iter().find(|stored| {
            let events = &stored.commit.events;
            events
                .iter()
                .any(|e| e.event_type == EventType::ApprovalDecided)
        });
        let wake = Wake {
            workspace_id: fleet.acme.clone(),
            run_id: id.clone(),
            seen: seen.unwrap().sequence,
            hint: None,
        };
        let more = (0..4).map(|k| {
            let (fleet, wake) = (&mender, &wake);
            async move {
                let reason = format!("again-{k}");
                fleet
                    .wake(
                        gatewright_schemas::Zone::Sandbox,
                        gatewright_schemas::Lane::Background,
                        wake,
                        &reason,
                    )
                    .await;
            }
        });
        futures::future::join_all(more).await;
        assert_eq!(fleet.ended(&id).await, RunStatus::Succeeded);
        fleet.the_event(&id, EventType::ToolInvoked).await;
        assert_eq!(upstream.seen_at(&path).len(), 1, "spent once");
    }
    fleet.audit().await;
}

/// A tool whose definition can be another one tomorrow.
struct Pay(Definition);

impl Pay {
    fn alone(description: &str) -> Registry {
        let mut definition = Definition::new("test.pay", description, json!({ "type": "object" }));
        definition.effect = Effect::Write;
        definition.idempotent = false;
        Registry::new(vec![Arc::new(Self(definition))]).unwrap()
    }
}

impl Tool for Pay {
    fn definition(&self) -> &Definition {
        &self.0
    }

    fn execute<'a>(&'a self, permit: Permit, call: &'a Call<'_>) -> BoxFuture<'a, Execution> {
        Box::pin(async move {
            if let Err(refused) = call.accept(&permit, &self.0) {
                return Execution::quiet(Err(refused));
            }
            Execution::quiet(Ok(json!("paid")))
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_holds_for_the_tool_that_was_shown_and_the_policy_that_is_active() {
    let fleet = Fleetlet::start(0).await;
    let rules = |more: &str| {
        format!(
            "default = \"deny\"\nauto_allow = [\"test.pay\"]\nrequire_approval = [\"test.pay\"]\n{more}"
        )
    };
    fleet.apply_policy(&rules("")).await;
    let paying = |id: &str| {
        json!({ "run_id": id, "input": { "runtime": { "steps": [
            { "tool_calls": [{ "tool": "test.pay", "input": { "to": "bob" } }] } ] } } })
    };
    let worker = |name: &'static str, description: &'static str| {
        let registry = Pay::alone(description);
        fleet.start_worker_of(name, registry, WorkerConfig::default())
    };
    let first = worker("worker-1", "pays one coin").await;
    let mut approvals = Vec::new();
    for name in ["changed", "unrelated", "forbidden"] {
        let id = fleet.accepted(&paying(name)).await;
        approvals.push((fleet.parked(&id).await, id));
    }
    let [changed, unrelated, forbidden] = &approvals[..] else {
        unreachable!()
    };

    // A revision that has nothing to do with it.
    fleet
        .apply_policy(&rules("max_snapshot_age = \"20s\"\n"))
        .await;
    let (approval, id) = unrelated;
    assert_accepted(&fleet.command_as("ann", id, decide(approval, true)).await);
    assert_eq!(fleet.ended(id).await, RunStatus::Succeeded);
    let invoked = fleet.the_event(id, EventType::ToolInvoked).await.data;
    assert_eq!(invoked["decision"]["policy_revision"], 3);

    // Another definition under the same name.
    first.stop().await;
    let second = worker("worker-2", "pays a thousand coins").await;
    let (approval, id) = changed;
    assert_accepted(&fleet.command_as("ann", id, decide(approval, true)).await);
    assert_eq!(fleet.ended(id).await, RunStatus::Failed);
    assert_eq!(code_of(&fleet, id).await, "approval_input_mismatch");
    assert!(!fleet.types(id).await.contains(&"tool.invoked"));

    // The tool as it was, and a policy that denies it by now.
    second.stop().await;
    worker("worker-3", "pays one coin").await;
    fleet
        .apply_policy(&rules("kill_switches = { tools = [\"test.pay\"] }\n"))
        .await;
    let (approval, id) = forbidden;
    assert_accepted(&fleet.command_as("ann", id, decide(approval, true)).await);
    assert_eq!(fleet.ended(id).await, RunStatus::Failed);
    assert_eq!(code_of(&fleet, id).await, "kill_switch_active");
    assert!(!fleet.types(id).await.contains(&"tool.invoked"));
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_approval_covers_like_calls_until_it_is_revoked() {
    let (fleet, upstream) = tokio::join!(Fleetlet::start(2), Upstream::start());
    fleet
        .apply_policy(&requests_wait("max_remember = \"1h\""))
        .await;
    fleet.register("agent-1").await;
    let on_behalf = json!({ "principal_id": "agent-1" });
    let write = |id: &str, context: &Value| writing(id, &upstream.url(&format!("/{id}")), context);

    let id = fleet.accepted(&write("first", &on_behalf)).await;
    let approval = fleet.parked(&id).await;
    let too_long = fleet.command_as("ann", &id, yes_for(&approval, 7200)).await;
    assert_refused(&too_long, None);
    assert_accepted(&fleet.command_as("ann", &id, yes_for(&approval, 3600)).await);
    assert_eq!(fleet.ended(&id).await, RunStatus::Succeeded);

    let remembered = eventually("it is listed", Duration::from_secs(10), async || {
        let list = gatewright_store::remembered_approval::list(&fleet.store, &fleet.acme, "", 10);
        let found = list.await.map_err(|error| error.to_string())?;
        found.into_iter().next().ok_or_else(|| "empty".to_owned())
    })
    .await;
    assert_eq!(remembered.hosts, json!(["127.0.0.1"]));
    assert_eq!(remembered.approved_by, json!(["ann"]));
    assert_eq!(remembered.principal_id, "agent-1");

    // Like calls: the same principal, tool and host.
    let (second, ended) = fleet.ended_run(&write("second", &on_behalf)).await;
    assert_eq!(ended, RunStatus::Succeeded);
    let invoked = fleet.the_event(&second, EventType::ToolInvoked).await.data;
    assert_eq!(invoked["decision"]["reason_code"], "approval_remembered");
    assert_eq!(invoked["approval_id"], json!(null), "no approval is spent");

    // Somebody else's call is asked about.
    let other = fleet.accepted(&write("other", &json!(null))).await;
    let waiting = fleet.parked(&other).await;
    assert_accepted(
        &fleet
            .command_as("ann", &other, decide(&waiting, false))
            .await,
    );

    let forget = Command::ForgetApproval {
        remembered_id: remembered.remembered_id.parse().unwrap(),
        reason: Some("enough".into()),
    };
    fleet.authority(&fleet.acme, forget).await;
    let third = eventually(
        "calls are asked about again",
        Duration::from_secs(10),
        async || {
            let n = fleet.fleet.stream_identity().await.unwrap().last_sequence;
            let id = fleet
                .accepted(&write(&format!("third-{n}"), &on_behalf))
                .await;
            let status = fleet
                .stands(&id, |s| s.is_terminal() || s.is_parked())
                .await;
            match status {
                RunStatus::WaitingApproval => Ok(id),
                other => Err(format!("{other}")),
            }
        },
    )
    .await;
    Audit::default().but_open(&third).check(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_of_a_call_that_names_no_host_is_remembered_for_the_same_input_alone() {
    let fleet = Fleetlet::start(1).await;
    fleet
        .apply_policy(&requests_wait("max_remember = \"1h\""))
        .await;
    let echo = |id: &str, say: &str| {
        json!({ "run_id": id, "input": { "runtime": {
            "policy": { "principal_id": "p1" },
            "steps": [ { "tool_calls": [{ "tool": "runtime.echo", "input": { "say": say } }] } ] } } })
    };
    let id = fleet.accepted(&echo("ls", "ls")).await;
    let approval = fleet.parked(&id).await;
    assert_accepted(&fleet.command_as("ann", &id, yes_for(&approval, 60)).await);
    assert_eq!(fleet.ended(&id).await, RunStatus::Succeeded);
    let (_, same) = fleet.ended_run(&echo("ls-again", "ls")).await;
    assert_eq!(same, RunStatus::Succeeded);
    let id = run("rm");
    fleet.accepted(&echo("rm", "rm -rf /")).await;
    fleet.parked(&id).await;
    Audit::default().but_open(&id).check(&fleet).await;
}
