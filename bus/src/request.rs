//! The outside's way in: submitting runs, giving commands, and their answers.

use std::time::Duration;

use futures::StreamExt as _;
use gatewright_schemas::{CommandMessage, Reply, RunId, WorkspaceId, command::REPLY_TO};

use crate::{Fleet, trace};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The server does not take the message.
    #[error("the NATS server did not take the message: {reason}")]
    NotSent {
        /// What the client says.
        reason: String,
    },
    /// The message is stored, and no dispatcher answered yet.
    #[error("the message is stored and will be worked on, but no dispatcher answered within {}s: is one running?", waited.as_secs())]
    NoAnswer {
        /// How long it was waited for.
        waited: Duration,
    },
}

impl Fleet {
    /// Publishes a submission and waits for the dispatcher's answer. The run joins the trace that is current.
    pub async fn submit(
        &self,
        workspace: &WorkspaceId,
        payload: Vec<u8>,
        patience: Duration,
    ) -> Result<Reply, RequestError> {
        self.ask(self.names.submit(workspace), payload, patience)
            .await
    }

    /// Publishes a submission and waits only until the server has stored it.
    pub async fn submit_unanswered(
        &self,
        workspace: &WorkspaceId,
        payload: Vec<u8>,
    ) -> Result<(), RequestError> {
        let not_sent = |reason: String| RequestError::NotSent { reason };
        let acknowledgement = self
            .jetstream
            .publish_with_headers(
                self.names.submit(workspace),
                trace::headers(),
                payload.into(),
            )
            .await
            .map_err(|error| not_sent(error.to_string()))?;
        acknowledgement
            .await
            .map(|_| ())
            .map_err(|error| not_sent(error.to_string()))
    }

    /// Gives a command and waits for the dispatcher's answer.
    pub async fn command(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        command: &CommandMessage,
        patience: Duration,
    ) -> Result<Reply, RequestError> {
        let payload = serde_json::to_vec(command).unwrap_or_default();
        self.ask(self.names.command(workspace, run), payload, patience)
            .await
    }

    pub(crate) async fn ask(
        &self,
        subject: String,
        payload: Vec<u8>,
        patience: Duration,
    ) -> Result<Reply, RequestError> {
        let not_sent = |reason: String| RequestError::NotSent { reason };
        let inbox = self.client.new_inbox();
        let mut answers = self
            .client
            .subscribe(inbox.clone())
            .await
            .map_err(|error| not_sent(error.to_string()))?;
        let mut headers = trace::headers();
        headers.insert(REPLY_TO, inbox);
        let acknowledgement = self
            .jetstream
            .publish_with_headers(subject, headers, payload.into())
            .await
            .map_err(|error| not_sent(error.to_string()))?;
        acknowledgement
            .await
            .map_err(|error| not_sent(error.to_string()))?;
        match tokio::time::timeout(patience, answers.next()).await {
            Ok(Some(message)) => serde_json::from_slice(&message.payload)
                .map_err(|error| not_sent(format!("the answer cannot be read: {error}"))),
            Ok(None) => Err(not_sent("the connection was closed".into())),
            Err(_) => Err(RequestError::NoAnswer { waited: patience }),
        }
    }
}
