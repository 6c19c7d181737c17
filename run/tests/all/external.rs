//! Runs whose calls an outside agent asks for, one at a time.

use gatewright_run::{
    Decided, Next,
    decide::{self, CallRequest, Requested, Undecided, Verdict},
    next,
};
use gatewright_schemas::{EventBody, ReasonCode, RunStatus, StepId};
use serde_json::{Value, json};

use crate::world::{Did, Story, says, snapshot};

fn external(policy: &Value) -> Story {
    Story::of(&json!({ "actor": "external", "policy": policy }))
}

/// What was decided of a request that is asked for the first time.
pub fn asked_now<Id: std::fmt::Debug>(
    asked: Result<Requested<Id>, Undecided>,
) -> Result<Decided, Undecided> {
    match asked? {
        Requested::Now(decided, _) => Ok(*decided),
        Requested::Before(id) => panic!("{id:?} was asked for before"),
    }
}

fn open(story: &mut Story, title: Option<&str>, key: &str) -> Vec<&'static str> {
    let opened = decide::open_step(&story.state, title.map(str::to_owned), key.into());
    story.append(asked_now(opened))
}

fn with_a_step() -> Story {
    let mut story = external(&json!(null));
    open(&mut story, Some("look"), "first");
    story
}

fn wish(tool: &str, key: &str) -> CallRequest {
    CallRequest {
        step_id: StepId::new("acme.r1.1").unwrap(),
        tool: tool.into(),
        input: json!({}),
        request_key: key.into(),
        sandbox_permissions: None,
        policy: Value::Null,
        secrets: None,
    }
}

fn ask_for(story: &mut Story, wish: CallRequest) -> Vec<&'static str> {
    let requested = decide::request_call(&story.state, wish);
    story.append(asked_now(requested))
}

#[test]
fn such_a_run_waits_for_its_agent_from_the_beginning() {
    let story = external(&json!(null));
    assert_eq!(story.last(), ["run.created", "run.suspended"]);
    assert_eq!(story.status(), RunStatus::WaitingActor);
    assert_eq!(next(&story.state), Next::Nothing);
}

#[test]
fn one_call_at_a_time_is_made_and_the_run_waits_again() {
    let mut story = with_a_step();
    assert_eq!(story.last(), ["step.created"]);
    for (n, key) in ["a", "b"].into_iter().enumerate() {
        assert_eq!(ask_for(&mut story, wish("read", key)), ["tool.requested"]);
        assert_eq!(story.status(), RunStatus::Queued);
        assert_eq!(
            story.wanted().tool_call_id.as_str(),
            format!("acme.r1.1.{}", n + 1)
        );
        let busy = decide::request_call(&story.state, wish("read", "c"));
        assert_eq!(busy.unwrap_err(), Undecided::Busy);
        assert_eq!(story.work_off(), RunStatus::WaitingActor);
        assert_eq!(story.last(), ["tool.succeeded", "run.suspended"]);
    }
    let opened = open(&mut story, None, "second");
    assert_eq!(opened, ["step.completed", "step.created"]);
    let done = decide::complete(&story.state, true, "ann", None);
    assert_eq!(story.append(done), ["step.completed", "run.completed"]);
    assert_eq!(story.status(), RunStatus::Succeeded);
}

#[test]
fn a_call_that_is_refused_or_fails_leaves_the_decision_to_the_agent() {
    let mut story = with_a_step();
    ask_for(&mut story, wish("forbidden", "a"));
    assert_eq!(story.work_well(), Did::Refused);
    assert_eq!(
        story.last(),
        [
            "run.started",
            "policy.denied",
            "tool.failed",
            "run.suspended"
        ]
    );
    ask_for(&mut story, wish("missing", "b"));
    assert_eq!(story.work_off(), RunStatus::WaitingActor);
    let gave_up = decide::complete(&story.state, false, "ann", Some("no way".into()));
    assert_eq!(story.append(gave_up), ["step.completed", "run.failed"]);
    let bodies = story.last_bodies();
    let Some(EventBody::RunFailed(failed)) = bodies.last() else {
        panic!("{bodies:?}");
    };
    assert_eq!(failed.error.reason_code, ReasonCode::ActorGaveUp);
    assert_eq!(failed.error.reason, "no way");
}

