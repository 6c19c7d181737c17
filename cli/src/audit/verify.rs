//! Following the hash chains, and comparing two records.

use std::collections::HashMap;

use gatewright_schemas::{
    Event, EventId, EventType, RunId, WorkspaceId,
    chain::{self, BrokenChain, ChainHead},
};
use serde::Serialize;

use super::source::Item;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Broken {
    pub(super) workspace_id: WorkspaceId,
    pub(super) run_id: RunId,
    pub(super) seq: u64,
    pub(super) event_id: EventId,
    pub(super) stream_sequence: u64,
    /// `stream` or `postgres`.
    pub(super) found_in: &'static str,
    pub(super) what: String,
}

/// Follows every chain at once. It remembers the ends of those that are not over: memory grows with the live runs.
#[derive(Debug)]
pub(super) struct Verifier {
    heads: HashMap<(WorkspaceId, RunId), ChainHead>,
    most_told: usize,
    pub(super) runs: u64,
    pub(super) events: u64,
    pub(super) not_projected: u64,
    pub(super) broken_total: u64,
    pub(super) broken: Vec<Broken>,
}

impl Verifier {
    pub(super) fn new(most_told: usize) -> Self {
        Self {
            heads: HashMap::new(),
            most_told,
            runs: 0,
            events: 0,
            not_projected: 0,
            broken_total: 0,
            broken: Vec::new(),
        }
    }

    /// Checks that the event continues its run's chain. After a break the chain goes on from what is there,
    /// so that every break is told once.
    pub(super) fn check(&mut self, found_in: &'static str, item: &Item) {
        self.events += 1;
        let event = &item.event;
        let key = (event.workspace_id.clone(), event.run_id.clone());
        let mut head = self.heads.remove(&key).unwrap_or_default();
        let is_first = head.seq == 0;
        if is_first && event.seq == 1 {
            self.runs += 1;
        }
        if let Err(broken) = chain::verify(&mut head, event) {
            let what = if is_first && matches!(broken, BrokenChain::Gap { .. }) {
                format!(
                    "it follows the end of its run, or all before seq {} is missing",
                    event.seq
                )
            } else {
                broken.to_string()
            };
            self.push(found_in, item, what);
            head = ChainHead {
                seq: event.seq,
                hash: Some(event.hash.clone()),
            };
        }
        if !is_last(event) {
            self.heads.insert(key, head);
        }
    }

    /// Checks that the row is the event.
    pub(super) fn compare(&mut self, item: &Item, row: &Item) {
        if item == row {
            return;
        }
        let what = if row.event.hash != chain::hash_of(&row.event) {
            "the row is not what was written: its hash does not match its content"
        } else if item.event == row.event {
            "the row's writer, attempt or time differs from the stream's"
        } else {
            "the row is another event than the stream has there"
        };
        self.push("postgres", row, what.into());
    }

    /// A row that no event stands behind.
    pub(super) fn surplus(&mut self, row: &Item) {
        self.push(
            "postgres",
            row,
            "there is no such event: no projector wrote this row".into(),
        );
    }

    /// An event that has no row.
    pub(super) fn missing(&mut self, item: &Item) {
        self.push("postgres", item, "the row is missing".into());
    }

    fn push(&mut self, found_in: &'static str, item: &Item, what: String) {
        self.broken_total += 1;
        if self.broken.len() < self.most_told {
            self.broken.push(Broken {
                workspace_id: item.event.workspace_id.clone(),
                run_id: item.event.run_id.clone(),
                seq: item.event.seq,
                event_id: item.event.event_id.clone(),
                stream_sequence: item.sequence,
                found_in,
                what,
            });
        }
    }
}

/// Whether nothing may follow it in its run.
fn is_last(event: &Event) -> bool {
    matches!(
        event.event_type,
        EventType::RunCompleted
            | EventType::RunFailed
            | EventType::RunCancelled
            | EventType::RunRejected
    )
}
