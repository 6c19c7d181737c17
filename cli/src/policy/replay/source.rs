//! What is replayed, in the order of time, out of the database or a file.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
};

use anyhow::Result;
use gatewright_schemas::{Event, RecordedDecision, RunId, Timestamp, WorkspaceId};
use gatewright_store::{Store, event, recorded};

use super::export::{Line, VERSION};
use crate::exit::Failure;

/// Decisions or events read at a time.
const PAGE: u32 = 1_000;

/// One thing that is replayed.
#[derive(Debug)]
pub(super) enum Item {
    /// Somebody was given authority, or it was taken away.
    Authority(Box<Event>),
    /// The gate was asked.
    Decision(Box<RecordedDecision>),
}

/// Where it comes from. At any time a page of it is in memory.
pub(super) enum Source {
    /// The read tables.
    Database(Box<Tables>),
    /// A file that was exported.
    File(Box<Exported>),
}

impl Source {
    pub(super) fn database(
        store: Store,
        workspace: Option<WorkspaceId>,
        since: Timestamp,
        limit: u64,
    ) -> Self {
        Self::Database(Box::new(Tables {
            store,
            workspace,
            since,
            left: limit,
            last: None,
            page: VecDeque::new(),
            authorities: HashMap::new(),
            limited: false,
        }))
    }

    pub(super) fn file(path: &Path) -> Result<Self> {
        Ok(Self::File(Box::new(Exported::open(path)?)))
    }

    /// The next thing; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Item>> {
        match self {
            Self::Database(tables) => tables.next().await,
            Self::File(file) => file.next(),
        }
    }

    /// Since when decisions are replayed. Known of a file once it is read.
    pub(super) fn since(&self) -> Timestamp {
        match self {
            Self::Database(tables) => tables.since,
            Self::File(file) => file.since,
        }
    }

    /// Whether there are more decisions, which the limit left out. Known once all are read.
    pub(super) fn is_limited(&self) -> bool {
        match self {
            Self::Database(tables) => tables.limited,
            Self::File(file) => file.limited,
        }
    }
}

/// The read tables: decisions by time, and before each what had happened to its workspace's authority by then.
pub(super) struct Tables {
    store: Store,
    workspace: Option<WorkspaceId>,
    since: Timestamp,
    /// How many decisions may still be replayed.
    left: u64,
    /// The last one of the page that was read last.
    last: Option<RecordedDecision>,
    page: VecDeque<RecordedDecision>,
    authorities: HashMap<WorkspaceId, Authority>,
    limited: bool,
}

/// How far a workspace's events of the authority are read.
#[derive(Default)]
struct Authority {
    seq: u64,
    page: VecDeque<Event>,
    at_end: bool,
}

impl Tables {
    async fn next(&mut self) -> Result<Option<Item>> {
        if self.page.is_empty() {
            let (store, workspace) = (&self.store, self.workspace.as_ref());
            let last = self.last.as_ref();
            let page = recorded::page(store, workspace, self.since, last, PAGE).await?;
            self.last = page.last().cloned().or(self.last.take());
            self.page = page.into();
        }
        let Some(next) = self.page.front() else {
            return Ok(None);
        };
        if self.left == 0 {
            self.limited = true;
            return Ok(None);
        }
        let authority = self
            .authorities
            .entry(next.workspace_id.clone())
            .or_default();
        let before = authority.before(&self.store, &next.workspace_id, next.decided_at);
        if let Some(event) = before.await? {
            return Ok(Some(Item::Authority(Box::new(event))));
        }
        self.left -= 1;
        let next = self.page.pop_front();
        Ok(next.map(|decision| Item::Decision(Box::new(decision))))
    }
}

impl Authority {
    /// The next event, where it happened by `time`.
    async fn before(
        &mut self,
        store: &Store,
        workspace: &WorkspaceId,
        time: Timestamp,
    ) -> Result<Option<Event>> {
        if self.page.is_empty() && !self.at_end {
            let run = RunId::authority();
            let page = event::of_run(store, workspace, &run, self.seq, PAGE).await?;
            self.at_end = page.is_empty();
            self.seq = page.last().map_or(self.seq, |last| last.event.seq);
            self.page = page.into_iter().map(|stored| stored.event).collect();
        }
        let has_happened = self
            .page
            .front()
            .is_some_and(|event| event.occurred_at <= time);
        Ok(if has_happened {
            self.page.pop_front()
        } else {
            None
        })
    }
}

/// A file that was exported: a beginning, what is replayed, and an end, without which something is missing.
pub(super) struct Exported {
    path: PathBuf,
    lines: std::io::Lines<BufReader<File>>,
    number: u64,
    decisions: u64,
    time: Timestamp,
    since: Timestamp,
    limited: bool,
}

impl Exported {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| {
            Failure::usage(format!("cannot read `{}`: {error}", path.display()))
        })?;
        let mut this = Self {
            path: path.to_owned(),
            lines: BufReader::new(file).lines(),
            number: 0,
            decisions: 0,
            time: Timestamp::default(),
            since: Timestamp::default(),
            limited: false,
        };
        match this.line()? {
            Some(Line::Begin { version }) if version == VERSION => Ok(this),
            Some(Line::Begin { version }) => Err(this.fault(&format!(
                "version {version} of the format; this program reads {VERSION}"
            ))),
            _ => Err(this.fault("not a file that `policy replay --export` wrote")),
        }
    }

    fn next(&mut self) -> Result<Option<Item>> {
        match self.line()? {
            Some(Line::Authority(event)) => {
                // What cannot be read would be a world that is not the one of then.
                if let Err(error) = event.body() {
                    return Err(self.fault(&error.to_string()));
                }
                Ok(Some(Item::Authority(event)))
            }
            Some(Line::Decision(decision)) => {
                if decision.decided_at < self.time {
                    return Err(self.fault("a decision of an earlier time than the one before"));
                }
                self.time = decision.decided_at;
                self.decisions += 1;
                Ok(Some(Item::Decision(decision)))
            }
            Some(Line::End {
                decisions,
                since,
                limited,
            }) => {
                if decisions != self.decisions {
                    let found = self.decisions;
                    return Err(self.fault(&format!("{found} decisions where {decisions} belong")));
                }
                if self.line()?.is_some() {
                    return Err(self.fault("something behind the end"));
                }
                (self.since, self.limited) = (since, limited);
                Ok(None)
            }
            Some(Line::Begin { .. }) => Err(self.fault("a second beginning")),
            None => Err(self.fault("no end: the export was cut off")),
        }
    }

    fn line(&mut self) -> Result<Option<Line>> {
        self.number += 1;
        let Some(line) = self.lines.next() else {
            return Ok(None);
        };
        let line = line.map_err(|error| self.fault(&error.to_string()))?;
        let read = serde_json::from_str(&line);
        read.map(Some)
            .map_err(|error| self.fault(&error.to_string()))
    }

    fn fault(&self, what: &str) -> anyhow::Error {
        let (path, number) = (self.path.display(), self.number);
        Failure::usage(format!("{path}:{number}: {what}"))
    }
}
