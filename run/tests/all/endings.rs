use gatewright_run::{
    Next,
    decide::{self, Undecided},
    next,
};
use gatewright_schemas::{EventBody, Gate, ReasonCode, RunStatus, Stage, StepStatus};
use serde_json::json;

use crate::world::Story;

/// A run in every state that is not an end, by name.
fn alive() -> Vec<(&'static str, Story)> {
    let queued = Story::calling(&[&["send", "pay"], &["read"]]);
    let mut calling = queued.clone();
    calling.work_well();
    let mut between = calling.clone();
    between.work_well();
    let mut waiting = between.clone();
    waiting.work_well();
    let mut approved = waiting.clone();
    approved.decide_approval(true);
    let mut between_steps = approved.clone();
    between_steps.work_well();
    between_steps.work_well();
    let mut lost = Story::of(&json!({
        "on_unknown_outcome": "ask_human", "steps": [{ "tool_calls": [{ "tool": "send" }] }]
    }));
    lost.work_well();
    lost.crash();
    lost.work_well();
    vec![
        ("queued", queued),
        ("calling", calling),
        ("between calls", between),
        ("waiting", waiting),
        ("approved", approved),
        ("between steps", between_steps),
        ("lost", lost),
    ]
}

fn step_status(story: &Story) -> Option<StepStatus> {
    story.last_bodies().iter().find_map(|body| match body {
        EventBody::StepCompleted(step) => Some(step.status),
        _ => None,
    })
}

#[test]
fn a_run_can_be_cancelled_wherever_it_stands() {
    let told = [
        ("queued", vec!["run.cancelled"]),
        (
            "calling",
            vec!["tool.failed", "step.completed", "run.cancelled"],
        ),
        ("between calls", vec!["step.completed", "run.cancelled"]),
        ("waiting", vec!["step.completed", "run.cancelled"]),
        ("approved", vec!["step.completed", "run.cancelled"]),
        ("between steps", vec!["run.cancelled"]),
        ("lost", vec!["step.completed", "run.cancelled"]),
    ];
    for ((name, mut story), (expected, events)) in alive().into_iter().zip(told) {
        assert_eq!(name, expected);
        let cancelled = decide::cancel(&story.state, "ann".into(), Some("enough".into()));
        assert_eq!(story.append(cancelled), events, "{name}");
        assert_eq!(story.status(), RunStatus::Cancelled, "{name}");
        assert_eq!(story.commits.last().unwrap().gate, Gate::None, "{name}");
        assert_eq!(next(&story.state), Next::Nothing, "{name}");
        assert!(
            step_status(&story).is_none_or(|status| status == StepStatus::Cancelled),
            "{name}"
        );
        let bodies = story.last_bodies();
        let Some(EventBody::RunCancelled(cancelled)) = bodies.last() else {
            panic!("{bodies:?}");
        };
        assert_eq!(cancelled.by, "ann");
        assert_eq!(cancelled.reason.as_deref(), Some("enough"));
    }
}

#[test]
fn a_deadline_fails_a_run_wherever_it_stands() {
    for (name, mut story) in alive() {
        let expired = decide::expire(&story.state);
        story.append(expired);
        assert_eq!(story.status(), RunStatus::Failed, "{name}");
        assert!(
            step_status(&story).is_none_or(|status| status == StepStatus::Failed),
            "{name}"
        );
        let bodies = story.last_bodies();
        let Some(EventBody::RunFailed(failed)) = bodies.last() else {
            panic!("{bodies:?}");
        };
        assert_eq!(failed.error.stage, Stage::Lifecycle);
        assert_eq!(failed.error.reason_code, ReasonCode::DeadlineExceeded);
    }
}

#[test]
fn a_call_that_was_under_way_ends_as_one_whose_outcome_nobody_knows() {
    let mut story = Story::calling(&[&["read"]]);
    story.work_well();
    for decided in [
        decide::cancel(&story.state, "ann".into(), None),
        decide::expire(&story.state),
    ] {
        let mut story = story.clone();
        story.append(decided);
        let bodies = story.last_bodies();
        let EventBody::ToolFailed(failed) = &bodies[0] else {
            panic!("{bodies:?}");
        };
        assert_eq!(failed.error.stage, Stage::Recovery);
        assert_eq!(failed.error.reason_code, ReasonCode::OutcomeUnknown);
    }
}

#[test]
fn a_run_on_which_every_worker_dies_fails() {
    let mut story = Story::calling(&[&["read"]]);
    for _ in 0..3 {
        story.work_well();
        story.crash();
    }
    let turn = story.turn();
    let exhausted = decide::exhaust(&story.state, turn, 3);
    assert_eq!(
        story.append(exhausted),
        ["run.resumed", "tool.failed", "step.completed", "run.failed"]
    );
    let bodies = story.last_bodies();
    let Some(EventBody::RunFailed(failed)) = bodies.last() else {
        panic!("{bodies:?}");
    };
    assert_eq!(failed.error.reason_code, ReasonCode::AttemptsExhausted);
    assert!(failed.error.reason.starts_with("3 workers"));
}

#[test]
fn a_run_can_be_given_up_before_it_made_a_call() {
    let mut story = Story::calling(&[&["read"]]);
    let turn = story.turn();
    let exhausted = decide::exhaust(&story.state, turn, 3);
    assert_eq!(story.append(exhausted), ["run.started", "run.failed"]);
}

#[test]
fn a_run_ends_once() {
    for (_, story) in alive() {
        let ended: Vec<_> = [
            decide::cancel(&story.state, "ann".into(), None),
            decide::expire(&story.state),
        ]
        .into_iter()
        .map(|decided| {
            let mut story = story.clone();
            story.append(decided);
            story
        })
        .collect();
        for mut story in ended {
            let state = story.state.clone();
            assert_eq!(
                decide::cancel(&state, "ann".into(), None).unwrap_err(),
                Undecided::Ended
            );
            assert_eq!(decide::expire(&state).unwrap_err(), Undecided::Ended);
            let turn = story.turn();
            assert!(decide::finish(&state, turn).is_err());
            assert!(decide::finish(&state, None).is_err());
            assert!(decide::exhaust(&state, turn, 3).is_err());
        }
    }
}
