//! Events, read: exactly as they were written, so that their hashes can be checked.

use gatewright_schemas::{Digest, Event, RunId, Timestamp, WorkspaceId, WriterId, event::Actor};
use serde::Serialize;

use crate::{Store, StoreError, reading::Reading};

/// An event and where it stands in the stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoredEvent {
    /// Sequence of its commit in the stream.
    pub stream_sequence: u64,
    /// Its place in the commit, from 1.
    pub place: u16,
    /// When the stream stored it.
    pub stored_at: Timestamp,
    /// The credential that wrote it.
    pub writer: WriterId,
    /// The attempt at the run in which it was made.
    pub attempt: u32,
    /// The event.
    pub event: Event,
}

const READING: Reading = Reading("read events");

struct Row {
    stream_sequence: i64,
    place: i16,
    event_version: i16,
    attempt: i32,
    seq: i64,
    occurred_at: time::OffsetDateTime,
    stored_at: time::OffsetDateTime,
    workspace_id: String,
    run_id: String,
    event_id: String,
    event_type: String,
    step_id: Option<String>,
    zone: String,
    writer: String,
    actor_type: String,
    actor_id: String,
    actor_principal_id: Option<String>,
    room_id: Option<String>,
    thread_id: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    prev_hash: Option<Vec<u8>>,
    hash: Vec<u8>,
    data: String,
    exact: Option<String>,
}

/// The digest that these bytes are; bytes of another length are none.
fn digest(bytes: &[u8]) -> Result<Digest, StoreError> {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(66);
    for byte in bytes {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    READING.json("hash", &format!("\"{text}\""))
}

impl Row {
    fn read(self) -> Result<StoredEvent, StoreError> {
        let negative = |column| READING.unreadable(column, "a negative number");
        Ok(StoredEvent {
            stream_sequence: self
                .stream_sequence
                .try_into()
                .map_err(|_| negative("stream_sequence"))?,
            place: self.place.try_into().map_err(|_| negative("place"))?,
            stored_at: self.stored_at.into(),
            writer: READING.text("writer", &self.writer)?,
            attempt: self.attempt.try_into().map_err(|_| negative("attempt"))?,
            event: match &self.exact {
                Some(exact) => READING.json("exact", exact)?,
                None => self.event()?,
            },
        })
    }

    fn event(self) -> Result<Event, StoreError> {
        let negative = |column| READING.unreadable(column, "a negative number");
        Ok(Event {
            actor: Actor {
                actor_id: self.actor_id,
                actor_type: READING.text("actor_type", &self.actor_type)?,
            },
            actor_principal_id: READING
                .optional("actor_principal_id", self.actor_principal_id.as_deref())?,
            causation_id: self.causation_id,
            correlation_id: self.correlation_id,
            data: READING.json("data", &self.data)?,
            event_id: READING.text("event_id", &self.event_id)?,
            event_type: READING.text("event_type", &self.event_type)?,
            event_version: self
                .event_version
                .try_into()
                .map_err(|_| negative("event_version"))?,
            hash: digest(&self.hash)?,
            occurred_at: self.occurred_at.into(),
            prev_hash: self.prev_hash.as_deref().map(digest).transpose()?,
            room_id: self.room_id,
            run_id: READING.text("run_id", &self.run_id)?,
            seq: self.seq.try_into().map_err(|_| negative("seq"))?,
            step_id: READING.optional("step_id", self.step_id.as_deref())?,
            thread_id: self.thread_id,
            workspace_id: READING.text("workspace_id", &self.workspace_id)?,
            zone: READING.text("zone", &self.zone)?,
        })
    }
}

macro_rules! select_events {
    ($tail:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            r#"select stream_sequence, place, event_version, attempt, seq, occurred_at, stored_at, workspace_id, run_id,
                event_id, event_type, step_id, zone, writer, actor_type, actor_id, actor_principal_id, room_id,
                thread_id, correlation_id, causation_id, prev_hash, hash, data::text as "data!", exact::text as exact
             from events "# + $tail
            $(, $argument)*
        )
    };
}

fn read_all(rows: Vec<Row>) -> Result<Vec<StoredEvent>, StoreError> {
    rows.into_iter().map(Row::read).collect()
}

/// The events of a run in order: at most `limit`, those after the one with seq `after` (0 for the first page).
pub async fn of_run(
    store: &Store,
    workspace: &WorkspaceId,
    run: &RunId,
    after: u64,
    limit: u32,
) -> Result<Vec<StoredEvent>, StoreError> {
    select_events!(
        "where workspace_id = $1 and run_id = $2 and seq > $3 order by seq limit $4",
        workspace.as_str(),
        run.as_str(),
        i64::try_from(after).unwrap_or(i64::MAX),
        i64::from(limit)
    )
    .fetch_all(&store.pool)
    .await
    .map_err(StoreError::during(READING.0))
    .and_then(read_all)
}

/// All events in the order of the stream: at most `limit`, those after the one at this sequence and place ((0, 0) for the first page).
pub async fn after(
    store: &Store,
    position: (u64, u16),
    limit: u32,
) -> Result<Vec<StoredEvent>, StoreError> {
    select_events!(
        "where (stream_sequence, place) > ($1, $2) order by stream_sequence, place limit $3",
        i64::try_from(position.0).unwrap_or(i64::MAX),
        i16::try_from(position.1).unwrap_or(i16::MAX),
        i64::from(limit)
    )
    .fetch_all(&store.pool)
    .await
    .map_err(StoreError::during(READING.0))
    .and_then(read_all)
}

/// How many events there are. It counts every row: for measurements, not for pages.
pub async fn count_all(store: &Store) -> Result<u64, StoreError> {
    let count: i64 = sqlx::query_scalar("select count(*) from events")
        .fetch_one(&store.pool)
        .await
        .map_err(StoreError::during("count the events"))?;
    Ok(count.try_into().unwrap_or(0))
}
