//! The rows that a batch of commits changes, while they are in memory.

use std::collections::HashMap;

use gatewright_schemas::{Event, EventId, RunId, StoredCommit, Timestamp, WorkspaceId};

use super::{
    ApprovalRow, CapabilityTokenRow, DecisionRow, EgressRow, PolicyRevisionRow, PrincipalRow,
    RememberedApprovalRow, RunRow, StepRow, ToolCallRow, UnstorableEvent, copy::CopyBuffer, event,
    row::Table,
};

/// At most this many live runs stay in memory from one batch to the next.
const KEPT_RUNS: usize = 20_000;
/// A run with more rows than this is read again rather than kept.
const KEPT_ROWS: usize = 64;

/// What a batch of commits comes to, table by table.
///
/// Between batches it keeps the rows of runs that are under way, so that they need not be read again.
#[derive(Debug, Default)]
pub struct Batch {
    /// `runs`, and what belongs to each: `steps`, `tool_calls`, `approvals`, `egress_requests`.
    pub runs: Runs,
    /// `events`.
    pub events: Events,
    /// `policy_decisions`.
    pub decisions: Decisions,
    /// `capability_tokens`.
    pub tokens: Slots<CapabilityTokenRow>,
    /// `principals`.
    pub principals: Slots<PrincipalRow>,
    /// `policy_revisions`.
    pub revisions: Slots<PolicyRevisionRow>,
    /// `remembered_approvals`.
    pub remembered: Slots<RememberedApprovalRow>,
    /// The last commit that was folded into it; absent when none was since the last write.
    pub position: Option<Position>,
}

/// A commit's place in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Its sequence.
    pub sequence: u64,
    /// Its last event.
    pub event_id: EventId,
    /// When the stream stored it.
    pub stored_at: Timestamp,
}

impl Batch {
    /// Forgets everything: what was not written, and what was kept from batches before.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// After a write: forgets what need not be kept, and knows the rest as stored.
    pub(super) fn settle(&mut self) {
        self.events.0.clear();
        self.decisions.0.clear();
        self.tokens = Slots::default();
        self.principals = Slots::default();
        self.revisions = Slots::default();
        self.remembered = Slots::default();
        self.position = None;
        self.runs.settle();
    }
}

/// Rows of `events`.
#[derive(Debug)]
pub struct Events(pub(super) CopyBuffer);

/// Rows of `policy_decisions`.
#[derive(Debug)]
pub struct Decisions(pub(super) CopyBuffer);

impl Default for Events {
    fn default() -> Self {
        Self(CopyBuffer::new())
    }
}

impl Default for Decisions {
    fn default() -> Self {
        Self(CopyBuffer::new())
    }
}

impl Events {
    /// Adds the event at `place` (from 1) of `stored`.
    pub fn add(
        &mut self,
        stored: &StoredCommit,
        place: usize,
        event: &Event,
    ) -> Result<(), UnstorableEvent> {
        event::encode(&mut self.0, stored, place, event)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.rows()
    }
}

impl Decisions {
    /// Adds an answer of the gate.
    pub fn add(&mut self, row: &DecisionRow<'_>) {
        row.encode(&mut self.0);
    }
}

/// A row and what has become of it.
#[derive(Debug)]
pub(super) struct Slot<T> {
    pub(super) row: T,
    /// The table has a row of this key.
    pub(super) stored: bool,
    /// The table does not have it as it is here.
    pub(super) changed: bool,
}