#[test]
fn a_call_that_needs_approval_parks_the_run_and_a_no_fails_the_call_alone() {
    let parked = {
        let mut story = with_a_step();
        ask_for(&mut story, wish("pay", "a"));
        assert_eq!(story.work_well(), Did::Parked);
        story
    };
    let mut approved = parked.clone();
    approved.decide_approval(true);
    assert_eq!(approved.work_off(), RunStatus::WaitingActor);
    assert_eq!(approved.last(), ["tool.succeeded", "run.suspended"]);
    for verdict in [says("ann", false), Verdict::Expired] {
        let mut refused = parked.clone();
        let answered = refused.answer(verdict);
        let told = refused.append(answered);
        assert_eq!(told[1..], ["tool.failed", "run.suspended"]);
        assert_eq!(refused.status(), RunStatus::WaitingActor);
    }
}

#[test]
fn a_worker_that_dies_is_taken_over_as_ever() {
    let mut story = with_a_step();
    ask_for(&mut story, wish("read", "a"));
    assert_eq!(story.work_well(), Did::Invoked);
    story.crash();
    assert_eq!(story.work_off(), RunStatus::WaitingActor);
    ask_for(&mut story, wish("send", "b"));
    assert_eq!(story.work_well(), Did::Invoked);
    story.crash();
    assert_eq!(story.work_well(), Did::Lost);
    assert_eq!(
        story.status(),
        RunStatus::Failed,
        "nobody knows, and nobody asked to be asked"
    );
}

#[test]
fn a_key_names_one_step() {
    let mut story = with_a_step();
    open(&mut story, None, "second");
    let again = |title: Option<&str>, key: &str| {
        decide::open_step(&story.state, title.map(str::to_owned), key.into())
    };
    let Ok(Requested::Before(step)) = again(Some("look"), "first") else {
        panic!("the first step is opened twice");
    };
    assert_eq!(step.as_str(), "acme.r1.1");
    assert_eq!(again(None, "first").unwrap_err(), Undecided::KeyTaken);
}

#[test]
fn a_key_names_one_call() {
    let mut story = with_a_step();
    ask_for(&mut story, wish("read", "a"));
    let twice = |story: &Story| {
        let again = decide::request_call(&story.state, wish(" read ", "a"));
        let Ok(Requested::Before(call)) = again else {
            panic!("{again:?}");
        };
        assert_eq!(call.as_str(), "acme.r1.1.1");
    };
    // While it is under way, when it is over, and after the run's end.
    twice(&story);
    story.work_off();
    twice(&story);
    let done = decide::complete(&story.state, true, "ann", None);
    story.append(done);
    twice(&story);
}

#[test]
fn a_key_is_not_taken_for_another_call() {
    let mut story = with_a_step();
    ask_for(&mut story, wish("read", "a"));
    story.work_off();
    open(&mut story, None, "second");
    let others = [
        ("tool", wish("send", "a")),
        (
            "input",
            CallRequest {
                input: json!({ "n": 1 }),
                ..wish("read", "a")
            },
        ),
        (
            "step",
            CallRequest {
                step_id: StepId::new("acme.r1.2").unwrap(),
                ..wish("read", "a")
            },
        ),
        (
            "sandbox",
            CallRequest {
                sandbox_permissions: Some("require_escalated".into()),
                ..wish("read", "a")
            },
        ),
        (
            "authority",
            CallRequest {
                policy: json!({ "principal_id": "p2" }),
                ..wish("read", "a")
            },
        ),
    ];
    for (what, other) in others {
        let refused = decide::request_call(&story.state, other);
        assert_eq!(refused.unwrap_err(), Undecided::KeyTaken, "another {what}");
    }
}

