//! A short history, read backwards: a commit's message names the one before it, for its fence stands in its headers.
//!
//! A page by the run's filter has the server search a block of the stream for a subject with wildcards, which takes it
//! milliseconds in a large stream, whatever the run's length. A message by its sequence costs it next to nothing.

use async_nats::{header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, jetstream::message::StreamMessage};

use crate::{Fleet, append::FENCE_FILTER};

/// Commits of a history that is read backwards at most: each costs a round trip.
const FEW: usize = 16;

/// Everything up to `last`, the run's last message, oldest first. None when that cannot be had in this way: the history is longer,
/// or a replica does not show all of it, or somebody appended without the fence.
pub(crate) async fn up_to(
    fleet: &Fleet,
    history: &str,
    last: StreamMessage,
) -> Option<Vec<StreamMessage>> {
    let mut newest_first = vec![last];
    loop {
        match fence_of(newest_first.last()?, history)? {
            0 => break,
            _ if newest_first.len() == FEW => return None,
            before => {
                let events = fleet.names.events();
                newest_first.push(fleet.message_at(&events, before).await.ok()??);
            }
        }
    }
    newest_first.reverse();
    Some(newest_first)
}

/// The fence that the server held the message to; none if it held it to none, or to one of another history.
fn fence_of(message: &StreamMessage, history: &str) -> Option<u64> {
    let filter = message.headers.get(FENCE_FILTER)?;
    let fence = message.headers.get(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE)?;
    (filter.as_str() == history)
        .then(|| fence.as_str().parse().ok())
        .flatten()
}
