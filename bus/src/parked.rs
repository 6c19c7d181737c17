//! Commits that parked a run until somebody decides, for the dispatchers: each of them sees to it that the approval lapses in time.
//!
//! A worker could set the timer itself, but then its credential could have the server give any command to any run.

use async_nats::jetstream::{AckKind, Message};
use futures::{Stream, StreamExt as _};
use gatewright_schemas::StoredCommit;

use crate::{
    Fleet,
    layout::LayoutError,
    load::{Illegible, delivered_commit},
};

/// When a commit that only a newer version can read is looked at again.
const LATER: std::time::Duration = std::time::Duration::from_secs(30);

/// A commit after which its run waits for an approval.
#[derive(Debug)]
pub struct Parked {
    message: Message,
    /// The commit; otherwise what is wrong with it.
    pub commit: Result<StoredCommit, Illegible>,
}

impl Fleet {
    /// Joins the dispatchers that look after approvals; `at_once` commits are handed out before the first is settled.
    pub async fn parked(
        &self,
        at_once: usize,
    ) -> Result<impl Stream<Item = Result<Parked, String>> + Send + use<>, LayoutError> {
        let what = "read the commits that parked a run";
        let (stream, consumer) = (self.names.events(), self.names.approvals_consumer());
        let messages = self.handed_out(&stream, consumer, at_once, what).await?;
        let names = self.names.clone();
        Ok(messages.map(move |message| {
            let message = message.map_err(|error| error.to_string())?;
            let commit = message
                .info()
                .map(|info| (info.stream_sequence, info.published))
                .map_err(|error| Illegible::ToAnyVersion(error.to_string()))
                .and_then(|(sequence, stored_at)| {
                    delivered_commit(&names, &message, sequence, stored_at)
                });
            Ok(Parked { message, commit })
        }))
    }
}

impl Parked {
    /// Seen to: forget it.
    pub async fn ack(&self) {
        self.settle(AckKind::Ack).await;
    }

    /// Hand it out again after a while, perhaps to another version.
    pub async fn give_back(&self) {
        self.settle(AckKind::Nak(Some(LATER))).await;
    }

    async fn settle(&self, kind: AckKind) {
        if let Err(error) = self.message.ack_with(kind).await {
            tracing::warn!(%error, "an acknowledgement was not sent");
        }
    }
}