#[test]
fn only_the_open_step_takes_calls_and_only_an_external_run_does() {
    let story = external(&json!(null));
    let early = decide::request_call(&story.state, wish("read", "a"));
    assert_eq!(early.unwrap_err(), Undecided::StepNotOpen);
    let mut story = with_a_step();
    open(&mut story, None, "second");
    let late = decide::request_call(&story.state, wish("read", "a"));
    assert_eq!(late.unwrap_err(), Undecided::StepNotOpen);

    let planned = Story::calling(&[&["read"]]);
    for refused in [
        asked_now(decide::open_step(&planned.state, None, "first".into())),
        asked_now(decide::request_call(&planned.state, wish("read", "a"))),
        decide::complete(&planned.state, true, "ann", None),
    ] {
        assert_eq!(refused.unwrap_err(), Undecided::NotExternal);
    }
}

#[test]
fn a_call_acts_on_its_own_authority_where_it_states_one_and_never_in_another_zone() {
    let mut story = external(&json!({ "principal_id": "p1" }));
    open(&mut story, None, "second");
    let stated = |policy: Value| CallRequest {
        policy,
        ..wish("read", "a")
    };
    let context_after = |policy: Value| {
        let mut story = story.clone();
        ask_for(&mut story, stated(policy));
        let progress = story.state.progress.as_ref().unwrap();
        progress
            .context_of(progress.current_call().unwrap())
            .clone()
    };
    let principal = |policy: Value| {
        let context = context_after(policy).unwrap();
        context.principal_id.map(|id| id.to_string())
    };
    assert_eq!(
        principal(Value::Null).as_deref(),
        Some("p1"),
        "the run's own"
    );
    assert_eq!(
        principal(json!({ "principal_id": "p2" })).as_deref(),
        Some("p2")
    );
    assert_eq!(principal(json!({ "zone": "sandbox" })), None);
    let mut made = story.clone();
    ask_for(
        &mut made,
        stated(json!({ "principal_id": "p2", "capability_token_id": "t2" })),
    );
    assert_eq!(made.work_well(), Did::Invoked);
    let bodies = made.last_bodies();
    let invoked = bodies.iter().find_map(|body| match body {
        EventBody::ToolInvoked(invoked) => Some(invoked),
        _ => None,
    });
    let recorded = invoked.map(|invoked| {
        let token = invoked.capability_token_id.as_ref();
        (
            invoked.principal_id.as_ref().unwrap().as_str(),
            token.unwrap().as_str(),
        )
    });
    assert_eq!(
        recorded,
        Some(("p2", "t2")),
        "whose authority was used is recorded"
    );
    for bad in [
        json!({ "zone": "high_stakes" }),
        json!([]),
        json!({ "principal_id": 7 }),
    ] {
        assert!(context_after(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn deadline_and_cancel_end_such_a_run_wherever_it_stands() {
    for busy in [false, true] {
        let mut story = with_a_step();
        if busy {
            ask_for(&mut story, wish("read", "a"));
            story.work_well();
        }
        let mut expired = story.clone();
        let decided = decide::expire(&expired.state);
        expired.append(decided);
        assert_eq!(expired.status(), RunStatus::Failed);
        let decided = decide::cancel(&story.state, "ann".into(), None);
        story.append(decided);
        assert_eq!(story.status(), RunStatus::Cancelled);
    }
}

#[test]
fn shadow_mode_lets_the_call_be_made() {
    let mut story = with_a_step().under(snapshot("mode = \"shadow\"\ndefault = \"deny\""));
    ask_for(&mut story, wish("forbidden", "a"));
    assert_eq!(story.work_well(), Did::Invoked);
    assert_eq!(story.work_off(), RunStatus::WaitingActor);
}
