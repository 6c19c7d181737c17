use gatewright_run::{
    Next,
    decide::{self, Asked, Outcome},
    next,
};
use gatewright_schemas::{
    Decision, Digest, ErrorInfo, EventBody, Gate, ReasonCode, RunStatus, Stage,
    event::{EgressAllowed, EgressRequested},
};
use serde_json::json;

use crate::world::{Did, Story, ask, enforced, error, invocation, request, shadow, stamp, steps};

fn continuing(tools: &[&str]) -> serde_json::Value {
    let calls: Vec<_> = tools
        .iter()
        .map(|tool| json!({ "tool": tool, "on_failure": "continue" }))
        .collect();
    json!({ "steps": [{ "tool_calls": calls }] })
}

#[test]
fn a_denied_call_never_gets_an_intent() {
    let mut story = Story::calling(&[&["forbidden"]]);
    assert_eq!(story.work_well(), Did::Refused);
    assert_eq!(
        story.last(),
        [
            "run.started",
            "step.created",
            "policy.denied",
            "tool.failed",
            "step.completed",
            "run.failed"
        ]
    );
    assert_eq!(story.status(), RunStatus::Failed);
    assert_eq!(story.commits.last().unwrap().gate, Gate::Deny);
}

#[test]
fn a_denial_and_its_consequences_tell_the_same_stage_and_reason() {
    let mut story = Story::calling(&[&["forbidden"]]);
    story.work_well();
    let mut told = Vec::new();
    for body in story.last_bodies() {
        match body {
            EventBody::PolicyDenied(denied) => {
                assert!(denied.decision.blocked);
                assert_eq!(denied.decision.reason_code, ReasonCode::KillSwitchActive);
            }
            EventBody::ToolFailed(failed) => {
                assert_eq!(failed.executions, 0);
                told.push(failed.error);
            }
            EventBody::RunFailed(failed) => told.push(failed.error),
            _ => {}
        }
    }
    assert_eq!(told.len(), 2);
    for error in told {
        assert_eq!(error.stage, Stage::ToolPolicy);
        assert_eq!(error.reason_code, ReasonCode::KillSwitchActive);
        assert_eq!(error.decision, Some(Decision::Deny));
        assert!(error.blocked);
        assert_eq!(error.tool_name.as_deref(), Some("forbidden"));
    }
}

#[test]
fn in_shadow_mode_a_denial_is_recorded_and_the_call_is_made() {
    let mut story = Story::calling(&[&["forbidden"]]).under(shadow());
    assert_eq!(story.work_well(), Did::Invoked);
    assert_eq!(
        story.last(),
        [
            "run.started",
            "step.created",
            "policy.denied",
            "tool.invoked"
        ]
    );
    assert_eq!(story.commits.last().unwrap().gate, Gate::Deny);
    for body in story.last_bodies() {
        match body {
            EventBody::PolicyDenied(denied) => assert!(!denied.decision.blocked),
            EventBody::ToolInvoked(invoked) => {
                assert_eq!(invoked.decision.decision, Decision::Deny);
                assert!(!invoked.decision.blocked);
            }
            _ => {}
        }
    }
    assert_eq!(story.work_off(), RunStatus::Succeeded);
}

#[test]
fn in_shadow_mode_nobody_is_asked() {
    let mut story = Story::calling(&[&["pay"]]).under(shadow());
    assert_eq!(story.work_well(), Did::Invoked);
    assert_eq!(
        story.last(),
        [
            "run.started",
            "step.created",
            "policy.requires_approval",
            "tool.invoked"
        ]
    );
    assert_eq!(story.commits.last().unwrap().gate, Gate::RequireApproval);
    assert_eq!(story.work_off(), RunStatus::Succeeded);
}

