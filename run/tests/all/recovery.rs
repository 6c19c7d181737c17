use gatewright_run::{
    Next,
    decide::{self, Verdict},
    next,
};
use gatewright_schemas::{
    Decision, EventBody, Gate, ReasonCode, RunStatus, Stage,
    event::{ApprovalQuestion, RunResumed},
};
use serde_json::json;

use crate::world::{Did, Story, ask, enforced, invocation, lose, says};

fn asking_a_person(on_failure: &str, tools: &[&str]) -> Story {
    let calls: Vec<_> = tools
        .iter()
        .map(|tool| json!({ "tool": tool, "on_failure": on_failure }))
        .collect();
    let mut story = Story::of(&json!({
        "on_unknown_outcome": "ask_human", "steps": [{ "tool_calls": calls }]
    }));
    story.work_well();
    story.crash();
    story
}

#[test]
fn a_worker_that_takes_over_says_so() {
    let mut story = Story::calling(&[&["read", "read"]]);
    story.work_well();
    story.work_well();
    story.crash();
    story.work_well();
    assert_eq!(story.last(), ["run.resumed", "tool.invoked"]);
    let EventBody::RunResumed(RunResumed {
        attempt,
        takeover,
        lease,
    }) = story.last_bodies()[0]
    else {
        panic!("{:?}", story.last());
    };
    assert_eq!((attempt, takeover), (2, true));
    assert_eq!(story.commits.last().unwrap().commit.attempt, 2);
    assert_eq!(story.state.progress.as_ref().unwrap().lease, Some(lease));
}

#[test]
fn an_idempotent_call_is_made_again_under_the_same_key() {
    let mut story = Story::calling(&[&["read"]]);
    story.work_well();
    story.crash();
    assert!(matches!(next(&story.state), Next::Recover(_, open) if open.idempotent));
    assert_eq!(story.work_well(), Did::Invoked);
    assert_eq!(story.last(), ["run.resumed", "tool.invoked"]);
    let progress = story.state.progress.as_ref().unwrap();
    assert_eq!(progress.open_call.as_ref().unwrap().intents, 2);
    assert_eq!(progress.crashes, 1);
    let keys: Vec<String> = story.commits[1..]
        .iter()
        .flat_map(|c| &c.commit.events)
        .filter(|e| e.event_type.as_str() == "tool.invoked")
        .map(|e| e.data["tool_call_id"].to_string())
        .collect();
    assert_eq!(keys[0], keys[1]);
    assert_eq!(story.work_off(), RunStatus::Succeeded);
}

#[test]
fn a_call_is_not_made_again_with_another_input() {
    let mut story = Story::calling(&[&["read"]]);
    story.work_well();
    story.crash();
    let mut call = story.wanted();
    call.input = json!({ "changed": true });
    let (asked, permit) = ask(&story.state, &call, &enforced());
    let permit = permit.unwrap();
    let invocation = invocation(&story.state, &call, asked, &permit);
    let turn = story.turn();
    assert!(decide::invoke(&story.state, turn, &call, invocation).is_err());
}

#[test]
fn any_other_call_ends_with_an_outcome_that_nobody_knows() {
    let mut story = Story::calling(&[&["send", "read"]]);
    story.work_well();
    story.crash();
    assert_eq!(story.work_well(), Did::Lost);
    assert_eq!(
        story.last(),
        ["run.resumed", "tool.failed", "step.completed", "run.failed"]
    );
    assert_eq!(story.commits.last().unwrap().gate, Gate::None);
    let bodies = story.last_bodies();
    let EventBody::ToolFailed(failed) = &bodies[1] else {
        panic!("{bodies:?}");
    };
    assert_eq!(failed.error.stage, Stage::Recovery);
    assert_eq!(failed.error.reason_code, ReasonCode::OutcomeUnknown);
    assert_eq!(failed.error.decision, Some(Decision::Allow));
    assert!(!failed.error.blocked);
    assert_eq!(failed.executions, 1);
}

#[test]
fn leave_to_go_on_after_failures_is_no_leave_to_pass_over_an_unknown_outcome() {
    let mut story = Story::of(&json!({ "steps": [{ "tool_calls": [
        { "tool": "send", "on_failure": "continue" }, { "tool": "read" }
    ] }] }));
    story.work_well();
    story.crash();
    assert_eq!(story.work_well(), Did::Lost);
    assert_eq!(
        story.last(),
        ["run.resumed", "tool.failed", "step.completed", "run.failed"]
    );
}

