//! Whether the stream is the one that the tables were folded from.

use gatewright_bus::StreamIdentity;
use gatewright_schemas::{EventId, StoredCommit, Timestamp};
use gatewright_store::checkpoint::Checkpoint;

/// The tables and the stream do not belong together. Both sides are named, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The stream was made anew.
    #[error(
        "the tables were folded from a stream of events created at {tables}, but this one was created at {stream}; \
         if this is the right stream, run `gatewright projector rebuild`"
    )]
    OtherStream {
        /// When the stream was created that the tables were folded from.
        tables: Timestamp,
        /// When this one was.
        stream: Timestamp,
    },
    /// The stream has lost its end.
    #[error(
        "the tables are folded up to message {tables}, but the stream of events ends at {stream}: it has lost its end; \
         if it cannot be restored, run `gatewright projector rebuild`"
    )]
    Shorter {
        /// The last sequence that the tables hold.
        tables: u64,
        /// The stream's last sequence.
        stream: u64,
    },
    /// The stream went on differently.
    #[error(
        "the tables have event `{tables}` at message {sequence}, but the stream of events has {}; \
         if this is the right stream, run `gatewright projector rebuild`",
        .stream.as_ref().map_or("no such message".into(), |event| format!("event `{event}` there"))
    )]
    OtherEvent {
        /// Where.
        sequence: u64,
        /// The last event that the tables hold.
        tables: String,
        /// The event that the stream has there.
        stream: Option<EventId>,
    },
}

/// Compares the checkpoint with the stream as a whole.
pub fn check(checkpoint: &Checkpoint, stream: &StreamIdentity) -> Result<(), Mismatch> {
    if stream.created_at != checkpoint.stream_created_at {
        return Err(Mismatch::OtherStream {
            tables: checkpoint.stream_created_at,
            stream: stream.created_at,
        });
    }
    if stream.last_sequence < checkpoint.last_sequence {
        return Err(Mismatch::Shorter {
            tables: checkpoint.last_sequence,
            stream: stream.last_sequence,
        });
    }
    Ok(())
}

/// Compares the checkpoint with what the stream holds at its sequence.
pub fn check_commit(checkpoint: &Checkpoint, there: Option<&StoredCommit>) -> Result<(), Mismatch> {
    let event = there
        .and_then(|stored| stored.commit.events.last())
        .map(|event| &event.event_id);
    if event.is_some_and(|event| event.as_str() == checkpoint.last_event_id) {
        return Ok(());
    }
    Err(Mismatch::OtherEvent {
        sequence: checkpoint.last_sequence,
        tables: checkpoint.last_event_id.clone(),
        stream: event.cloned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            stream_created_at: Timestamp::from_micros(1),
            last_sequence: 7,
            last_event_id: "c7.2".into(),
            last_stored_at: Timestamp::from_micros(2),
            stream_last_sequence: 9,
        }
    }

    fn stream(created: i64, last: u64) -> StreamIdentity {
        StreamIdentity {
            created_at: Timestamp::from_micros(created),
            first_sequence: 1,
            last_sequence: last,
        }
    }

    #[test]
    fn a_stream_that_was_made_anew_cut_short_or_rewritten_is_noticed() {
        assert_eq!(check(&checkpoint(), &stream(1, 7)), Ok(()));
        let other = check(&checkpoint(), &stream(5, 9)).unwrap_err();
        assert!(matches!(other, Mismatch::OtherStream { .. }));
        let shorter = check(&checkpoint(), &stream(1, 6)).unwrap_err();
        assert!(
            shorter
                .to_string()
                .contains("up to message 7, but the stream of events ends at 6")
        );
        let missing = check_commit(&checkpoint(), None).unwrap_err();
        for error in [other, shorter, missing] {
            assert!(
                error.to_string().contains("gatewright projector rebuild"),
                "{error}"
            );
        }
    }
}
