use gatewright_run::{RunState, Unevolved};
use gatewright_schemas::{EventType, RunId, WorkspaceId, chain};

use crate::{
    bodies::{self, Fit, body},
    world::{Story, acme, r1},
};

fn debug(state: &RunState) -> String {
    format!("{state:#?}")
}

#[test]
fn an_event_that_cannot_follow_leaves_the_state_as_it_was() {
    let mut story = Story::calling(&[&["read"]]);
    story.work_well();
    let before = debug(&story.state);
    for event_type in [EventType::RunCreated, EventType::RunCompleted] {
        let event = bodies::event(&story.state, body(event_type, &Fit::of(&story.state)));
        let refused = story.state.evolve(&event);
        assert!(matches!(refused, Err(Unevolved::Impossible(_))));
        assert_eq!(debug(&story.state), before, "{event_type}");
    }
}

#[test]
fn an_event_that_cannot_be_read_leaves_the_state_as_it_was() {
    let mut story = Story::calling(&[&["read"]]);
    story.work_well();
    let before = debug(&story.state);
    let fit = Fit::of(&story.state);
    let sound = bodies::event(&story.state, body(EventType::ToolSucceeded, &fit));
    let mut newer = sound.clone();
    newer.event_version += 1;
    let mut other = sound.clone();
    other.data = serde_json::json!({ "surprise": 1 });
    for mut event in [newer, other] {
        event.hash = chain::hash_of(&event);
        let refused = story.state.evolve(&event);
        assert!(
            matches!(refused, Err(Unevolved::Unreadable(_))),
            "{event:?}"
        );
        assert_eq!(debug(&story.state), before);
    }
    story.state.evolve(&sound).unwrap();
}

#[test]
fn an_event_that_breaks_the_chain_leaves_the_state_as_it_was() {
    let mut story = Story::calling(&[&["read"]]);
    story.work_well();
    let before = debug(&story.state);
    let fit = Fit::of(&story.state);
    let sound = bodies::event(&story.state, body(EventType::ToolSucceeded, &fit));
    let mut gap = sound.clone();
    gap.seq += 1;
    let mut loose = sound.clone();
    loose.prev_hash = None;
    let mut altered = sound;
    altered.actor.actor_id.push('x');
    for event in [gap, loose, altered] {
        let refused = story.state.evolve(&event);
        assert!(matches!(refused, Err(Unevolved::Chain(_))), "{event:?}");
        assert_eq!(debug(&story.state), before);
    }
}

#[test]
fn another_runs_event_is_not_folded_in() {
    let elsewhere = WorkspaceId::new("elsewhere").unwrap();
    let other_run = RunId::new("r2").unwrap();
    for (workspace, run) in [(elsewhere, r1()), (acme(), other_run)] {
        let other = RunState::new(workspace, run);
        let event = bodies::event(&other, body(EventType::RunCreated, &Fit::of(&other)));
        let mut mine = RunState::new(acme(), r1());
        let refused = mine.evolve(&event);
        assert!(matches!(refused, Err(Unevolved::Foreign { .. })));
        assert!(mine.progress.is_none());
    }
}

#[test]
fn one_history_has_one_fold() {
    let mut story = Story::calling(&[&["read"], &["pay", "send"]]);
    story.work_off();
    story.decide_approval(true);
    story.work_off();
    let mut replayed = RunState::new(acme(), r1());
    for sealed in &story.commits {
        for event in &sealed.commit.events {
            replayed.evolve(event).unwrap();
        }
        assert_eq!(debug(&replayed), debug(&sealed.state));
        assert_eq!(replayed.status(), Some(sealed.status));
    }
}
