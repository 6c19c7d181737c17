//! Which events are possible in which state. A new type of event has no row until somebody has thought about it.

use std::fmt::Write as _;

use gatewright_run::{RunState, decide};
use gatewright_schemas::{EventBody, EventType, RunStatus, StepStatus, event::ApprovalQuestion};
use serde_json::json;

use crate::external::asked_now;
use crate::{
    bodies::{self, Fit, body, record},
    world::{Story, acme, enforced, r1, snapshot, steps},
};

/// Every state a run can stand in, by the column it has in the table.
fn states() -> Vec<(&'static str, RunState)> {
    let absent = RunState::new(acme(), r1());
    let rejected = after(&absent, &body(EventType::RunRejected, &Fit::of(&absent)));
    let queued = Story::calling(&[&["read", "send", "pay"], &["read"]]);
    let started = after(
        &queued.state,
        &body(EventType::RunStarted, &Fit::of(&queued.state)),
    );
    let mut calling = queued.clone();
    calling.work_well();
    let mut between = calling.clone();
    between.work_well();
    let mut sending = between.clone();
    sending.work_well();
    let mut waiting = sending.clone();
    waiting.work_well();
    waiting.work_well();
    let mut approved = waiting.clone();
    approved.decide_approval(true);
    let asked = after(
        &between.state,
        &body(EventType::ApprovalRequested, &Fit::of(&between.state)),
    );
    let failed_for_good = after(
        &between.state,
        &body(EventType::ToolFailed, &Fit::of(&between.state)),
    );
    let mut interrupted = Story::calling(&[&["renew"]]).under(snapshot("default = \"allow\""));
    interrupted.work_well();
    interrupted.crash();
    interrupted = interrupted.under(enforced());
    interrupted.work_well();
    let mut finishing = Story::of(&json!({
        "on_unknown_outcome": "ask_human", "steps": [{ "tool_calls": [{ "tool": "send" }] }]
    }));
    finishing.work_well();
    finishing.crash();
    finishing.work_well();
    let lost = finishing.state.clone();
    finishing.decide_approval(true);
    let resumed = after(
        &finishing.state,
        &body(EventType::RunResumed, &Fit::of(&finishing.state)),
    );
    let all_made = after(
        &resumed,
        &body(
            EventType::StepCompleted,
            &Fit {
                step_status: StepStatus::Succeeded,
                ..Fit::of(&resumed)
            },
        ),
    );
    let mut succeeded = queued.clone().under(snapshot("default = \"allow\""));
    succeeded.work_off();
    let mut failed = Story::of(&steps(&[&["forbidden"]]));
    failed.work_off();
    let cancelled = decide::cancel(&queued.state, "ann".into(), None).unwrap();
    let mut states = vec![
        ("absent", absent),
        ("rejected", rejected),
        ("queued", queued.state),
        ("started", started),
        ("calling, idempotent", calling.state),
        ("calling, not idempotent", sending.state),
        ("between calls", between.state),
        ("all calls made", all_made),
        ("failed for good, not ended", failed_for_good),
        ("asked for approval, not parked", asked),
        ("waiting for approval", waiting.state),
        ("waiting, call interrupted", interrupted.state),
        ("waiting, call lost", lost),
        ("approved", approved.state),
    ];
    states.extend(external_states());
    states.extend([
        ("succeeded", succeeded.state),
        ("failed", failed.state),
        ("cancelled", cancelled.state().clone()),
    ]);
    for status in RunStatus::ALL {
        assert!(
            states.iter().any(|(_, s)| s.status() == Some(*status)),
            "no state stands for `{status}`"
        );
    }
    states
}

/// The states that only a run of an outside agent stands in.
fn external_states() -> Vec<(&'static str, RunState)> {
    let agents = Story::of(&json!({ "actor": "external" }));
    let mut opened = agents.clone();
    let step = decide::open_step(&opened.state, None, "first".into());
    opened.append(asked_now(step));
    let requested = after(
        &opened.state,
        &body(EventType::ToolRequested, &Fit::of(&opened.state)),
    );
    let begun = after(
        &requested,
        &body(EventType::RunStarted, &Fit::of(&requested)),
    );
    let answered = after(&begun, &body(EventType::ToolFailed, &Fit::of(&begun)));
    vec![
        ("waiting for actor, no step open", agents.state),
        ("waiting for actor, step open", opened.state),
        ("actor's call to make", requested),
        ("actor's call over, not parked", answered),
    ]
}

#[track_caller]
fn after(state: &RunState, body: &EventBody) -> RunState {
    let mut state = state.clone();
    state.evolve(&bodies::event(&state, body.clone())).unwrap();
    state
}

/// Whether any event of the type can follow that fits the state as well as one can.
fn can_follow(state: &RunState, event_type: EventType) -> bool {
    let fit = Fit::of(state);
    let fits = [
        fit.clone(),
        Fit {
            waiting_for_actor: true,
            step_status: StepStatus::Succeeded,
            question: ApprovalQuestion::GoOnAfterUnknownOutcome,
            ..fit
        },
    ];
    fits.iter()
        .any(|fit| is_possible(state, body(event_type, fit)))
}

