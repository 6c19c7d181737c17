//! The contract of the tool runner: a call is allowed and made, or waits for an approval and is made once it has one;
//! and the ways in which it fails before any tool runs. The stream, the tables and the codes say the same.

use gatewright_schemas::{Command, Event, EventType, Reply, RunId, RunStatus};
use gatewright_store::decision;
use gatewright_tests::{Fleetlet, policy};
use serde_json::{Value, json};

/// A run of one call.
fn calls(id: &str, tool: &str, input: &Value) -> Value {
    json!({ "run_id": id, "input": { "runtime": { "steps": [
        { "title": "one", "tool_calls": [{ "tool": tool, "input": input }] }
    ] } } })
}

async fn decide(fleet: &Fleetlet, run: &RunId, approve: bool) -> Reply {
    let approval_id = fleet.parked(run).await;
    let command = Command::DecideApproval {
        approval_id,
        approve,
        reason: None,
        remember_s: None,
    };
    fleet.command_as("ann", run, command).await
}

/// What the gate answered, as the table has it: category, answer, reason, whether it stopped the call.
async fn answers(fleet: &Fleetlet, run: &RunId) -> Vec<(String, String, String, bool)> {
    fleet.projected().await;
    let rows = decision::of_run(&fleet.store, &fleet.acme, run, 0, 10).await;
    rows.unwrap()
        .into_iter()
        .map(|row| (row.category, row.decision, row.reason_code, row.blocked))
        .collect()
}

fn answer(decision: &str, code: &str, blocked: bool) -> (String, String, String, bool) {
    ("tool".into(), decision.into(), code.into(), blocked)
}

/// The data of the one event of this type.
fn data(events: &[Event], wanted: EventType) -> &Value {
    let mut found = events.iter().filter(|event| event.event_type == wanted);
    let (event, more) = (found.next().unwrap(), found.next());
    assert!(more.is_none(), "two of {wanted}");
    &event.data
}

/// A run that failed before any tool ran: the error on the stream is the one in both tables, and the call was never made.
async fn failed_unmade(fleet: &Fleetlet, run: &RunId, stage: &str, code: &str) -> Value {
    let events = fleet.events(run).await;
    let error = data(&events, EventType::RunFailed)["error"].clone();
    assert_eq!(
        (&error["stage"], &error["reason_code"]),
        (&json!(stage), &json!(code)),
        "{}",
        fleet.told(run).await
    );
    assert_eq!(data(&events, EventType::ToolFailed)["error"], error);
    let row = fleet.row(run).await;
    assert_eq!(row.status, "failed");
    assert_eq!(row.error.as_ref(), Some(&error));
    let calls = fleet.call_rows(run).await;
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].status, "failed");
    assert_eq!(calls[0].error.as_ref(), Some(&error));
    assert_eq!((calls[0].invocations, calls[0].executions), (0, 0));
    assert!(
        events
            .iter()
            .all(|event| event.event_type != EventType::ToolInvoked)
    );
    error
}

/// The first sequence: execute, validate, check, allowed, execute, output.
#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_call_is_made_and_answers() {
    let fleet = Fleetlet::start(1).await;
    let input = json!({ "say": "hello" });
    let (id, status) = fleet
        .ended_run(&calls("allowed", "runtime.echo", &input))
        .await;
    assert_eq!(status, RunStatus::Succeeded, "{}", fleet.told(&id).await);
    assert_eq!(
        fleet.types(&id).await,
        [
            "run.created",
            "run.started",
            "step.created",
            "tool.invoked",
            "tool.succeeded",
            "step.completed",
            "run.completed"
        ]
    );
    let events = fleet.events(&id).await;
    let invoked = data(&events, EventType::ToolInvoked);
    assert_eq!(invoked["input"], input);
    assert_eq!(invoked["approval_id"], Value::Null);
    // What the gate was asked is as usual, and costs next to nothing.
    assert_eq!(invoked["asked"], json!({}));
    for left_out in ["hosts", "action_type", "capability_token_id"] {
        assert!(invoked.get(left_out).is_none(), "{left_out}");
    }
    assert_eq!(data(&events, EventType::ToolSucceeded)["output"], input);
    let row = fleet.row(&id).await;
    assert_eq!((row.status.as_str(), row.error), ("succeeded", None));
    let call = fleet.call_rows(&id).await.remove(0);
    assert_eq!(
        (call.status.as_str(), call.invocations, call.executions),
        ("succeeded", 1, 1)
    );
    assert_eq!(
        answers(&fleet, &id).await,
        [answer("allow", "tool_auto_allowed", false)]
    );
    fleet.audit().await;
}

