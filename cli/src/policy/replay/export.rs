//! A file with all that is replayed, one JSON object a line.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use gatewright_schemas::{Event, RecordedDecision, Timestamp};
use serde::{Deserialize, Serialize};

use super::source::Item;
use crate::exit::Failure;

/// The version of the format.
pub(super) const VERSION: u32 = 1;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// The first.
    Begin {
        /// Of the format.
        version: u32,
    },
    /// An event of a workspace's authority.
    Authority(Box<Event>),
    /// A decision.
    Decision(Box<RecordedDecision>),
    /// The last.
    End {
        /// How many decisions came before.
        decisions: u64,
        /// Since when decisions are in it.
        since: Timestamp,
        /// Whether there were more, which a limit left out.
        limited: bool,
    },
}

/// A file that is written.
pub(super) struct Export {
    file: BufWriter<File>,
    decisions: u64,
}

impl Export {
    /// Begins the file; one of this name is replaced.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|error| {
            Failure::usage(format!("cannot write `{}`: {error}", path.display()))
        })?;
        let mut this = Self {
            file: BufWriter::new(file),
            decisions: 0,
        };
        this.line(&Line::Begin { version: VERSION })?;
        Ok(this)
    }

    /// Adds what is replayed next.
    pub(super) fn write(&mut self, item: &Item) -> Result<()> {
        /// [`Line`], borrowed.
        #[derive(Serialize)]
        #[serde(rename_all = "snake_case")]
        enum Borrowed<'a> {
            Authority(&'a Event),
            Decision(&'a RecordedDecision),
        }
        match item {
            Item::Authority(event) => self.line(&Borrowed::Authority(event)),
            Item::Decision(decision) => {
                self.decisions += 1;
                self.line(&Borrowed::Decision(decision))
            }
        }
    }

    /// Ends the file, without which it counts as cut off.
    pub(super) fn finish(mut self, since: Timestamp, limited: bool) -> Result<()> {
        let decisions = self.decisions;
        self.line(&Line::End {
            decisions,
            since,
            limited,
        })?;
        self.file.flush().context("cannot write the export")
    }

    fn line(&mut self, line: &impl Serialize) -> Result<()> {
        let writing = "cannot write the export";
        serde_json::to_writer(&mut self.file, line).context(writing)?;
        self.file.write_all(b"\n").context(writing)
    }
}
