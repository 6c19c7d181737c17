//! Commits that were read and are not yet written: reading goes on while Postgres works.

use std::time::Duration;

use gatewright_bus::{EventFeed, FeedError};
use gatewright_schemas::StoredCommit;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use crate::Options;

/// Commits that are handed over at a time.
const CHUNK: usize = 256;
/// Chunks that may wait.
const CHUNKS: usize = 32;
/// A batch of this size shows that much is going on.
const BUSY: usize = 64;

/// What is to be written next, and the task that reads on.
pub(crate) struct Inbox {
    /// The batch.
    pub(crate) commits: Vec<StoredCommit>,
    busy: bool,
    chunks: mpsc::Receiver<Result<Vec<StoredCommit>, FeedError>>,
    /// Ends the reader when it is dropped.
    _reader: JoinSet<()>,
}

impl Inbox {
    pub(crate) fn of(feed: EventFeed) -> Self {
        let (sender, chunks) = mpsc::channel(CHUNKS);
        let mut reader = JoinSet::new();
        reader.spawn(read(feed, sender));
        Self {
            commits: Vec::new(),
            busy: false,
            chunks,
            _reader: reader,
        }
    }

    /// Fills the batch: waits for one commit, then for as many as come in time. May be dropped and called again; nothing is lost.
    pub(crate) async fn take(&mut self, options: &Options) -> Result<(), FeedError> {
        if self.commits.is_empty() {
            self.receive().await?;
        }
        let linger = if self.busy {
            options.linger_busy
        } else {
            options.linger
        };
        let deadline = Instant::now() + linger;
        while self.commits.len() < options.batch {
            match tokio::time::timeout_at(deadline, self.receive()).await {
                Ok(received) => received?,
                Err(_) => break,
            }
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<(), FeedError> {
        match self.chunks.recv().await {
            Some(chunk) => self.commits.extend(chunk?),
            None => {
                return Err(FeedError::Unavailable {
                    reason: "its reader has stopped".into(),
                });
            }
        }
        Ok(())
    }

    /// The batch was written.
    pub(crate) fn applied(&mut self) {
        self.busy = self.commits.len() >= BUSY;
        self.commits.clear();
    }
}

async fn read(mut feed: EventFeed, sender: mpsc::Sender<Result<Vec<StoredCommit>, FeedError>>) {
    loop {
        // Hands over what is there; waiting for more is the inbox's business.
        let chunk = feed.next_batch(CHUNK, Duration::ZERO).await;
        let is_over = chunk.is_err();
        if sender.send(chunk).await.is_err() || is_over {
            return;
        }
    }
}