/// The second sequence: approval required, with its id; approved; tried again with it, and made.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_needs_approval_is_made_once_it_is_approved() {
    let fleet = Fleetlet::start(1).await;
    fleet.apply_policy(&policy::echo_needs_approval()).await;
    let input = json!({ "say": "hello" });
    let id = fleet.accepted(&calls("asks", "runtime.echo", &input)).await;
    let approval = fleet.parked(&id).await;
    let events = fleet.events(&id).await;
    let requested = data(&events, EventType::ApprovalRequested);
    assert_eq!(requested["approval_id"], approval.as_str());
    assert_eq!(requested["input"], input);
    let row = fleet.row(&id).await;
    assert_eq!(row.status, "waiting_approval");
    assert_eq!(row.waiting_approval_id.as_deref(), Some(approval.as_str()));
    let call = fleet.call_rows(&id).await.remove(0);
    assert_eq!(
        (call.status.as_str(), call.invocations, call.executions),
        ("waiting_approval", 0, 0)
    );

    assert!(matches!(
        decide(&fleet, &id, true).await,
        Reply::Accepted { .. }
    ));
    let status = fleet.ended(&id).await;
    assert_eq!(status, RunStatus::Succeeded, "{}", fleet.told(&id).await);
    assert_eq!(
        fleet.types(&id).await,
        [
            "run.created",
            "run.started",
            "step.created",
            "policy.requires_approval",
            "approval.requested",
            "run.suspended",
            "approval.decided",
            "run.resumed",
            "tool.invoked",
            "tool.succeeded",
            "step.completed",
            "run.completed"
        ]
    );
    let events = fleet.events(&id).await;
    let invoked = data(&events, EventType::ToolInvoked);
    assert_eq!(invoked["approval_id"], approval.as_str());
    assert_eq!(invoked["input_digest"], requested["input_digest"]);
    assert_eq!(data(&events, EventType::ToolSucceeded)["output"], input);
    assert_eq!(
        answers(&fleet, &id).await,
        [
            answer("require_approval", "tool_requires_approval", true),
            answer("allow", "approval_allows_action", false)
        ]
    );
    let call = fleet.call_rows(&id).await.remove(0);
    assert_eq!(
        (call.status.as_str(), call.invocations, call.executions),
        ("succeeded", 1, 1)
    );
    assert_eq!(call.approval_id.as_deref(), Some(approval.as_str()));
    fleet.audit().await;
}

/// "Domain allowlist rules for URL-carrying inputs": also where the tool itself requests nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_input_carries_a_foreign_url_waits_for_approval() {
    let fleet = Fleetlet::start(1).await;
    let listed = policy::OPEN.replace("allow = [\"*\"]", "allow = [\"listed.test\"]");
    fleet.apply_policy(&listed).await;
    let text = "first HTTPS://Listed.test./a, then (https://foreign.test/b)";
    let input = json!({ "argv": ["fetch", { "deep": text }] });
    let id = fleet
        .accepted(&calls("foreign", "runtime.echo", &input))
        .await;
    fleet.parked(&id).await;
    let events = fleet.events(&id).await;
    let asked = data(&events, EventType::PolicyRequiresApproval);
    assert_eq!(asked["decision"]["reason_code"], "domain_not_allowlisted");
    assert_eq!(asked["hosts"], json!(["foreign.test", "listed.test"]));
    decide(&fleet, &id, true).await;
    assert_eq!(fleet.ended(&id).await, RunStatus::Succeeded);

    let input = json!({ "argv": ["see HTTPS://Listed.test./a, ok"] });
    let (id, status) = fleet
        .ended_run(&calls("listed", "runtime.echo", &input))
        .await;
    assert_eq!(status, RunStatus::Succeeded, "{}", fleet.told(&id).await);
    let events = fleet.events(&id).await;
    let invoked = data(&events, EventType::ToolInvoked);
    assert_eq!(invoked["hosts"], json!(["listed.test"]));
    fleet.audit().await;
}

