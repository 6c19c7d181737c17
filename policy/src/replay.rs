//! Asking the gate again what it was asked before, under a candidate document: what `gatewright policy replay` does.
//!
//! 1. [`Replay::learn`] is told the events of the authority, and [`Replay::ask`] the recorded decisions, in the order of time:
//!    so each question meets the tokens and principals of its own moment.
//! 2. The question is put to the gate itself, at the time at which it was put before, with the approval that it presented then.
//! 3. [`Difference`] counts how the answers differ.
//!
//! Limits are counted over what is replayed: the candidate may set some that nobody counted at the time.
//! What is then unlike a fleet: the counters start at zero with the first decision, and a call that was asked about twice counts twice.
//! A copy of the policy that was stale, or a context that could not be read, is so again: no document mends it.

mod approval;
mod authority;
mod counters;
mod difference;
mod question;

use std::sync::Arc;

pub use difference::{
    Change, Difference, Group, ReasonChange, Shadow, Side, Totals, UnreplayableGroup,
};
use gatewright_schemas::{
    DecisionRecord, EventBody, ReasonCode, RecordedDecision, Timestamp, WorkspaceId,
};
pub use question::Unreplayable;

use self::{
    counters::Counters,
    question::{Question, objected},
};
use crate::{
    CompiledPolicy, QuotaAnswer, Snapshot, authorize_egress, authorize_tool_call,
    egress_quota_needed, facts::Facts, quota_needed,
};

/// A candidate document and the world as it was, moving on with the decisions that are replayed.
#[derive(Debug)]
pub struct Replay {
    snapshot: Snapshot,
    counters: Counters,
}

impl Replay {
    /// A world that knows nobody yet, under `candidate`.
    pub fn under(candidate: CompiledPolicy) -> Self {
        let mut snapshot = Snapshot::new();
        snapshot.set_policy(Some(Arc::new(candidate)));
        Self {
            snapshot,
            counters: Counters::default(),
        }
    }

    /// An event of a workspace's authority happened. Others change nothing.
    pub fn learn(&mut self, workspace: &WorkspaceId, body: &EventBody) {
        authority::apply(&mut self.snapshot, workspace, body);
    }

    /// What the gate answers now to what it was asked then.
    pub fn ask(&mut self, recorded: &RecordedDecision) -> Result<DecisionRecord, Unreplayable> {
        let question = Question::of(recorded)?;
        let now = recorded.decided_at;
        let was_stale = objected(recorded, ReasonCode::PolicySnapshotStale);
        self.snapshot
            .set_synced_at(if was_stale { Timestamp::default() } else { now });
        let not_needed = QuotaAnswer::NotNeeded;
        let facts = match &question {
            Question::Tool(request) => {
                Facts::of_tool_call(request, &self.snapshot, &not_needed, now)
            }
            Question::Egress(request) => {
                Facts::of_egress(request, &self.snapshot, &not_needed, now)
            }
        };
        let principal = facts.principal.cloned();
        let grant = approval::presented(recorded, principal.as_ref());
        let rested_on = approval::remembered(recorded, &question, principal);
        if let Some(entry) = &rested_on {
            self.snapshot.upsert_remembered(entry.clone());
        }
        let Self { snapshot, counters } = self;
        let answer = match &question {
            Question::Tool(request) => {
                let needed = quota_needed(request, snapshot, grant.as_ref(), now);
                let quota = counters.answer(needed, now);
                authorize_tool_call(request, snapshot, grant.as_ref(), &quota, now)
                    .into_parts()
                    .0
            }
            Question::Egress(request) => {
                let needed = egress_quota_needed(request, snapshot, grant.as_ref(), now);
                let quota = counters.answer(needed, now);
                authorize_egress(request, snapshot, grant.as_ref(), &quota, now)
                    .into_parts()
                    .0
            }
        };
        if let Some(entry) = rested_on {
            snapshot.remove_remembered(&entry.workspace_id, &entry.remembered_id);
        }
        Ok(answer)
    }
}