fn is_possible(state: &RunState, body: EventBody) -> bool {
    let event = bodies::event(state, body);
    state.clone().evolve(&event).is_ok()
}

/// One line for each type of event; a mark for each state in which it can happen.
fn table() -> String {
    let states = states();
    let mut table = String::new();
    for (column, (name, _)) in states.iter().enumerate() {
        writeln!(
            table,
            "{} {name}",
            char::from(b'A' + u8::try_from(column).unwrap())
        )
        .unwrap();
    }
    table.push('\n');
    for event_type in EventType::ALL {
        let row: String = states
            .iter()
            .enumerate()
            .map(|(column, (_, state))| {
                if can_follow(state, *event_type) {
                    char::from(b'A' + u8::try_from(column).unwrap())
                } else {
                    '.'
                }
            })
            .collect();
        writeln!(table, "{:<26}{row}", event_type.as_str()).unwrap();
    }
    table
}

#[test]
fn only_these_events_can_follow_on_these_states() {
    let expected = include_str!("matrix.txt");
    let found = table();
    assert!(
        found == expected,
        "which events can follow where has changed; if that is meant, write this to run/tests/all/matrix.txt:\n\n{found}"
    );
}

#[test]
fn every_type_of_event_has_a_row() {
    let rows = include_str!("matrix.txt");
    for event_type in EventType::ALL {
        let is_its = |row: &str| row.split(' ').next() == Some(event_type.as_str());
        assert_eq!(
            rows.lines().filter(|row| is_its(row)).count(),
            1,
            "`{event_type}` has no row in run/tests/all/matrix.txt"
        );
    }
}

#[test]
fn nothing_follows_on_an_end() {
    for (name, state) in states() {
        if state.status().is_some_and(RunStatus::is_terminal) {
            for event_type in EventType::ALL {
                assert!(
                    !can_follow(&state, *event_type),
                    "{event_type} follows on {name}"
                );
            }
        }
    }
}

#[test]
fn an_event_about_another_call_never_follows() {
    for (name, state) in states() {
        for event_type in [
            EventType::ToolInvoked,
            EventType::ToolSucceeded,
            EventType::ToolFailed,
        ] {
            let fit = Fit {
                call: gatewright_schemas::ToolCallId::new("acme.r1.9.9").unwrap(),
                ..Fit::of(&state)
            };
            let possible = is_possible(&state, body(event_type, &fit));
            assert!(!possible, "{event_type} of another call in {name}");
        }
    }
}

#[test]
fn an_event_about_another_approval_never_follows() {
    for (name, state) in states() {
        let fit = Fit {
            approval: gatewright_schemas::ApprovalId::new("acme.r1.9.9.a9").unwrap(),
            ..Fit::of(&state)
        };
        for event_type in [
            EventType::ApprovalDecided,
            EventType::ApprovalExpired,
            EventType::RunSuspended,
        ] {
            let possible = is_possible(&state, body(event_type, &fit));
            assert!(!possible, "{event_type} of another approval in {name}");
        }
    }
}

#[test]
fn a_run_parks_only_for_an_approval_that_it_asked_for() {
    let story = Story::calling(&[&["pay"]]);
    let state = after(
        &story.state,
        &body(EventType::RunStarted, &Fit::of(&story.state)),
    );
    let state = after(&state, &body(EventType::StepCreated, &Fit::of(&state)));
    assert!(!is_possible(
        &state,
        body(EventType::RunSuspended, &Fit::of(&state))
    ));
    let asking = after(
        &state,
        &body(EventType::ApprovalRequested, &Fit::of(&state)),
    );
    assert!(is_possible(
        &asking,
        body(EventType::RunSuspended, &Fit::of(&asking))
    ));
}

#[test]
fn a_person_is_asked_about_a_lost_call_only_after_it_was_lost() {
    for (name, state) in states() {
        let fit = Fit {
            question: ApprovalQuestion::GoOnAfterUnknownOutcome,
            ..Fit::of(&state)
        };
        let possible = is_possible(&state, body(EventType::ApprovalRequested, &fit));
        let open = state
            .progress
            .as_ref()
            .is_some_and(|p| p.open_call.is_some());
        assert!(!(possible && open), "{name}");
    }
}

#[test]
fn a_step_does_not_succeed_with_calls_left_to_make() {
    for (name, state) in states() {
        let fit = Fit {
            step_status: StepStatus::Succeeded,
            ..Fit::of(&state)
        };
        if is_possible(&state, body(EventType::StepCompleted, &fit)) {
            let progress = state.progress.as_ref().unwrap();
            assert_eq!(progress.current_call(), None, "{name}");
        }
    }
}

#[test]
fn a_blocked_answer_is_no_leave_to_make_the_call() {
    for (name, state) in states() {
        let EventBody::ToolInvoked(mut invoked) = body(EventType::ToolInvoked, &Fit::of(&state))
        else {
            unreachable!()
        };
        invoked.decision = record(gatewright_schemas::Decision::Deny);
        let possible = is_possible(&state, EventBody::ToolInvoked(invoked));
        assert!(!possible, "a blocked call was made in {name}");
    }
}
