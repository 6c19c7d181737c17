//! Emptying the read tables so that they are folded anew.

use crate::{Store, StoreError, projection::Writer};

/// Why the tables were not emptied.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// A projector is at work; it must stop first, or it would go on from its own checkpoint.
    #[error("a projector is running on this database; stop it, then rebuild")]
    ProjectorRunning,
    /// Postgres, or the way to it, failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Empties every table that is folded from the stream EVENTS, and the checkpoint; answers with the one who may write them now.
///
/// Workers and dead letters are not folded from that stream and stay.
pub async fn begin(store: &Store) -> Result<Writer, RebuildError> {
    let Some(mut writer) = Writer::try_acquire(store).await? else {
        return Err(RebuildError::ProjectorRunning);
    };
    writer.reset().await?;
    Ok(writer)
}
