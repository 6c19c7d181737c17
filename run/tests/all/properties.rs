//! What holds of every history, whoever moves the run and whenever they die.

use std::collections::{BTreeMap, BTreeSet};

use gatewright_run::{RunState, Unevolved, decide};
use gatewright_schemas::{
    Commit, Decision, EnforcementMode, Event, EventBody, EventType, Gate, ReasonCode, RunStatus,
    StepStatus, ToolCallId,
    chain::{self, ChainHead},
    event::{ApprovalQuestion, ToolInvoked},
};
use proptest::prelude::*;
use serde_json::Value;

use crate::{
    bodies::{self, Fit, body},
    model::{moves, runtimes, stories},
    world::{Story, acme, r1},
};

fn events(story: &Story) -> Vec<Event> {
    story
        .commits
        .iter()
        .flat_map(|c| c.commit.events.clone())
        .collect()
}

fn is_end(event_type: EventType) -> bool {
    matches!(
        event_type,
        EventType::RunCompleted
            | EventType::RunFailed
            | EventType::RunCancelled
            | EventType::RunRejected
    )
}

/// `seq` has no gaps, the chain holds, there is one end at most and nothing after it.
fn check_form(story: &Story) {
    let events = events(story);
    let mut head = ChainHead::default();
    for (place, event) in events.iter().enumerate() {
        assert_eq!(event.seq, place as u64 + 1);
        chain::verify(&mut head, event).unwrap();
    }
    assert_eq!(story.state.chain, head);
    let ends: Vec<usize> = (0..events.len())
        .filter(|place| is_end(events[*place].event_type))
        .collect();
    if story.status().is_terminal() {
        assert_eq!(ends, [events.len() - 1], "{:?}", story.told());
    } else {
        assert!(ends.is_empty(), "{:?}", story.told());
    }
    let ids: BTreeSet<&str> = events.iter().map(|e| e.event_id.as_str()).collect();
    assert_eq!(ids.len(), events.len());
}

/// What became of each call.
#[derive(Default)]
struct Calls {
    asked: BTreeMap<String, (ToolCallId, String)>,
    approved: BTreeSet<String>,
    spent: BTreeSet<String>,
    stopped: BTreeSet<ToolCallId>,
    intents: BTreeMap<ToolCallId, (u32, bool)>,
    ended: BTreeSet<ToolCallId>,
    open: Option<ToolCallId>,
}

impl Calls {
    fn see(&mut self, body: &EventBody) {
        match body {
            EventBody::PolicyDenied(decided) if decided.decision.blocked => {
                self.stopped.insert(decided.tool_call_id.clone());
            }
            EventBody::ApprovalRequested(request)
                if request.question == ApprovalQuestion::MakeTheCall =>
            {
                let bound = (
                    request.tool_call_id.clone(),
                    request.input_digest.to_string(),
                );
                let before = self.asked.insert(request.approval_id.to_string(), bound);
                assert_eq!(before, None, "an approval's id was used twice");
            }
            EventBody::ApprovalDecided(decided) if decided.approved => {
                self.approved.insert(decided.approval_id.to_string());
            }
            EventBody::ToolInvoked(invoked) => self.see_intent(invoked),
            EventBody::ToolSucceeded(succeeded) => {
                let id = &succeeded.tool_call_id;
                assert_eq!(self.open.take().as_ref(), Some(id), "no intent");
                assert!(self.ended.insert(id.clone()), "`{id}` ended twice");
            }
            EventBody::ToolFailed(failed) => {
                let id = &failed.tool_call_id;
                assert!(
                    self.open.take().is_none_or(|open| open == *id),
                    "another call is open"
                );
                assert!(self.ended.insert(id.clone()), "`{id}` ended twice");
                let intents = self.intents.get(id).map_or(0, |(intents, _)| *intents);
                assert!(failed.executions <= intents, "executed without intent");
                assert_eq!(failed.executions == 0, intents == 0, "{failed:?}");
            }
            _ => {}
        }
    }

    fn see_intent(&mut self, invoked: &ToolInvoked) {
        let id = &invoked.tool_call_id;
        assert!(!invoked.decision.blocked);
        assert!(
            invoked.decision.decision == Decision::Allow
                || invoked.decision.enforcement_mode == EnforcementMode::Shadow,
            "neither allowed nor in shadow mode"
        );
        assert!(!self.stopped.contains(id), "`{id}` was denied and made");
        assert!(!self.ended.contains(id), "`{id}` was made after its end");
        if let Some(approval) = &invoked.approval_id {
            let approval = approval.to_string();
            assert!(self.approved.contains(&approval), "nobody approved");
            assert_eq!(
                self.asked[&approval],
                (id.clone(), invoked.input_digest.to_string()),
                "an approval was spent on something else"
            );
            // A repetition under the same idempotency key is the same call.
            let is_repetition = self.open.as_ref() == Some(id) && invoked.idempotent;
            let is_first = self.spent.insert(approval);
            assert!(is_first || is_repetition, "an approval was spent twice");
        }
        assert_eq!(
            invoked.decision.reason_code == ReasonCode::ApprovalAllowsAction,
            invoked.approval_id.is_some()
        );
        assert!(self.open.as_ref().is_none_or(|open| open == id));
        self.open = Some(id.clone());
        let (intents, idempotent) = self
            .intents
            .entry(id.clone())
            .or_insert((0, invoked.idempotent));
        *intents += 1;
        assert!(
            *intents == 1 || *idempotent,
            "`{id}` is not idempotent and was made twice"
        );
    }
}

