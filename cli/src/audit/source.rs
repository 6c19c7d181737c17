//! The record event by event, from the stream and from Postgres, in the same order.

use std::{collections::VecDeque, time::Duration};

use anyhow::Result;
use gatewright_bus::{EventFeed, Fleet};
use gatewright_schemas::{Event, StoredCommit, Timestamp, WriterId};
use gatewright_store::{Store, StoreError, checkpoint, event};

use super::Scope;
use crate::{exit::Exit, exit::Failure};

/// Events or commits read at a time.
const PAGE: u32 = 2_000;

/// An event and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub(super) sequence: u64,
    /// Its place in its commit, from 1.
    pub(super) number: u16,
    pub(super) stored_at: Timestamp,
    pub(super) writer: WriterId,
    pub(super) attempt: u32,
    pub(super) event: Event,
}

impl Item {
    pub(super) fn place(&self) -> (u64, u16) {
        (self.sequence, self.number)
    }

    fn is_in(&self, scope: &Scope) -> bool {
        match scope {
            Scope::All => true,
            Scope::Workspace(workspace) => self.event.workspace_id == *workspace,
            Scope::Run(run) => {
                self.event.workspace_id == run.workspace && self.event.run_id == run.run
            }
        }
    }
}

fn items_of(stored: StoredCommit) -> impl Iterator<Item = Item> {
    let StoredCommit {
        sequence,
        stored_at,
        writer,
        commit,
        ..
    } = stored;
    let attempt = commit.attempt;
    commit
        .events
        .into_iter()
        .zip(1_u16..)
        .map(move |(event, number)| Item {
            sequence,
            number,
            stored_at,
            writer: writer.clone(),
            attempt,
            event,
        })
}

/// The stream, up to where it ended when it was opened.
pub(super) struct Stream {
    scope: Scope,
    /// Nothing for a single run, whose history was read at once.
    feed: Option<EventFeed>,
    reached: u64,
    end: u64,
    buffer: VecDeque<Item>,
}

impl Stream {
    pub(super) async fn open(fleet: &Fleet, scope: &Scope) -> Result<Self> {
        let identity = fleet.stream_identity().await?;
        let mut this = Self {
            scope: scope.clone(),
            feed: None,
            reached: 0,
            end: identity.last_sequence,
            buffer: VecDeque::new(),
        };
        if let Scope::Run(run) = scope {
            let history = fleet.history(&run.workspace, &run.run).await?;
            this.buffer.extend(history.into_iter().flat_map(items_of));
            this.end = this.buffer.back().map_or(0, |item| item.sequence);
        } else {
            this.feed = Some(EventFeed::open(fleet, 0).await?);
        }
        Ok(this)
    }

    /// The sequence up to which it is read.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) async fn next(&mut self) -> Result<Option<Item>> {
        while self.buffer.is_empty() {
            let Some(feed) = self.feed.as_mut().filter(|_| self.reached < self.end) else {
                return Ok(None);
            };
            let most = usize::try_from(self.end - self.reached).unwrap_or(usize::MAX);
            let most = most.min(usize::try_from(PAGE).unwrap_or(usize::MAX));
            let commits = feed.next_batch(most, Duration::from_millis(200)).await?;
            self.reached = commits.last().map_or(self.end, |last| last.sequence);
            let items = commits.into_iter().flat_map(items_of);
            self.buffer
                .extend(items.filter(|item| item.is_in(&self.scope)));
        }
        Ok(self.buffer.pop_front())
    }
}

fn item_of(row: event::StoredEvent) -> Item {
    Item {
        sequence: row.stream_sequence,
        number: row.place,
        stored_at: row.stored_at,
        writer: row.writer,
        attempt: row.attempt,
        event: row.event,
    }
}

/// The table `events`.
pub(super) struct Rows {
    scope: Scope,
    store: Store,
    /// Where the next page begins: behind this sequence and place, or behind this seq of the run.
    position: (u64, u16),
    seq: u64,
    end: u64,
    is_read: bool,
    buffer: VecDeque<Item>,
}

impl Rows {
    pub(super) async fn open(store: Store, scope: &Scope) -> Result<Self> {
        let checkpoint = checkpoint::load(&store).await?;
        Ok(Self {
            scope: scope.clone(),
            store,
            position: (0, 0),
            seq: 0,
            end: checkpoint.map_or(0, |checkpoint| checkpoint.last_sequence),
            is_read: false,
            buffer: VecDeque::new(),
        })
    }

    /// The sequence up to which the stream was projected when it was opened.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) async fn peek(&mut self) -> Result<Option<Item>> {
        self.fill().await?;
        Ok(self.buffer.front().cloned())
    }

    pub(super) async fn next(&mut self) -> Result<Option<Item>> {
        self.fill().await?;
        Ok(self.buffer.pop_front())
    }

    /// Rows behind the last that the projector wrote: nobody but a stranger can have put them there.
    pub(super) async fn beyond_checkpoint(&self) -> Result<Vec<Item>> {
        if matches!(self.scope, Scope::Run(_)) {
            return Ok(Vec::new());
        }
        let rows = event::after(&self.store, (self.end, u16::MAX), PAGE).await?;
        // Rows and checkpoint are written together, so none that was read before can be behind it.
        let checkpoint = checkpoint::load(&self.store).await?;
        let end = checkpoint.map_or(0, |checkpoint| checkpoint.last_sequence);
        let beyond = rows
            .into_iter()
            .map(item_of)
            .filter(|row| row.sequence > end);
        Ok(beyond.filter(|row| row.is_in(&self.scope)).collect())
    }

    async fn fill(&mut self) -> Result<()> {
        while self.buffer.is_empty() && !self.is_read {
            let page = match self.page(PAGE).await {
                // One row of the page holds what nobody wrote: go up to it, and name it.
                Err(StoreError::Unreadable { .. }) => match self.page(1).await {
                    Ok(page) => page,
                    Err(error) => return Err(self.unreadable(&error)),
                },
                page => page?,
            };
            self.is_read = page.is_empty();
            for row in page {
                self.position = (row.stream_sequence, row.place);
                self.seq = row.event.seq;
                let item = item_of(row);
                if item.is_in(&self.scope) {
                    self.buffer.push_back(item);
                }
            }
        }
        Ok(())
    }

    async fn page(&self, limit: u32) -> Result<Vec<event::StoredEvent>, StoreError> {
        match &self.scope {
            Scope::Run(run) => {
                event::of_run(&self.store, &run.workspace, &run.run, self.seq, limit).await
            }
            Scope::All | Scope::Workspace(_) => {
                event::after(&self.store, self.position, limit).await
            }
        }
    }

    fn unreadable(&self, error: &StoreError) -> anyhow::Error {
        let (sequence, place) = self.position;
        Failure::of(
            Exit::No,
            format!(
                "the row of Postgres' table `events` that follows message {sequence}, place {place}, is not what was written: {error}"
            ),
        )
    }
}