#[test]
fn the_subject_tells_the_most_restrictive_of_several_answers() {
    let story = Story::calling(&[&["forbidden"]]);
    let call = story.wanted();
    let (denied, _) = ask(&story.state, &call, &shadow());
    let answer = |decision| Asked {
        category: "egress",
        record: gatewright_schemas::DecisionRecord {
            decision,
            ..denied.record.clone()
        },
        ..denied.clone()
    };
    for (answers, gate) in [
        (vec![Decision::Allow], Gate::Allow),
        (vec![Decision::Allow, Decision::Allow], Gate::Allow),
        (
            vec![Decision::Allow, Decision::RequireApproval],
            Gate::RequireApproval,
        ),
        (vec![Decision::RequireApproval, Decision::Deny], Gate::Deny),
        (vec![Decision::Deny, Decision::RequireApproval], Gate::Deny),
        (vec![Decision::Deny, Decision::Allow], Gate::Deny),
    ] {
        let mut story = story.clone();
        let (asked, permit) = ask(&story.state, &call, &shadow());
        let permit = permit.unwrap();
        let mut invocation = invocation(&story.state, &call, asked, &permit);
        invocation.asked = answers.iter().copied().map(answer).collect();
        let turn = story.turn();
        let decided = decide::invoke(&story.state, turn, &call, invocation).unwrap();
        assert_eq!(decided.gate(), gate, "{answers:?}");
        assert_eq!(decided.seal(stamp(2)).gate, gate, "{answers:?}");
    }
}

#[test]
fn an_intent_names_what_the_permit_names() {
    let mut story = Story::calling(&[&["send"]]);
    story.work_well();
    let bodies = story.last_bodies();
    let Some(EventBody::ToolInvoked(invoked)) = bodies.last() else {
        panic!("{bodies:?}");
    };
    assert_eq!(invoked.tool_call_id.as_str(), "acme.r1.1.1");
    assert_eq!(invoked.input_digest, Digest::of(&json!({})));
    assert_eq!(
        invoked.definition_digest,
        crate::world::definition_digest("send")
    );
    assert!(!invoked.idempotent);
    assert_eq!(invoked.decision.decision, Decision::Allow);
    assert_eq!(invoked.approval_id, None);
}

#[test]
fn a_permit_of_one_call_makes_no_other() {
    let mut story = Story::calling(&[&["read", "send"]]);
    let first = story.wanted();
    let second = story.state.progress.as_ref().unwrap().plan.steps[0].calls[1].clone();
    // The permit names the second call, whose turn it is not.
    let (asked, permit) = ask(&story.state, &second, &enforced());
    let permit = permit.unwrap();
    let turn = story.turn();
    for call in [&first, &second] {
        let invocation = invocation(&story.state, call, asked.clone(), &permit);
        assert!(decide::invoke(&story.state, turn, call, invocation).is_err());
    }
    // The permit names the first call, the caller another.
    let (asked, permit) = ask(&story.state, &first, &enforced());
    let permit = permit.unwrap();
    let invocation = invocation(&story.state, &second, asked, &permit);
    assert!(decide::invoke(&story.state, turn, &second, invocation).is_err());
}

#[test]
fn a_call_is_not_made_without_having_asked() {
    let mut story = Story::calling(&[&["read"]]);
    let call = story.wanted();
    let (asked, permit) = ask(&story.state, &call, &enforced());
    let permit = permit.unwrap();
    let mut invocation = invocation(&story.state, &call, asked, &permit);
    invocation.asked.clear();
    let turn = story.turn();
    assert!(decide::invoke(&story.state, turn, &call, invocation).is_err());
}

#[test]
fn a_call_that_is_under_way_is_not_made_again_when_that_would_do_harm() {
    let mut story = Story::calling(&[&["send"]]);
    story.work_well();
    let call = story.wanted();
    let (asked, permit) = ask(&story.state, &call, &enforced());
    let permit = permit.unwrap();
    let invocation = invocation(&story.state, &call, asked, &permit);
    assert!(decide::invoke(&story.state, None, &call, invocation).is_err());
}

#[test]
fn an_unknown_tool_fails_without_a_word_of_the_gate() {
    let mut story = Story::calling(&[&["no.such.tool"]]);
    let call = story.wanted();
    let why = ErrorInfo::new(
        Stage::Registry,
        ReasonCode::ToolNotFound,
        "there is no such tool",
    );
    let turn = story.turn();
    story.append(decide::refuse(
        &story.state,
        turn,
        &call,
        &[],
        Vec::new(),
        why,
    ));
    assert_eq!(
        story.last(),
        [
            "run.started",
            "step.created",
            "tool.failed",
            "step.completed",
            "run.failed"
        ]
    );
    assert_eq!(story.commits.last().unwrap().gate, Gate::None);
}

