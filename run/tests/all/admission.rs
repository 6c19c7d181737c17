use gatewright_run::{Impossible, Next, decide, decide::Undecided, next};
use gatewright_schemas::{
    ErrorInfo, EventType, Gate, ReasonCode, RunStatus, Stage, event::RunRejected,
};
use serde_json::json;

use crate::world::{Story, run_created, stamp, submission};

fn rejected() -> RunRejected {
    RunRejected {
        error: ErrorInfo::new(
            Stage::Admission,
            ReasonCode::SubmissionInvalid,
            "it is not valid",
        ),
        requested_run_id: Some("no such*id".into()),
        submission_sequence: 7,
    }
}

#[test]
fn a_submission_becomes_a_queued_run() {
    let story = Story::of(&json!({}));
    assert_eq!(story.told(), [["run.created"]]);
    assert_eq!(story.status(), RunStatus::Queued);
    let sealed = &story.commits[0];
    assert_eq!(sealed.gate, Gate::None);
    assert_eq!(sealed.status, RunStatus::Queued);
    assert_eq!(sealed.commit.attempt, 0);
    assert!(matches!(next(&story.state), Next::Call(call) if call.tool_name == "runtime.noop"));
}

#[test]
fn every_event_carries_what_the_submission_says_of_its_run() {
    let mut story = Story::untold();
    let submission = serde_json::from_value(json!({
        "room_id": "lobby", "thread_id": "t9", "correlation_id": "order-7",
        "input": { "runtime": { "policy": { "principal_id": "p1" } } },
    }))
    .unwrap();
    story.append(decide::admit(&story.state, run_created(submission)));
    story.work_off();
    for event in story.commits.iter().flat_map(|c| &c.commit.events) {
        assert_eq!(event.room_id.as_deref(), Some("lobby"));
        assert_eq!(event.thread_id.as_deref(), Some("t9"));
        assert_eq!(event.correlation_id.as_deref(), Some("order-7"));
        assert_eq!(event.actor.actor_id, "worker-1");
        assert_eq!(
            event.actor_principal_id.as_ref().map(AsRef::as_ref),
            Some("p1")
        );
    }
}

#[test]
fn a_run_is_created_once() {
    let story = Story::of(&json!({}));
    let again = decide::admit(&story.state, run_created(submission(&json!({}))));
    assert_eq!(
        again.unwrap_err(),
        Undecided::Impossible(Impossible {
            event: EventType::RunCreated,
            state: "exists already"
        })
    );
}

#[test]
fn a_refused_submission_has_a_history_of_its_own() {
    let story = Story::untold();
    let sealed = decide::reject(&story.state, rejected())
        .unwrap()
        .seal(stamp(1));
    assert_eq!(sealed.status, RunStatus::Rejected);
    assert_eq!(sealed.gate, Gate::None);
    assert_eq!(next(&sealed.state), Next::Nothing);
    assert!(decide::reject(&sealed.state, rejected()).is_err());
    assert!(decide::admit(&sealed.state, run_created(submission(&json!({})))).is_err());
    assert!(decide::cancel(&sealed.state, "me".into(), None).is_err());
}

#[test]
fn a_run_that_was_accepted_is_not_rejected_afterwards() {
    let story = Story::of(&json!({}));
    assert!(decide::reject(&story.state, rejected()).is_err());
}

#[test]
fn a_run_that_does_not_exist_wants_nothing_and_cannot_be_ended() {
    let story = Story::untold();
    assert_eq!(story.state.status(), None);
    assert_eq!(next(&story.state), Next::Nothing);
    let cancelled = decide::cancel(&story.state, "me".into(), None);
    assert_eq!(cancelled.unwrap_err(), Undecided::NotFound);
    assert_eq!(
        decide::expire(&story.state).unwrap_err(),
        Undecided::NotFound
    );
    assert!(decide::finish(&story.state, None).is_err());
    assert!(decide::exhaust(&story.state, None, 3).is_err());
}

#[test]
fn a_policy_context_that_cannot_be_read_denies_every_call() {
    let mut story = Story::of(&json!({ "policy": { "zone": "moon" } }));
    story.work_off();
    assert_eq!(story.status(), RunStatus::Failed);
    let bodies = story.last_bodies();
    let failed = bodies.last().unwrap().to_data();
    assert_eq!(failed["error"]["reason_code"], "policy_context_invalid");
}
