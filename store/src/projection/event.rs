//! `events`: encoded as they are folded, for they never change.

use gatewright_schemas::{Event, EventId, StoredCommit};

use super::{copy::CopyBuffer, row::digest_bytes};

pub(super) const COPY: &str = "copy events (stream_sequence, place, event_version, attempt, seq, occurred_at, stored_at, \
    workspace_id, run_id, event_id, event_type, step_id, zone, writer, actor_type, actor_id, actor_principal_id, \
    room_id, thread_id, correlation_id, causation_id, prev_hash, hash, data, exact) from stdin (format binary)";
const FIELDS: i16 = 25;

/// An event that the table cannot hold as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event `{event_id}`: `{field}` is not what this program writes")]
pub struct UnstorableEvent {
    /// Which.
    pub event_id: EventId,
    /// The field.
    pub field: &'static str,
}

/// Adds the event at `place` (from 1) of `stored`; adds nothing when it fails.
pub(super) fn encode(
    buffer: &mut CopyBuffer,
    stored: &StoredCommit,
    place: usize,
    event: &Event,
) -> Result<(), UnstorableEvent> {
    let unstorable = |field| UnstorableEvent {
        event_id: event.event_id.clone(),
        field,
    };
    let stream_sequence = i64::try_from(stored.sequence).map_err(|_| unstorable("sequence"))?;
    let place = i16::try_from(place).map_err(|_| unstorable("place"))?;
    let event_version =
        i16::try_from(event.event_version).map_err(|_| unstorable("event_version"))?;
    let attempt = i32::try_from(stored.commit.attempt).map_err(|_| unstorable("attempt"))?;
    let seq = i64::try_from(event.seq).map_err(|_| unstorable("seq"))?;
    let hash = digest_bytes(&event.hash).ok_or_else(|| unstorable("hash"))?;
    let prev_hash = event
        .prev_hash
        .as_ref()
        .map(|hash| digest_bytes(hash).ok_or_else(|| unstorable("prev_hash")))
        .transpose()?;

    let free_texts = [
        Some(event.actor.actor_id.as_str()),
        event.room_id.as_deref(),
        event.thread_id.as_deref(),
        event.correlation_id.as_deref(),
        event.causation_id.as_deref(),
    ];
    let has_nul = free_texts.iter().flatten().any(|text| text.contains('\0'));
    let [actor_id, room_id, thread_id, correlation_id, causation_id] = free_texts;

    let mut row = buffer.row(FIELDS);
    row.bigint(stream_sequence);
    row.smallint(place);
    row.smallint(event_version);
    row.integer(attempt);
    row.bigint(seq);
    row.time(event.occurred_at);
    row.time(stored.stored_at);
    row.word(event.workspace_id.as_str());
    row.word(event.run_id.as_str());
    row.word(event.event_id.as_str());
    row.word(event.event_type.as_str());
    row.word(event.step_id.as_ref().map(AsRef::as_ref));
    row.word(event.zone.as_str());
    row.word(stored.writer.as_str());
    row.word(event.actor.actor_type.as_str());
    row.text(actor_id);
    row.word(event.actor_principal_id.as_ref().map(AsRef::as_ref));
    row.text(room_id);
    row.text(thread_id);
    row.text(correlation_id);
    row.text(causation_id);
    row.bytes(prev_hash.as_ref().map(<[u8; 32]>::as_slice));
    row.bytes(Some(&hash));
    row.json(Some(&event.data));
    row.json(has_nul.then_some(event));
    Ok(())
}