/// "Missing approval or denied approval".
#[tokio::test(flavor = "multi_thread")]
async fn without_an_approval_the_call_is_never_made() {
    let fleet = Fleetlet::start(1).await;
    fleet.apply_policy(&policy::echo_needs_approval()).await;

    let id = fleet
        .accepted(&calls("denied", "runtime.echo", &json!({})))
        .await;
    assert!(matches!(
        decide(&fleet, &id, false).await,
        Reply::Accepted { .. }
    ));
    assert_eq!(fleet.ended(&id).await, RunStatus::Failed);
    let error = failed_unmade(&fleet, &id, "tool_policy", "approval_denied").await;
    assert_eq!(error["blocked"], true);
    assert_eq!(
        answers(&fleet, &id).await,
        [answer("require_approval", "tool_requires_approval", true)]
    );

    // One that asks for nothing but the answer is told at once that there is no approval.
    let mut missing = calls("missing", "runtime.echo", &json!({}));
    missing["input"]["runtime"]["policy"] = json!({ "on_approval": "fail" });
    let (id, status) = fleet.ended_run(&missing).await;
    assert_eq!(status, RunStatus::Failed);
    let error = failed_unmade(&fleet, &id, "tool_policy", "tool_requires_approval").await;
    assert_eq!(
        (&error["decision"], &error["blocked"]),
        (&json!("require_approval"), &json!(true))
    );

    // An approval that nobody gave cannot be decided.
    let command = Command::DecideApproval {
        approval_id: "acme.missing.1.1.a1".parse().unwrap(),
        approve: true,
        reason: None,
        remember_s: None,
    };
    let reply = fleet.command_as("ann", &id, command).await;
    assert!(matches!(reply, Reply::Refused { .. }), "{reply:?}");
    fleet.audit().await;
}

/// "Invalid tool input JSON shape": found before the gate is asked.
#[tokio::test(flavor = "multi_thread")]
async fn an_input_of_the_wrong_shape_fails_with_every_violation() {
    let fleet = Fleetlet::start(1).await;
    let input = json!({ "target_url": 7, "method": "FETCH" });
    let (id, status) = fleet
        .ended_run(&calls("shape", "egress.request", &input))
        .await;
    assert_eq!(status, RunStatus::Failed);
    let error = failed_unmade(&fleet, &id, "input", "tool_input_invalid").await;
    let mut pointers: Vec<&str> = error["violations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|violation| violation["pointer"].as_str().unwrap())
        .collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/method", "/target_url"]);
    assert_eq!(error["blocked"], false);
    assert_eq!(answers(&fleet, &id).await, []);
    fleet.audit().await;
}

/// "Tool not found in registry": found before the gate is asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_an_unknown_tool_fails() {
    let fleet = Fleetlet::start(1).await;
    let (id, status) = fleet
        .ended_run(&calls("unknown", "browser.open", &json!({ "cmd": "ls" })))
        .await;
    assert_eq!(status, RunStatus::Failed);
    let error = failed_unmade(&fleet, &id, "registry", "tool_not_found").await;
    assert_eq!(error["tool_name"], "browser.open");
    assert_eq!(answers(&fleet, &id).await, []);
    fleet.audit().await;
}
