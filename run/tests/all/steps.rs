use gatewright_run::{Next, decide, next};
use gatewright_schemas::{EventBody, Gate, RunStatus, StepStatus};
use serde_json::json;

use crate::world::{Story, steps};

#[test]
fn a_single_noop_run_is_three_commits() {
    let mut story = Story::of(&json!({}));
    assert_eq!(story.work_off(), RunStatus::Succeeded);
    assert_eq!(
        story.told(),
        [
            vec!["run.created"],
            vec!["run.started", "step.created", "tool.invoked"],
            vec!["tool.succeeded", "step.completed", "run.completed"],
        ]
    );
    let gates: Vec<Gate> = story.commits.iter().map(|c| c.gate).collect();
    assert_eq!(gates, [Gate::None, Gate::Allow, Gate::None]);
    let statuses: Vec<RunStatus> = story.commits.iter().map(|c| c.status).collect();
    assert_eq!(
        statuses,
        [RunStatus::Queued, RunStatus::Running, RunStatus::Succeeded]
    );
    let attempts: Vec<u32> = story.commits.iter().map(|c| c.commit.attempt).collect();
    assert_eq!(attempts, [0, 1, 1]);
}

#[test]
fn every_call_of_every_step_is_made_in_order() {
    for shape in [
        vec![1, 1],
        vec![2, 1],
        vec![1, 2],
        vec![3, 1, 2],
        vec![0, 2, 0, 0, 3, 0],
        vec![1, 0, 1],
    ] {
        let plan: Vec<Vec<&str>> = shape.iter().map(|calls| vec!["read"; *calls]).collect();
        let plan: Vec<&[&str]> = plan.iter().map(Vec::as_slice).collect();
        let mut story = Story::calling(&plan);
        assert_eq!(story.work_off(), RunStatus::Succeeded, "{shape:?}");
        let invoked: Vec<String> = story
            .commits
            .iter()
            .flat_map(|c| &c.commit.events)
            .filter_map(|event| match event.body().unwrap() {
                EventBody::ToolInvoked(invoked) => Some(invoked.tool_call_id.to_string()),
                _ => None,
            })
            .collect();
        let planned: Vec<String> = shape
            .iter()
            .enumerate()
            .flat_map(|(s, calls)| (1..=*calls).map(move |c| format!("acme.r1.{}.{c}", s + 1)))
            .collect();
        assert_eq!(invoked, planned, "{shape:?}");
    }
}

#[test]
fn each_step_is_opened_once_and_closed_once() {
    let mut story = Story::calling(&[&[], &["read", "send"], &[], &["read"], &[]]);
    story.work_off();
    let marks: Vec<String> = story
        .commits
        .iter()
        .flat_map(|c| &c.commit.events)
        .filter_map(|event| {
            let step = event.step_id.as_ref()?;
            let word = event.event_type.as_str();
            word.starts_with("step").then(|| format!("{word} {step}"))
        })
        .collect();
    let expected: Vec<String> = (1..=5)
        .flat_map(|n| ["created", "completed"].map(|word| format!("step.{word} acme.r1.{n}")))
        .collect();
    assert_eq!(marks, expected);
}

#[test]
fn the_end_of_a_step_and_the_start_of_the_next_are_two_commits() {
    let mut story = Story::calling(&[&["read"], &["read"]]);
    story.work_off();
    assert_eq!(
        story.told()[2..],
        [
            vec!["tool.succeeded", "step.completed"],
            vec!["step.created", "tool.invoked"],
            vec!["tool.succeeded", "step.completed", "run.completed"],
        ]
    );
}

#[test]
fn events_of_a_step_name_it_and_events_of_the_run_name_none() {
    let mut story = Story::calling(&[&["read"], &["read"]]);
    story.work_off();
    for event in story.commits.iter().flat_map(|c| &c.commit.events) {
        let is_the_runs = event.event_type.as_str().starts_with("run.");
        assert_eq!(event.step_id.is_none(), is_the_runs, "{event:?}");
        if let EventBody::ToolInvoked(invoked) = event.body().unwrap() {
            let step = event.step_id.as_ref().unwrap().as_str();
            assert!(invoked.tool_call_id.as_str().starts_with(step));
        }
    }
}

#[test]
fn a_run_of_empty_steps_completes_without_a_call() {
    let mut story = Story::calling(&[&[], &[]]);
    assert_eq!(next(&story.state), Next::Finish);
    assert_eq!(story.work_off(), RunStatus::Succeeded);
    assert_eq!(
        story.told()[1],
        [
            "run.started",
            "step.created",
            "step.completed",
            "step.created",
            "step.completed",
            "run.completed"
        ]
    );
}

#[test]
fn a_run_that_has_something_left_to_call_cannot_be_finished() {
    let mut story = Story::calling(&[&["read"], &["read"]]);
    assert!(decide::finish(&story.state, None).is_err());
    let turn = story.turn();
    assert!(decide::finish(&story.state, turn).is_err());
    story.crash();
    story.work_well();
    assert!(decide::finish(&story.state, None).is_err());
    story.work_well();
    assert!(decide::finish(&story.state, None).is_err());
}

#[test]
fn the_short_form_of_egress_is_one_call() {
    let story = Story::of(&json!({
        "egress": { "target_url": "https://example.com/", "method": "POST", "action": "external.write", "context": { "why": "x" } }
    }));
    let call = story.wanted();
    assert_eq!(call.tool_name, "egress.request");
    assert_eq!(
        call.input,
        json!({ "target_url": "https://example.com/", "method": "POST", "action": "external.write", "context": { "why": "x" } })
    );
    assert_eq!(call.tool_call_id.as_str(), "acme.r1.1.1");
}

#[test]
fn a_tools_name_is_trimmed_and_nothing_else() {
    let story = Story::of(&steps(&[&[" Runtime.Noop\t"]]));
    assert_eq!(story.wanted().tool_name, "Runtime.Noop");
}

#[test]
fn a_completed_run_tells_how_its_calls_ended() {
    let mut story = Story::of(&json!({ "steps": [{ "tool_calls": [
        { "tool": "forbidden", "on_failure": "continue" }, { "tool": "read" }, { "tool": "read" }
    ] }] }));
    story.work_off();
    let bodies = story.last_bodies();
    let Some(EventBody::RunCompleted(completed)) = bodies.last() else {
        panic!("{bodies:?}");
    };
    assert_eq!((completed.succeeded_calls, completed.failed_calls), (2, 1));
    assert!(bodies.iter().any(
        |b| matches!(b, EventBody::StepCompleted(step) if step.status == StepStatus::Succeeded)
    ));
}
