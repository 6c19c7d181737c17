//! How far the stream has been folded.

use gatewright_schemas::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Store, StoreError, Time};

/// The checkpoint of the stream EVENTS.
pub(crate) const EVENTS: &str = "events";

/// How far a stream has been folded, and which stream that was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checkpoint {
    /// When the stream was created: another stream of the same name has another time.
    pub stream_created_at: Timestamp,
    /// The last commit that was folded.
    pub last_sequence: u64,
    /// The last event of that commit.
    pub last_event_id: String,
    /// When the stream stored that commit.
    pub last_stored_at: Timestamp,
    /// The stream's last sequence when the projector last looked.
    pub stream_last_sequence: u64,
}

/// How far the read tables are behind the stream.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Lag {
    /// The last commit that was folded.
    pub last_sequence: i64,
    /// The stream's last sequence when the projector last looked.
    pub stream_last_sequence: i64,
    /// Commits that wait to be folded.
    pub messages: i64,
    /// Age of the last folded commit; 0 when nothing waits.
    pub seconds: f64,
    /// How long the projector has been silent; it writes every few seconds even when nothing happens.
    pub silent_seconds: f64,
    /// When the last folded commit was stored.
    pub last_stored_at: Time,
}

/// The checkpoint; `None` before the first commit was folded.
pub async fn load(store: &Store) -> Result<Option<Checkpoint>, StoreError> {
    let mut connection = store
        .pool
        .acquire()
        .await
        .map_err(StoreError::during("read the checkpoint"))?;
    read(&mut connection).await
}

pub(crate) async fn read(
    connection: &mut sqlx::PgConnection,
) -> Result<Option<Checkpoint>, StoreError> {
    let row = sqlx::query!(
        "select stream_created_at, last_sequence, last_event_id, last_stored_at, stream_last_sequence
         from projection_checkpoint where name = $1",
        EVENTS
    )
    .fetch_optional(connection)
    .await
    .map_err(StoreError::during("read the checkpoint"))?;
    Ok(row.map(|row| Checkpoint {
        stream_created_at: row.stream_created_at.into(),
        last_sequence: row.last_sequence.try_into().unwrap_or(0),
        last_event_id: row.last_event_id,
        last_stored_at: row.last_stored_at.into(),
        stream_last_sequence: row.stream_last_sequence.try_into().unwrap_or(0),
    }))
}

/// The lag; `None` before the first commit was folded.
pub async fn lag(store: &Store) -> Result<Option<Lag>, StoreError> {
    sqlx::query_as!(
        Lag,
        r#"select c.last_sequence, c.stream_last_sequence, l.lag_messages as "messages!", l.lag_seconds as "seconds!",
            l.silent_seconds as "silent_seconds!", c.last_stored_at
         from projection_checkpoint c join projector_lag l on l.name = c.name
         where c.name = $1"#,
        EVENTS
    )
    .fetch_optional(&store.pool)
    .await
    .map_err(StoreError::during("read the projector's lag"))
}