/// No intent without leave; no call made twice that must not be; no approval spent on something else or twice.
fn check_calls(story: &Story) {
    let mut calls = Calls::default();
    for event in events(story) {
        calls.see(&event.body().unwrap());
    }
    let progress = story.state.progress.as_ref().unwrap();
    let open = progress.open_call.as_ref().map(|o| o.tool_call_id.clone());
    assert_eq!(calls.open, open);
    if story.status().is_terminal() {
        assert_eq!(open, None);
    }
    if story.status() == RunStatus::Succeeded {
        let planned: BTreeSet<ToolCallId> = progress
            .plan
            .steps
            .iter()
            .flat_map(|step| &step.calls)
            .map(|call| call.tool_call_id.clone())
            .collect();
        assert_eq!(
            calls.ended, planned,
            "a run succeeded without all its calls"
        );
        let counted = progress.succeeded_calls + progress.failed_calls;
        assert_eq!(counted as usize, planned.len());
    }
}

/// Each step is opened once, in order, closed once, and closed at the end of the run.
fn check_steps(story: &Story) {
    let mut opened = 0;
    let mut open = false;
    for event in events(story) {
        match event.body().unwrap() {
            EventBody::StepCreated(created) => {
                assert!(!open);
                opened += 1;
                open = true;
                assert_eq!(created.number, opened);
            }
            EventBody::StepCompleted(completed) => {
                assert!(open);
                open = false;
                assert_ne!(completed.status, StepStatus::Running);
            }
            _ => {}
        }
        if let Some(step) = &event.step_id {
            assert_eq!(step.as_str(), format!("acme.r1.{opened}"));
        }
    }
    assert!(!(open && story.status().is_terminal()));
}

/// What the subject tells is what the commit did.
fn check_subjects(story: &Story) {
    let mut attempt = 0;
    for sealed in &story.commits {
        let has = |event_type| {
            let mut events = sealed.commit.events.iter();
            events.any(|e| e.event_type == event_type)
        };
        let gate = if has(EventType::PolicyDenied) {
            Gate::Deny
        } else if has(EventType::PolicyRequiresApproval) {
            Gate::RequireApproval
        } else if has(EventType::ToolInvoked) {
            Gate::Allow
        } else {
            Gate::None
        };
        assert_eq!(sealed.gate, gate);
        assert_eq!(sealed.state.status(), Some(sealed.status));
        assert!(sealed.commit.attempt >= attempt);
        let begins = has(EventType::RunStarted) || has(EventType::RunResumed);
        assert_eq!(sealed.commit.attempt, attempt + u32::from(begins));
        attempt = sealed.commit.attempt;
        let progress = sealed.state.progress.as_ref().unwrap();
        assert_eq!(progress.attempt, attempt);
        if sealed.status.is_parked() {
            assert_eq!(progress.lease, None);
        }
    }
}

/// Folding what is on the wire gives the state that the live path has.
fn check_replay(story: &Story) {
    let mut state = RunState::new(acme(), r1());
    for sealed in &story.commits {
        let bytes = serde_json::to_vec(&sealed.commit).unwrap();
        let commit: Commit = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(commit, sealed.commit);
        for event in &commit.events {
            state.evolve(event).unwrap();
        }
        assert_eq!(format!("{state:?}"), format!("{:?}", sealed.state));
    }
}

fn check(story: &Story) {
    check_form(story);
    check_calls(story);
    check_steps(story);
    check_subjects(story);
    check_replay(story);
}

/// A body of any type, fitting `state` in some ways and not in others.
fn any_body() -> impl Strategy<Value = (usize, [u8; 7])> {
    (0..EventType::ALL.len(), any::<[u8; 7]>())
}

fn misfit(state: &RunState, (kind, dice): (usize, [u8; 7])) -> EventBody {
    let mut fit = Fit::of(state);
    if dice[0] < 60 {
        fit.call = bodies::first_call();
    }
    if dice[1] < 60 {
        fit.attempt = [0, 1, u32::MAX][usize::from(dice[1] % 3)];
    }
    fit.idempotent = dice[2] < 128;
    fit.waiting_for_actor = dice[3] < 128;
    fit.approved = dice[4] < 128;
    fit.step_status = StepStatus::ALL[usize::from(dice[5]) % StepStatus::ALL.len()];
    if dice[6] < 60 {
        fit.question = ApprovalQuestion::GoOnAfterUnknownOutcome;
    }
    body(EventType::ALL[kind], &fit)
}

