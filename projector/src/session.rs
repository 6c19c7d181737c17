//! One projector's hold on the tables.

use gatewright_schemas::{StoredCommit, Timestamp};
use gatewright_store::{
    Store, StoreError,
    checkpoint::Checkpoint,
    projection::{Batch, WriteError, Writer},
};

use crate::{Unreadable, fold, needs};

/// Why commits were not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The rows that they continue could not be read.
    #[error(transparent)]
    Read(#[from] StoreError),
    /// What they come to could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// One of them cannot be understood. Those before it were written.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl ApplyError {
    /// Whether a new session may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Read(error) => error.is_transient(),
            Self::Write(error) => error.is_transient(),
            Self::Unreadable(_) => false,
        }
    }
}

/// The right to write the read tables, and the rows of runs that are under way.
///
/// After an error it is of no use; end it and begin another.
#[derive(Debug)]
pub struct Session {
    writer: Writer,
    batch: Batch,
}

impl Session {
    /// Becomes the active projector; `None` while another one is.
    pub async fn begin(store: &Store) -> Result<Option<Self>, StoreError> {
        Ok(Writer::try_acquire(store).await?.map(Self::with))
    }

    pub(crate) fn with(writer: Writer) -> Self {
        Self {
            writer,
            batch: Batch::default(),
        }
    }

    /// How far the tables are; `None` when nothing was folded yet.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.writer.checkpoint()
    }

    /// The last sequence that was folded; 0 when nothing was.
    pub fn applied(&self) -> u64 {
        self.checkpoint()
            .map_or(0, |checkpoint| checkpoint.last_sequence)
    }

    /// Folds commits, in order, and writes what they come to, all or nothing. Those that were applied before are skipped.
    ///
    /// `stream_created_at` and `stream_last_sequence` are what the stream says of itself.
    pub async fn apply(
        &mut self,
        commits: &[StoredCommit],
        stream_created_at: Timestamp,
        stream_last_sequence: u64,
    ) -> Result<(), ApplyError> {
        let applied = self.applied();
        let from = commits
            .iter()
            .take_while(|stored| stored.sequence <= applied)
            .count();
        let commits = commits.get(from..).unwrap_or_default();
        let unreadable = match self.fold(commits).await? {
            Ok(()) => None,
            Err((before, unreadable)) => {
                // The batch holds a part of that commit; it is folded again without it.
                self.batch.clear();
                let sound = commits.get(..before).unwrap_or_default();
                if let Err((_, other)) = self.fold(sound).await? {
                    return Err(other.into());
                }
                Some(unreadable)
            }
        };
        if self.batch.position.is_some() {
            self.writer
                .write(&mut self.batch, stream_created_at, stream_last_sequence)
                .await?;
        }
        unreadable.map_or(Ok(()), |unreadable| Err(unreadable.into()))
    }

    /// Folds `commits` into the batch; otherwise tells how many of them could be, and what is wrong with the next.
    async fn fold(
        &mut self,
        commits: &[StoredCommit],
    ) -> Result<Result<(), (usize, Unreadable)>, StoreError> {
        let needs = needs::of(&self.batch, commits);
        self.writer.load(&needs, &mut self.batch).await?;
        for (before, stored) in commits.iter().enumerate() {
            if let Err(unreadable) = fold(&mut self.batch, stored) {
                return Ok(Err((before, unreadable)));
            }
        }
        Ok(Ok(()))
    }

    /// Notes how long the stream is, so that the lag shows while nothing is written, and that a projector is there.
    pub async fn observe(&mut self, stream_last_sequence: u64) -> Result<(), StoreError> {
        self.writer.observe(stream_last_sequence).await
    }

    /// Lets another projector take over at once.
    pub async fn end(self) -> Result<(), StoreError> {
        self.writer.release().await
    }
}
