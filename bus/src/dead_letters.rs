//! Dead letters, read and sent again.

use std::time::Duration;

use async_nats::jetstream::{message::StreamMessage, stream::DirectGetErrorKind};
use gatewright_schemas::{DeadLetter, Reply, WorkspaceId};

use crate::{Fleet, request::RequestError};

/// A dead letter as the stream keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredDeadLetter {
    /// Its sequence in the stream of dead letters.
    pub sequence: u64,
    /// The workspace it is kept under.
    pub workspace_id: WorkspaceId,
    /// The letter.
    pub letter: DeadLetter,
}

/// Why dead letters cannot be read or sent again.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// The server does not answer.
    #[error("cannot read the dead letters: {reason}")]
    Unavailable {
        /// What the client says.
        reason: String,
    },
    /// One of them cannot be read.
    #[error("dead letter {sequence} cannot be read: {reason}")]
    Unreadable {
        /// Which.
        sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// It is nothing that a dispatcher takes in.
    #[error(
        "dead letter {sequence} was published to `{subject}`: only submissions and commands can be sent again"
    )]
    NotReplayable {
        /// Which.
        sequence: u64,
        /// Where it was published.
        subject: String,
    },
    /// Its secrets were taken out.
    #[error(
        "dead letter {sequence} is kept without its secrets and cannot be sent again: submit the original"
    )]
    Redacted {
        /// Which.
        sequence: u64,
    },
    /// It could not be sent, or nobody answered.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl Fleet {
    /// The dead letters after the sequence `after` (0 for the first page), the oldest first, at most `most` (1,000); of one workspace where one is given.
    pub async fn dead_letters(
        &self,
        workspace: Option<&WorkspaceId>,
        after: u64,
        most: usize,
    ) -> Result<Vec<StoredDeadLetter>, DeadLetterError> {
        let filter = match workspace {
            Some(workspace) => self.names.dead(workspace),
            None => format!("{}.dead.*", self.names.prefix()),
        };
        let page = self
            .page(&self.names.dead_letters(), &filter, after + 1, most)
            .await
            .map_err(|reason| DeadLetterError::Unavailable { reason })?;
        page.iter().map(Self::read_dead).collect()
    }

    /// One dead letter by its sequence; none when there is none.
    pub async fn dead_letter(
        &self,
        sequence: u64,
    ) -> Result<Option<StoredDeadLetter>, DeadLetterError> {
        let unavailable = |reason: String| DeadLetterError::Unavailable { reason };
        let stream = self
            .jetstream
            .get_stream_no_info(self.names.dead_letters())
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        match stream.direct_get(sequence).await {
            Ok(message) => Self::read_dead(&message).map(Some),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(unavailable(error.to_string())),
        }
    }

    /// Publishes the message of a dead letter again where it was published first, and waits for the dispatcher's answer.
    pub async fn replay(
        &self,
        dead: &StoredDeadLetter,
        patience: Duration,
    ) -> Result<Reply, DeadLetterError> {
        let letter = &dead.letter;
        let prefix = self.names.prefix();
        let taken_in = ["submit", "command"]
            .iter()
            .any(|kind| letter.subject.starts_with(&format!("{prefix}.{kind}.")));
        if !taken_in {
            return Err(DeadLetterError::NotReplayable {
                sequence: dead.sequence,
                subject: letter.subject.clone(),
            });
        }
        if letter.redacted {
            return Err(DeadLetterError::Redacted {
                sequence: dead.sequence,
            });
        }
        let payload = match (&letter.json, &letter.text) {
            (Some(json), _) => json.to_string(),
            (None, text) => text.clone().unwrap_or_default(),
        };
        Ok(self
            .ask(letter.subject.clone(), payload.into_bytes(), patience)
            .await?)
    }

    fn read_dead(message: &StreamMessage) -> Result<StoredDeadLetter, DeadLetterError> {
        let unreadable = |reason: String| DeadLetterError::Unreadable {
            sequence: message.sequence,
            reason,
        };
        let workspace_id = message
            .subject
            .rsplit('.')
            .next()
            .and_then(|token| token.parse().ok())
            .ok_or_else(|| unreadable(format!("its subject is `{}`", message.subject)))?;
        let letter = serde_json::from_slice(&message.payload)
            .map_err(|error| unreadable(error.to_string()))?;
        Ok(StoredDeadLetter {
            sequence: message.sequence,
            workspace_id,
            letter,
        })
    }
}
