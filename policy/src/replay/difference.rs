//! How two series of answers to the same questions differ.

use std::collections::BTreeMap;

use gatewright_schemas::{
    Decision, DecisionRecord, EnforcementMode, ReasonCode, RecordedDecision, Zone,
};
use serde::Serialize;

use super::Unreplayable;

/// At most so many runs are named for each change.
const EXAMPLES: usize = 3;

/// How the answer to one question changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It does not.
    Same,
    /// To a denial.
    NewlyDenied,
    /// To an approval that is needed; also from a denial.
    NewlyNeedingApproval,
    /// To leave.
    NewlyAllowed,
    /// The same answer is obeyed by one and only recorded by the other.
    OtherMode,
    /// The same answer, for another reason.
    OtherReason,
}

impl Change {
    /// From the recorded answer to the candidate's.
    pub fn between(then: &DecisionRecord, now: &DecisionRecord) -> Self {
        if then.decision != now.decision {
            return match now.decision {
                Decision::Deny => Self::NewlyDenied,
                Decision::RequireApproval => Self::NewlyNeedingApproval,
                Decision::Allow => Self::NewlyAllowed,
            };
        }
        if then.blocked != now.blocked {
            Self::OtherMode
        } else if then.reason_code != now.reason_code {
            Self::OtherReason
        } else {
            Self::Same
        }
    }
}

/// How many answers change, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Recorded decisions, those that cannot be replayed included.
    pub decisions: u64,
    /// The same answer for the same reason.
    pub same: u64,
    /// Not denied then, denied by the candidate.
    pub newly_denied: u64,
    /// No approval was needed then (or it was denied outright), and the candidate wants one.
    pub newly_needing_approval: u64,
    /// Not allowed then, allowed by the candidate.
    pub newly_allowed: u64,
    /// The same answer is obeyed by one and only recorded by the other.
    pub other_mode: u64,
    /// The same answer for another reason.
    pub other_reason: u64,
    /// Not known: the decision could not be asked again.
    pub unreplayable: u64,
}

impl Totals {
    /// Answers that change.
    pub fn changed(&self) -> u64 {
        self.newly_denied
            + self.newly_needing_approval
            + self.newly_allowed
            + self.other_mode
            + self.other_reason
    }

    fn count(&mut self, change: Change) {
        self.decisions += 1;
        *match change {
            Change::Same => &mut self.same,
            Change::NewlyDenied => &mut self.newly_denied,
            Change::NewlyNeedingApproval => &mut self.newly_needing_approval,
            Change::NewlyAllowed => &mut self.newly_allowed,
            Change::OtherMode => &mut self.other_mode,
            Change::OtherReason => &mut self.other_reason,
        } += 1;
    }

    fn count_unreplayable(&mut self) {
        self.decisions += 1;
        self.unreplayable += 1;
    }
}

/// Answers that are counted together: of one tool, principal or zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its name; absent for calls that name no principal.
    pub name: Option<String>,
    /// Its counts.
    #[serde(flatten)]
    pub totals: Totals,
}

/// One of the two answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Side {
    /// The answer.
    pub decision: Decision,
    /// Why.
    pub reason_code: ReasonCode,
    /// Whether it stops the call.
    pub blocked: bool,
}

impl From<&DecisionRecord> for Side {
    fn from(record: &DecisionRecord) -> Self {
        Self {
            decision: record.decision,
            reason_code: record.reason_code,
            blocked: record.blocked,
        }
    }
}

/// Answers that change from one reason to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReasonChange {
    /// How.
    pub change: Change,
    /// As it was recorded.
    pub then: Side,
    /// Under the candidate.
    pub now: Side,
    /// How many.
    pub decisions: u64,
    /// The first few runs, `<workspace>/<run>`.
    pub examples: Vec<String>,
}

/// Decisions that could not be asked again, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnreplayableGroup {
    /// Why.
    pub reason: String,
    /// How many.
    pub decisions: u64,
    /// The first few runs, `<workspace>/<run>`.
    pub examples: Vec<String>,
}

/// What enforcing would stop, of the decisions that were recorded in shadow mode and could be asked again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Shadow {
    /// Recorded in shadow mode.
    pub decisions: u64,
    /// Of these, what the recorded answers would have stopped, had they been obeyed.
    pub would_stop_then: u64,
    /// Of these, what the candidate's answers stop when they are obeyed.
    pub would_stop_now: u64,
}

