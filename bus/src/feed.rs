//! The feed: every commit of the fleet, in order, from a given place on. For projectors and tails.

use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use futures::StreamExt as _;
use gatewright_schemas::{StoredCommit, Timestamp};

use crate::{Fleet, load::delivered_commit};

/// Which stream it is, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamIdentity {
    /// When it was made.
    pub created_at: Timestamp,
    /// Sequence of the first message it holds.
    pub first_sequence: u64,
    /// Sequence of the last message stored in it.
    pub last_sequence: u64,
}

/// Why the feed does not go on.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The server does not answer.
    #[error("cannot read the stream of events: {reason}")]
    Unavailable {
        /// What the client says.
        reason: String,
    },
    /// A message of it cannot be read. It must not be skipped.
    #[error("message {sequence} of the stream of events cannot be read: {reason}")]
    Unreadable {
        /// The message.
        sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Messages are missing: the stream went on without them.
    #[error("the stream of events jumps from message {after} to {found}")]
    Gap {
        /// The last message that was read.
        after: u64,
        /// The one that followed.
        found: u64,
    },
}

impl FeedError {
    /// Whether waiting can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Every commit of the fleet after a given one, in order.
pub struct EventFeed {
    messages: pull::Ordered,
    fleet: Fleet,
    last: u64,
}

impl EventFeed {
    /// Reads on after the message `after` (0: from the beginning).
    pub async fn open(fleet: &Fleet, after: u64) -> Result<Self, FeedError> {
        let unavailable = |reason: String| FeedError::Unavailable { reason };
        let stream = fleet
            .jetstream
            .get_stream_no_info(fleet.names().events())
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        let consumer = stream
            .create_consumer(pull::OrderedConfig {
                deliver_policy: DeliverPolicy::ByStartSequence {
                    start_sequence: after + 1,
                },
                ..pull::OrderedConfig::default()
            })
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        let messages = consumer
            .messages()
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        Ok(Self {
            messages,
            fleet: fleet.clone(),
            last: after,
        })
    }

    /// The next commits: waits for one, then takes up to `most` of what comes within `linger`.
    pub async fn next_batch(
        &mut self,
        most: usize,
        linger: Duration,
    ) -> Result<Vec<StoredCommit>, FeedError> {
        let mut batch = vec![self.next().await?];
        let deadline = tokio::time::Instant::now() + linger;
        while batch.len() < most {
            match tokio::time::timeout_at(deadline, self.next()).await {
                Ok(commit) => batch.push(commit?),
                Err(_) => break,
            }
        }
        Ok(batch)
    }

    async fn next(&mut self) -> Result<StoredCommit, FeedError> {
        let unavailable = |reason: String| FeedError::Unavailable { reason };
        let message = match self.messages.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(unavailable(error.to_string())),
            None => return Err(unavailable("the feed was closed".into())),
        };
        let (sequence, stored_at) = {
            let info = message
                .info()
                .map_err(|error| unavailable(error.to_string()))?;
            (info.stream_sequence, info.published)
        };
        if sequence != self.last + 1 {
            return Err(FeedError::Gap {
                after: self.last,
                found: sequence,
            });
        }
        let commit = delivered_commit(self.fleet.names(), &message, sequence, stored_at).map_err(
            |error| FeedError::Unreadable {
                sequence,
                reason: error.to_string(),
            },
        )?;
        self.last = sequence;
        Ok(commit)
    }
}

impl Fleet {
    /// Which stream of events this fleet has.
    pub async fn stream_identity(&self) -> Result<StreamIdentity, FeedError> {
        let stream = self
            .jetstream
            .get_stream(self.names.events())
            .await
            .map_err(|error| FeedError::Unavailable {
                reason: error.to_string(),
            })?;
        let info = stream.cached_info();
        Ok(StreamIdentity {
            created_at: info.created.into(),
            first_sequence: info.state.first_sequence,
            last_sequence: info.state.last_sequence,
        })
    }

    /// One commit by its sequence; none when the stream does not hold it.
    pub async fn commit_at(&self, sequence: u64) -> Result<Option<StoredCommit>, FeedError> {
        let unavailable = |reason: String| FeedError::Unavailable { reason };
        let stream = self
            .jetstream
            .get_stream_no_info(self.names.events())
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        match stream.direct_get(sequence).await {
            Ok(message) => crate::load::stored_commit(self.names(), &message)
                .map(Some)
                .map_err(|error| FeedError::Unreadable {
                    sequence,
                    reason: error.to_string(),
                }),
            Err(error)
                if error.kind() == async_nats::jetstream::stream::DirectGetErrorKind::NotFound =>
            {
                Ok(None)
            }
            Err(error) => Err(unavailable(error.to_string())),
        }
    }
}