#[test]
fn a_failed_call_fails_the_step_and_the_run() {
    let mut story = Story::calling(&[&["read", "read"], &["read"]]);
    story.work_well();
    story.work(Err(error(ReasonCode::ToolTimeout)));
    assert_eq!(
        story.last(),
        ["tool.failed", "step.completed", "run.failed"]
    );
    let bodies = story.last_bodies();
    let EventBody::RunFailed(failed) = &bodies[2] else {
        panic!("{bodies:?}");
    };
    assert_eq!(failed.error.reason_code, ReasonCode::ToolTimeout);
    assert_eq!(failed.error.tool_name.as_deref(), Some("read"));
    assert_eq!(next(&story.state), Next::Nothing);
}

#[test]
fn a_failed_call_with_leave_to_go_on_is_followed_by_the_next() {
    let mut story = Story::of(&continuing(&["read", "forbidden", "read"]));
    story.work_well();
    story.work(Err(error(ReasonCode::ToolExecutionFailed)));
    assert_eq!(story.last(), ["tool.failed"]);
    assert_eq!(story.work_well(), Did::Refused);
    assert_eq!(story.last(), ["policy.denied", "tool.failed"]);
    assert_eq!(story.work_off(), RunStatus::Succeeded);
}

#[test]
fn a_last_call_that_failed_with_leave_to_go_on_completes_the_run() {
    let mut story = Story::of(&continuing(&["read"]));
    story.work_well();
    story.work(Err(error(ReasonCode::ToolExecutionFailed)));
    assert_eq!(
        story.last(),
        ["tool.failed", "step.completed", "run.completed"]
    );
}

#[test]
fn what_a_call_did_outside_stands_between_its_intent_and_its_outcome() {
    let mut story = Story::calling(&[&["egress.request"]]);
    let call = story.wanted();
    let (asked, permit) = ask(&story.state, &call, &enforced());
    let permit = permit.unwrap();
    let mut invocation = invocation(&story.state, &call, asked, &permit);
    invocation
        .before
        .push(EventBody::EgressRequested(EgressRequested {
            tool_call_id: call.tool_call_id.clone(),
            hop: 0,
            method: "GET".into(),
            url: "https://example.com/".into(),
            host: "example.com".into(),
            action_type: "external.read".into(),
            gate: None,
        }));
    let turn = story.turn();
    let invoked = decide::invoke(&story.state, turn, &call, invocation);
    assert_eq!(
        story.append(invoked),
        [
            "run.started",
            "step.created",
            "egress.requested",
            "tool.invoked"
        ]
    );
    let outcome = Outcome {
        result: Ok(json!({ "status": 200 })),
        events: vec![EventBody::EgressAllowed(EgressAllowed {
            tool_call_id: call.tool_call_id.clone(),
            hop: 0,
            host: "example.com".into(),
            address: Some("203.0.113.7:443".into()),
            status: Some(200),
        })],
        executions: 1,
        duration_us: 12,
    };
    let concluded = decide::conclude(&story.state, &call, outcome);
    assert_eq!(
        story.append(concluded),
        [
            "egress.allowed",
            "tool.succeeded",
            "step.completed",
            "run.completed"
        ]
    );
}

#[test]
fn no_call_succeeds_that_was_not_made() {
    let mut story = Story::calling(&[&["read"]]);
    let call = story.wanted();
    let outcome = Outcome {
        result: Ok(json!({})),
        events: Vec::new(),
        executions: 1,
        duration_us: 1,
    };
    assert!(decide::conclude(&story.state, &call, outcome.clone()).is_err());
    story.work_well();
    story.append(decide::conclude(&story.state, &call, outcome.clone()));
    assert!(decide::conclude(&story.state, &call, outcome).is_err());
}

#[test]
fn a_worker_without_a_turn_cannot_move_a_queued_run() {
    let mut story = Story::of(&steps(&[&["pay"]]));
    let call = story.wanted();
    let (asked, _) = ask(&story.state, &call, &enforced());
    let request = request(&story.state, &call, &asked);
    let error = ErrorInfo::blocked(Stage::ToolPolicy, &asked.record);
    let parked = decide::park_for_approval(
        &story.state,
        None,
        &call,
        std::slice::from_ref(&asked),
        request,
    );
    assert!(parked.is_err());
    let refused = decide::refuse(&story.state, None, &call, &[asked], Vec::new(), error);
    assert!(refused.is_err());
    assert_eq!(story.work_well(), Did::Parked);
}
