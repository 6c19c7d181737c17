//! A little model of everybody who moves a run: workers that crash, operators that answer, cancel and change the policy.

use gatewright_run::decide::{self, Undecided, Verdict};
use gatewright_schemas::{ErrorInfo, ReasonCode, RunStatus, Stage};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{Did, POLICY, Story, enforced, shadow, snapshot};

/// What somebody does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// The worker does what is next; a call that it was executing succeeds, or not.
    Work { well: bool },
    /// The worker dies.
    Crash,
    /// Somebody answers the approval.
    Answer { approved: bool },
    /// The approval's time is up.
    Lapse,
    /// Somebody cancels the run.
    Cancel,
    /// The run's deadline comes.
    Deadline,
    /// The run is given up, since its workers die.
    Exhaust,
    /// Somebody changes the policy.
    Policy(Rules),
}

/// A policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    Enforced,
    Shadow,
    Open,
    Closed,
}

impl Rules {
    fn snapshot(self) -> gatewright_policy::Snapshot {
        match self {
            Self::Enforced => enforced(),
            Self::Shadow => shadow(),
            Self::Open => snapshot("default = \"allow\""),
            Self::Closed => snapshot(&POLICY.replace("\"allow\"", "\"deny\"")),
        }
    }
}

fn rules() -> impl Strategy<Value = Rules> {
    prop_oneof![
        4 => Just(Rules::Enforced),
        1 => Just(Rules::Shadow),
        1 => Just(Rules::Open),
        1 => Just(Rules::Closed),
    ]
}

/// What somebody does next, endings seldom.
pub fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        40 => Just(Move::Work { well: true }),
        6 => Just(Move::Work { well: false }),
        10 => Just(Move::Crash),
        8 => Just(Move::Answer { approved: true }),
        2 => Just(Move::Answer { approved: false }),
        1 => Just(Move::Lapse),
        1 => Just(Move::Cancel),
        1 => Just(Move::Deadline),
        1 => Just(Move::Exhaust),
        2 => rules().prop_map(Move::Policy),
    ];
    prop::collection::vec(one, 0..60)
}

/// The `input.runtime` of any run.
pub fn runtimes() -> impl Strategy<Value = Value> {
    let tool = prop_oneof![
        3 => Just("read"),
        3 => Just("send"),
        2 => Just("pay"),
        2 => Just("renew"),
        1 => Just("forbidden"),
        1 => Just("missing"),
    ];
    let on_failure = prop_oneof![Just("fail"), Just("continue"), Just("continue")];
    let call = (tool, on_failure)
        .prop_map(|(tool, on_failure)| json!({ "tool": tool, "on_failure": on_failure }));
    let step = prop::collection::vec(call, 0..4).prop_map(|calls| json!({ "tool_calls": calls }));
    let policy = prop_oneof![
        8 => Just(json!(null)),
        1 => Just(json!({ "on_approval": "fail" })),
        1 => Just(json!({ "zone": "moon" })),
    ];
    let unknown = prop_oneof![Just("fail"), Just("ask_human")];
    (prop::collection::vec(step, 1..5), policy, unknown).prop_map(|(steps, policy, unknown)| {
        json!({ "policy": policy, "steps": steps, "on_unknown_outcome": unknown })
    })
}

fn broken() -> ErrorInfo {
    ErrorInfo::new(
        Stage::Execution,
        ReasonCode::ToolExecutionFailed,
        "it broke",
    )
}

impl Story {
    /// Makes a move, or sees it refused where it has no place.
    pub fn play(&mut self, made: Move) {
        let status = self.status();
        match made {
            Move::Work { well: true } => {
                self.work_well();
            }
            Move::Work { well: false } => {
                self.work(Err(broken()));
            }
            Move::Crash => self.crash(),
            Move::Policy(rules) => self.gate = rules.snapshot(),
            Move::Answer { approved } if status == RunStatus::WaitingApproval => {
                self.decide_approval(approved);
            }
            Move::Lapse if status == RunStatus::WaitingApproval => {
                let lapsed = self.answer(Verdict::Expired);
                self.append(lapsed);
            }
            Move::Answer { .. } | Move::Lapse => {
                if self.state.progress.as_ref().unwrap().waiting.is_some() {
                    assert!(matches!(
                        self.answer(Verdict::Expired),
                        Err(Undecided::Answered(_) | Undecided::Ended)
                    ));
                }
            }
            Move::Cancel | Move::Deadline => {
                let decided = match made {
                    Move::Cancel => decide::cancel(&self.state, "ann".into(), None),
                    _ => decide::expire(&self.state),
                };
                if status.is_terminal() {
                    assert_eq!(decided.unwrap_err(), Undecided::Ended);
                } else {
                    self.append(decided);
                }
            }
            Move::Exhaust => {
                if !status.is_terminal() && !status.is_parked() {
                    let turn = self.turn();
                    let exhausted = decide::exhaust(&self.state, turn, 3);
                    self.append(exhausted);
                }
            }
        }
    }

    /// From here on nobody crashes, and everybody says yes.
    pub fn play_out(&mut self) {
        for _ in 0..1_000 {
            match self.status() {
                RunStatus::WaitingApproval => {
                    self.decide_approval(true);
                }
                status if status.is_terminal() => return,
                _ => assert_ne!(self.work_well(), Did::Nothing),
            }
        }
        panic!("the run does not come to an end: {:#?}", self.state);
    }
}

/// Any run, moved by anybody.
pub fn stories() -> impl Strategy<Value = Story> {
    (runtimes(), rules(), moves()).prop_map(|(runtime, rules, moves)| {
        let mut story = Story::of(&runtime).under(rules.snapshot());
        for made in moves {
            story.play(made);
        }
        story
    })
}