/// Rows of one table.
#[derive(Debug)]
pub struct Slots<T>(pub(super) Vec<Slot<T>>);

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Slots<T> {
    /// Adds a row that the table does not have.
    pub fn add(&mut self, row: T) {
        self.0.push(Slot {
            row,
            stored: false,
            changed: true,
        });
    }

    /// Adds a row as the table has it.
    pub(super) fn admit(&mut self, row: T) {
        self.0.push(Slot {
            row,
            stored: true,
            changed: false,
        });
    }

    /// The row that `is_it`, to be changed.
    pub fn find(&mut self, is_it: impl Fn(&T) -> bool) -> Option<&mut T> {
        // What is changed is mostly what was added last.
        let slot = self.0.iter_mut().rev().find(|slot| is_it(&slot.row))?;
        slot.changed = true;
        Some(&mut slot.row)
    }

    /// Whether there is a row that `is_it`.
    pub fn has(&self, is_it: impl Fn(&T) -> bool) -> bool {
        self.0.iter().rev().any(|slot| is_it(&slot.row))
    }

    /// Every row that `is_one`, to be changed.
    pub fn select(&mut self, is_one: impl Fn(&T) -> bool) -> impl Iterator<Item = &mut T> {
        self.0
            .iter_mut()
            .filter(move |slot| is_one(&slot.row))
            .map(|slot| {
                slot.changed = true;
                &mut slot.row
            })
    }

    pub(super) fn changed(&self) -> impl Iterator<Item = &Slot<T>> {
        self.0.iter().filter(|slot| slot.changed)
    }

    fn settle(&mut self) {
        for slot in &mut self.0 {
            slot.stored = true;
            slot.changed = false;
        }
    }
}

/// A run and what belongs to it.
#[derive(Debug)]
pub struct RunRows {
    /// Its row of `runs`.
    pub run: RunRow,
    /// Its rows of `steps`.
    pub steps: Slots<StepRow>,
    /// Its rows of `tool_calls`.
    pub calls: Slots<ToolCallRow>,
    /// Its rows of `approvals`.
    pub approvals: Slots<ApprovalRow>,
    /// Its rows of `egress_requests`.
    pub egress: Slots<EgressRow>,
    pub(super) stored: bool,
    pub(super) changed: bool,
    /// Every row of it is here; otherwise only those that the batch may touch.
    whole: bool,
}

impl RunRows {
    pub(super) fn new(run: RunRow, stored: bool) -> Self {
        Self {
            run,
            steps: Slots::default(),
            calls: Slots::default(),
            approvals: Slots::default(),
            egress: Slots::default(),
            stored,
            changed: !stored,
            whole: !stored,
        }
    }

    fn is_worth_keeping(&self) -> bool {
        let rows =
            self.steps.0.len() + self.calls.0.len() + self.approvals.0.len() + self.egress.0.len();
        self.whole
            && rows <= KEPT_ROWS
            && !self.run.status.is_terminal()
            && !self.run.status.is_parked()
    }

    fn settle(&mut self) {
        self.stored = true;
        self.changed = false;
        self.steps.settle();
        self.calls.settle();
        self.approvals.settle();
        self.egress.settle();
    }
}

/// Runs, by workspace and id.
#[derive(Debug, Default)]
pub struct Runs {
    rows: Vec<RunRows>,
    index: HashMap<(WorkspaceId, RunId), usize>,
}

impl Runs {
    /// Adds a run that the table does not have.
    pub fn add(&mut self, run: RunRow) {
        self.insert(RunRows::new(run, false));
    }

    pub(super) fn insert(&mut self, rows: RunRows) {
        let key = (rows.run.workspace_id.clone(), rows.run.run_id.clone());
        self.index.insert(key, self.rows.len());
        self.rows.push(rows);
    }

    /// Whether the run is here.
    pub fn has(&self, workspace: &WorkspaceId, run: &RunId) -> bool {
        self.index.contains_key(&(workspace.clone(), run.clone()))
    }

    /// The run, to be changed.
    pub fn find(&mut self, workspace: &WorkspaceId, run: &RunId) -> Option<&mut RunRows> {
        let rows = self.peek(workspace, run)?;
        rows.changed = true;
        Some(rows)
    }

    pub(super) fn peek(&mut self, workspace: &WorkspaceId, run: &RunId) -> Option<&mut RunRows> {
        let place = self.index.get(&(workspace.clone(), run.clone()))?;
        self.rows.get_mut(*place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &RunRows> {
        self.rows.iter()
    }

    fn settle(&mut self) {
        self.rows.retain(RunRows::is_worth_keeping);
        let excess = self.rows.len().saturating_sub(KEPT_RUNS);
        self.rows.drain(..excess);
        self.index.clear();
        for (place, rows) in self.rows.iter_mut().enumerate() {
            rows.settle();
            let key = (rows.run.workspace_id.clone(), rows.run.run_id.clone());
            self.index.insert(key, place);
        }
    }
}