#[test]
fn a_person_is_asked_where_the_run_wishes_so() {
    let mut story = asking_a_person("fail", &["send", "read"]);
    assert_eq!(story.work_well(), Did::Lost);
    assert_eq!(
        story.last(),
        [
            "run.resumed",
            "tool.failed",
            "approval.requested",
            "run.suspended"
        ]
    );
    assert_eq!(story.status(), RunStatus::WaitingApproval);
    assert_eq!(
        story.commits.last().unwrap().gate,
        Gate::None,
        "the gate has no part in the question"
    );
    let bodies = story.last_bodies();
    let EventBody::ApprovalRequested(request) = &bodies[2] else {
        panic!("{bodies:?}");
    };
    assert_eq!(request.question, ApprovalQuestion::GoOnAfterUnknownOutcome);
    assert_eq!(request.decision, None);
    assert_eq!(request.tool_call_id.as_str(), "acme.r1.1.1");
}

#[test]
fn with_a_yes_the_run_goes_on_with_the_next_call_and_never_repeats_the_lost_one() {
    for on_failure in ["fail", "continue"] {
        let mut story = asking_a_person(on_failure, &["send", "read"]);
        story.work_well();
        assert_eq!(story.decide_approval(true), ["approval.decided"]);
        assert_eq!(story.wanted().tool_call_id.as_str(), "acme.r1.1.2");
        assert_eq!(story.work_off(), RunStatus::Succeeded, "{on_failure}");
    }
}

#[test]
fn with_a_yes_after_the_last_call_the_run_completes() {
    for on_failure in ["fail", "continue"] {
        let mut story = asking_a_person(on_failure, &["send"]);
        story.work_well();
        story.decide_approval(true);
        assert_eq!(next(&story.state), Next::Finish);
        assert_eq!(story.work_off(), RunStatus::Succeeded);
        assert_eq!(
            story.last(),
            ["run.resumed", "step.completed", "run.completed"]
        );
    }
}

#[test]
fn with_a_no_or_silence_the_run_fails() {
    for on_failure in ["fail", "continue"] {
        for tools in [&["send"][..], &["send", "read"]] {
            for verdict in [Verdict::Expired, says("ann", false)] {
                let mut story = asking_a_person(on_failure, tools);
                story.work_well();
                let answered = story.answer(verdict);
                let told = story.append(answered);
                assert_eq!(
                    told[1..],
                    ["step.completed", "run.failed"],
                    "{on_failure} {tools:?}"
                );
                assert_eq!(story.status(), RunStatus::Failed);
                let bodies = story.last_bodies();
                let Some(EventBody::RunFailed(failed)) = bodies.last() else {
                    panic!("{bodies:?}");
                };
                assert_eq!(failed.error.reason_code, ReasonCode::OutcomeUnknown);
                assert_eq!(failed.error.stage, Stage::Recovery);
            }
        }
    }
}

#[test]
fn the_answer_about_a_lost_call_is_no_approval_of_the_next() {
    let mut story = asking_a_person("fail", &["send", "pay"]);
    story.work_well();
    story.decide_approval(true);
    assert_eq!(story.work_well(), Did::Parked);
}

#[test]
fn a_call_is_lost_once() {
    let mut story = Story::calling(&[&["send"]]);
    story.work_well();
    story.crash();
    let call = story.wanted();
    let open = story
        .state
        .progress
        .as_ref()
        .unwrap()
        .open_call
        .clone()
        .unwrap();
    story.work_well();
    assert!(lose(&story.state, None, &call, &open).is_err());
}

#[test]
fn crashes_are_counted_until_a_call_ends() {
    let mut story = Story::calling(&[&["read", "read"]]);
    for crashes in 0..3 {
        story.work_well();
        assert_eq!(story.state.progress.as_ref().unwrap().crashes, crashes);
        story.crash();
    }
    story.work_well();
    story.work_well();
    assert_eq!(story.state.progress.as_ref().unwrap().crashes, 0);
}

#[test]
fn a_lease_of_an_earlier_attempt_is_no_lease_of_this_one() {
    let mut story = Story::calling(&[&["read"]]);
    story.work_well();
    let first = story.state.progress.as_ref().unwrap().lease;
    story.crash();
    story.work_well();
    let second = story.state.progress.as_ref().unwrap().lease;
    assert_ne!(first, second);
    let attempts: Vec<u32> = story.commits.iter().map(|c| c.commit.attempt).collect();
    assert_eq!(attempts, [0, 1, 2]);
}