/// Puts `new` in the place of the `place`-th leaf of a JSON value.
fn replace_leaf(value: &mut Value, place: &mut usize, new: &Value) -> bool {
    let found = |children: &mut dyn Iterator<Item = &mut Value>, place: &mut usize| {
        for child in children {
            if replace_leaf(child, place, new) {
                return true;
            }
        }
        false
    };
    match value {
        Value::Object(fields) if !fields.is_empty() => found(&mut fields.values_mut(), place),
        Value::Array(items) if !items.is_empty() => found(&mut items.iter_mut(), place),
        leaf => {
            if *place == 0 {
                *leaf = new.clone();
                return true;
            }
            *place -= 1;
            false
        }
    }
}

fn leaves() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "acme\\.r1\\.[0-9]\\.[0-9]".prop_map(Value::from),
        prop::sample::select(vec![
            "allow",
            "deny",
            "succeeded",
            "shadow",
            "actor",
            "_authority",
            "make_the_call",
        ])
        .prop_map(Value::from),
        Just(serde_json::json!({})),
        Just(serde_json::json!([[]])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_history_is_sound_wherever_it_stops(story in stories()) {
        check(&story);
    }

    #[test]
    fn every_run_comes_to_an_end_whoever_died_on_it(story in stories()) {
        let mut story = story;
        story.crash();
        story.play_out();
        check(&story);
    }

    #[test]
    fn nothing_can_be_done_to_a_run_that_ended(story in stories(), later in moves(), any in any_body()) {
        let mut story = story;
        story.play_out();
        let commits = story.commits.len();
        for made in later {
            story.play(made);
        }
        prop_assert_eq!(story.commits.len(), commits);
        let event = bodies::event(&story.state, misfit(&story.state, any));
        prop_assert!(matches!(story.state.evolve(&event), Err(Unevolved::Impossible(_))));
        let turn = story.turn();
        prop_assert!(decide::finish(&story.state, turn).is_err());
        prop_assert!(decide::exhaust(&story.state, turn, 3).is_err());
    }

    #[test]
    fn a_run_left_in_peace_makes_each_allowed_call_once(runtime in runtimes()) {
        let mut story = Story::of(&runtime);
        story.play_out();
        check(&story);
        let mut made = BTreeSet::new();
        for event in events(&story) {
            if let EventBody::ToolInvoked(invoked) = event.body().unwrap() {
                prop_assert!(made.insert(invoked.tool_call_id));
            }
        }
    }

    #[test]
    fn a_history_without_one_of_its_events_does_not_fold(story in stories(), place in any::<prop::sample::Index>()) {
        let mut events = events(&story);
        // Without its last event a history is a shorter one.
        prop_assume!(events.len() > 1);
        events.remove(place.index(events.len() - 1));
        let mut state = RunState::new(acme(), r1());
        prop_assert!(events.iter().try_for_each(|event| state.evolve(event)).is_err());
    }

    #[test]
    fn what_cannot_follow_is_refused_and_changes_nothing(story in stories(), forged in prop::collection::vec(any_body(), 1..30)) {
        let mut state = story.state;
        for any in forged {
            let event = bodies::event(&state, misfit(&state, any));
            let before = format!("{state:?}");
            if state.evolve(&event).is_err() {
                prop_assert_eq!(format!("{state:?}"), before);
            }
            // Whatever history that makes, what is asked of the state is answered.
            let _ = gatewright_run::next(&state);
            let _ = decide::finish(&state, None);
            let _ = decide::expire(&state);
            let _ = decide::cancel(&state, "ann".into(), None);
        }
    }

    #[test]
    fn mangled_events_are_refused_or_folded_and_never_panic(
        story in stories(),
        place in any::<prop::sample::Index>(),
        leaf in 0_usize..60,
        new in leaves(),
    ) {
        let events = events(&story);
        let place = place.index(events.len());
        let mut state = RunState::new(acme(), r1());
        for event in &events[..place] {
            state.evolve(event).unwrap();
        }
        let mut json = serde_json::to_value(&events[place]).unwrap();
        let mut leaf = leaf;
        replace_leaf(&mut json, &mut leaf, &new);
        if let Ok(mut event) = serde_json::from_value::<Event>(json) {
            if event != events[place] {
                prop_assert!(state.clone().evolve(&event).is_err());
            }
            event.hash = chain::hash_of(&event);
            let _ = state.evolve(&event);
            let _ = gatewright_run::next(&state);
        }
    }
}

#[test]
fn the_model_reaches_every_state_and_every_kind_of_commit() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut statuses = BTreeSet::new();
    let mut types = BTreeSet::new();
    for _ in 0..600 {
        let story = stories().new_tree(&mut runner).unwrap().current();
        statuses.insert(story.status());
        types.extend(events(&story).iter().map(|e| e.event_type));
    }
    for status in RunStatus::ALL {
        let elsewhere = matches!(status, RunStatus::Rejected | RunStatus::WaitingActor);
        assert_eq!(statuses.contains(status), !elsewhere, "{status}");
    }
    for event_type in [
        EventType::RunResumed,
        EventType::RunSuspended,
        EventType::PolicyDenied,
        EventType::PolicyRequiresApproval,
        EventType::ApprovalDecided,
        EventType::ApprovalExpired,
        EventType::RunCompleted,
    ] {
        assert!(types.contains(&event_type), "{event_type}");
    }
}