#[derive(Debug, Clone, Default)]
struct Examples {
    decisions: u64,
    runs: Vec<String>,
}

impl Examples {
    fn add(&mut self, recorded: &RecordedDecision) {
        self.decisions += 1;
        if self.runs.len() < EXAMPLES {
            let run = format!("{}/{}", recorded.workspace_id, recorded.run_id);
            if !self.runs.contains(&run) {
                self.runs.push(run);
            }
        }
    }
}

/// The whole difference. It grows with the number of tools, principals and reasons, not with that of decisions.
#[derive(Debug, Clone, Default)]
pub struct Difference {
    totals: Totals,
    shadow: Shadow,
    tools: BTreeMap<String, Totals>,
    principals: BTreeMap<Option<String>, Totals>,
    zones: BTreeMap<Zone, Totals>,
    reasons: BTreeMap<(Change, Side, Side), Examples>,
    unreplayable: BTreeMap<Unreplayable, Examples>,
}

impl Difference {
    /// Counts one decision: the recorded one and the candidate's answer.
    pub fn add(
        &mut self,
        recorded: &RecordedDecision,
        answer: Result<&DecisionRecord, Unreplayable>,
    ) {
        let principal = recorded.principal_id.as_ref().map(ToString::to_string);
        let counts = [
            &mut self.totals,
            self.tools.entry(recorded.tool_name.clone()).or_default(),
            self.principals.entry(principal).or_default(),
            self.zones.entry(recorded.zone).or_default(),
        ];
        let then = &recorded.decision;
        let now = match answer {
            Ok(now) => now,
            Err(why) => {
                for totals in counts {
                    totals.count_unreplayable();
                }
                self.unreplayable.entry(why).or_default().add(recorded);
                return;
            }
        };
        let change = Change::between(then, now);
        for totals in counts {
            totals.count(change);
        }
        if change != Change::Same {
            let key = (change, Side::from(then), Side::from(now));
            self.reasons.entry(key).or_default().add(recorded);
        }
        if then.enforcement_mode == EnforcementMode::Shadow {
            let stops = |record: &DecisionRecord| u64::from(record.decision != Decision::Allow);
            self.shadow.decisions += 1;
            self.shadow.would_stop_then += stops(then);
            self.shadow.would_stop_now += stops(now);
        }
    }

    /// All decisions together.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// What was recorded in shadow mode.
    pub fn shadow(&self) -> Shadow {
        self.shadow
    }

    /// The tools whose answers are not all the same, those with most changes first.
    pub fn tools(&self) -> Vec<Group> {
        groups(self.tools.iter().map(|(name, t)| (Some(name.clone()), t)))
    }

    /// The principals whose answers are not all the same, those with most changes first.
    pub fn principals(&self) -> Vec<Group> {
        groups(self.principals.iter().map(|(name, t)| (name.clone(), t)))
    }

    /// The zones in which answers are not all the same, those with most changes first.
    pub fn zones(&self) -> Vec<Group> {
        groups(
            self.zones
                .iter()
                .map(|(zone, t)| (Some(zone.to_string()), t)),
        )
    }

    /// From which reason to which, the most frequent first.
    pub fn reasons(&self) -> Vec<ReasonChange> {
        let changes = self.reasons.iter();
        let mut changes: Vec<ReasonChange> = changes
            .map(|((change, then, now), examples)| ReasonChange {
                change: *change,
                then: *then,
                now: *now,
                decisions: examples.decisions,
                examples: examples.runs.clone(),
            })
            .collect();
        changes.sort_by_key(|change| std::cmp::Reverse(change.decisions));
        changes
    }

    /// What could not be asked again, and why.
    pub fn unreplayable(&self) -> Vec<UnreplayableGroup> {
        let groups = self.unreplayable.iter();
        groups
            .map(|(why, examples)| UnreplayableGroup {
                reason: why.to_string(),
                decisions: examples.decisions,
                examples: examples.runs.clone(),
            })
            .collect()
    }
}

/// The sort is stable, so groups with as many changes stay in the order of their names.
fn groups<'a>(all: impl Iterator<Item = (Option<String>, &'a Totals)>) -> Vec<Group> {
    let mut groups: Vec<Group> = all
        .filter(|(_, totals)| totals.changed() + totals.unreplayable > 0)
        .map(|(name, totals)| Group {
            name,
            totals: *totals,
        })
        .collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.totals.changed()));
    groups
}
