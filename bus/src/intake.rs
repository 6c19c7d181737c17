//! The dispatcher's intake: submissions and commands, timers, dead letters, answers.

use std::time::Duration;

use async_nats::{
    header::{NATS_MESSAGE_ID, NATS_SCHEDULE, NATS_SCHEDULE_TARGET},
    jetstream::{
        AckKind, Message,
        consumer::{PullConsumer, pull},
    },
};
use futures::{Stream, StreamExt as _};
use gatewright_schemas::{
    CommandMessage, DeadLetter, Reply, RunId, Timestamp, TraceContext, WorkspaceId,
    command::REPLY_TO,
};

use crate::{
    Fleet,
    layout::{LayoutError, unavailable, unavailable_boxed},
    trace,
};

/// A dead letter's bytes at most, well below what a server takes; a larger one is kept in part.
const MAX_LETTER: usize = 512 * 1024;

/// A message of the intake.
#[derive(Debug)]
pub struct Intake {
    message: Message,
    /// Its sequence in the stream: the same on redelivery.
    pub sequence: u64,
    /// How often it was handed out, this time included. Not how often it was worked on: whoever was handed it first may be
    /// at it later than the one who was handed it second.
    pub delivered: i64,
    /// When the server stored it.
    pub stored_at: Timestamp,
    /// Where in a trace its sender was; none where it said nothing that can be read.
    pub trace: Option<TraceContext>,
    /// What it is, by its subject.
    pub kind: IntakeKind,
}

/// What a message of the intake is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntakeKind {
    /// A submission.
    Submission {
        /// To which workspace.
        workspace_id: WorkspaceId,
    },
    /// A command.
    Command {
        /// In which workspace.
        workspace_id: WorkspaceId,
        /// To which run.
        run_id: RunId,
    },
    /// Its subject's tokens are no identifiers.
    Unreadable,
}

impl Fleet {
    /// Joins the dispatchers: the messages of one consumer of the intake ([`Names::submissions_consumer`](crate::Names::submissions_consumer)
    /// or [`Names::commands_consumer`](crate::Names::commands_consumer)), `at_once` of them handed out before the first is settled.
    pub async fn intake(
        &self,
        consumer: &str,
        at_once: usize,
    ) -> Result<impl Stream<Item = Result<Intake, String>> + Send + use<>, LayoutError> {
        let what = "read submissions and commands";
        let stream = self.names.submissions();
        let messages = self.handed_out(&stream, consumer, at_once, what).await?;
        let names = self.names.clone();
        Ok(messages.map(move |message| {
            let message = message.map_err(|error| error.to_string())?;
            let info = message.info().map_err(|error| error.to_string())?;
            let (sequence, delivered, stored_at) =
                (info.stream_sequence, info.delivered, info.published.into());
            let kind = kind_of(names.prefix(), &message.subject);
            Ok(Intake {
                trace: trace::read(message.headers.as_ref()),
                message,
                sequence,
                delivered,
                stored_at,
                kind,
            })
        }))
    }

    /// The messages of a durable consumer of the dispatchers, `at_once` of them handed out before the first is settled.
    pub(crate) async fn handed_out(
        &self,
        stream: &str,
        consumer: &str,
        at_once: usize,
        what: &str,
    ) -> Result<pull::Stream, LayoutError> {
        let stream = self
            .jetstream
            .get_stream_no_info(stream)
            .await
            .map_err(|error| unavailable(what, &error))?;
        let consumer: PullConsumer = stream
            .get_consumer(consumer)
            .await
            .map_err(|error| unavailable_boxed(what, &error))?;
        consumer
            .stream()
            .max_messages_per_batch(at_once)
            .heartbeat(Duration::from_secs(5))
            .expires(Duration::from_secs(30))
            .messages()
            .await
            .map_err(|error| unavailable(what, &error))
    }

    /// When the stream of submissions was made: with a message's sequence it names the message for ever.
    pub async fn intake_epoch(&self) -> Result<Timestamp, LayoutError> {
        let what = "see the stream of submissions";
        let stream = self
            .jetstream
            .get_stream(self.names.submissions())
            .await
            .map_err(|error| unavailable(what, &error))?;
        Ok(stream.cached_info().created.into())
    }

    /// Has the server give `command` to the run at `due`. It needs no process to stay up for that; a second timer of the same kind replaces the first.
    pub async fn set_timer(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        kind: &str,
        due: Timestamp,
        command: &CommandMessage,
    ) {
        let mut headers = trace::headers();
        // The server reads whole seconds and fires late rather than early.
        let due = due.plus(Duration::from_millis(999));
        let seconds = due.to_string().chars().take(19).collect::<String>();
        headers.insert(NATS_SCHEDULE, format!("@at {seconds}Z"));
        headers.insert(NATS_SCHEDULE_TARGET, self.names.command(workspace, run));
        let payload = serde_json::to_vec(command).unwrap_or_default();
        let timer = self.names.timer(workspace, run, kind);
        // Nothing of it is ever too large; what a server refuses all the same is in the log.
        let _ = self
            .publish_until_stored(&timer, headers, payload.into())
            .await;
    }

    /// Gives a command without waiting for an answer; goes on until the server has it.
    pub async fn tell(&self, workspace: &WorkspaceId, run: &RunId, command: &CommandMessage) {
        let payload = serde_json::to_vec(command).unwrap_or_default();
        let subject = self.names.command(workspace, run);
        // Nothing of it is ever too large; what a server refuses all the same is in the log.
        let _ = self
            .publish_until_stored(&subject, trace::headers(), payload.into())
            .await;
    }

    /// Keeps a message that could not be worked on, once.
    pub async fn bury(&self, workspace: &WorkspaceId, letter: &DeadLetter, id: &str) {
        let mut headers = trace::headers();
        headers.insert(NATS_MESSAGE_ID, id);
        let subject = self.names.dead(workspace);
        let most = MAX_LETTER.min(self.client.max_payload() / 2);
        let mut payload = serde_json::to_vec(letter).unwrap_or_default();
        if payload.len() > most {
            payload = serde_json::to_vec(&cut(letter, most / 16)).unwrap_or_default();
        }
        let kept = self
            .publish_until_stored(&subject, headers.clone(), payload.into())
            .await;
        if kept.is_err() {
            // The stream takes less than the server: who sent what, and why it died, is what matters.
            let payload = serde_json::to_vec(&cut(letter, 0)).unwrap_or_default();
            let _ = self
                .publish_until_stored(&subject, headers, payload.into())
                .await;
        }
    }

    /// Tells workers that a run that they may hold is over. Best effort: the fence stops them all the same.
    pub async fn interrupt(&self, workspace: &WorkspaceId, run: &RunId) {
        let subject = self.names.interrupt(workspace, run);
        if let Err(error) = self.client.publish(subject, bytes::Bytes::new()).await {
            tracing::debug!(%error, "an interrupt was not sent");
        }
    }

    /// The runs that are over, as they are told.
    pub async fn interrupts(
        &self,
    ) -> Result<impl Stream<Item = (WorkspaceId, RunId)> + Send + use<>, LayoutError> {
        let what = "listen for interrupts";
        let subscription = self
            .client
            .subscribe(self.names.interrupts())
            .await
            .map_err(|error| unavailable(what, &error))?;
        let prefix = format!("{}.interrupt.", self.names.prefix());
        Ok(subscription.filter_map(move |message| {
            let run = message.subject.strip_prefix(&prefix).and_then(|rest| {
                let (workspace, run) = rest.split_once('.')?;
                Some((workspace.parse().ok()?, run.parse().ok()?))
            });
            std::future::ready(run)
        }))
    }
}

/// A letter with the beginning of its message only: written anew, a message can be larger than it came.
fn cut(letter: &DeadLetter, characters: usize) -> DeadLetter {
    let text = match (&letter.json, &letter.text) {
        (Some(json), _) => Some(json.to_string()),
        (None, text) => text.clone(),
    };
    DeadLetter {
        json: None,
        text: text.map(|text| text.chars().take(characters).collect()),
        ..letter.clone()
    }
}

fn kind_of(prefix: &str, subject: &str) -> IntakeKind {
    let read = || {
        let mut tokens = subject.strip_prefix(prefix)?.strip_prefix('.')?.split('.');
        let kind = tokens.next()?;
        let workspace_id = tokens.next()?.parse().ok()?;
        match kind {
            "submit" => Some(IntakeKind::Submission { workspace_id }),
            "command" => Some(IntakeKind::Command {
                workspace_id,
                run_id: tokens.next()?.parse().ok()?,
            }),
            _ => None,
        }
    };
    read().unwrap_or(IntakeKind::Unreadable)
}

impl Intake {
    /// The message as it came.
    pub fn payload(&self) -> &[u8] {
        &self.message.payload
    }

    /// Where it was published.
    pub fn subject(&self) -> &str {
        &self.message.subject
    }

    /// Worked on: forget it.
    pub async fn ack(&self) {
        self.settle(AckKind::Ack).await;
    }

    /// Hand it out again after `delay`.
    pub async fn give_back(&self, delay: Duration) {
        self.settle(AckKind::Nak(Some(delay))).await;
    }

    async fn settle(&self, kind: AckKind) {
        if let Err(error) = self.message.ack_with(kind).await {
            tracing::warn!(%error, submission.sequence = self.sequence, "an acknowledgement was not sent");
        }
    }

    /// Answers the sender, where it asked for an answer.
    pub async fn answer(&self, fleet: &Fleet, reply: &Reply) {
        let Some(to) = self.message.headers.as_ref().and_then(|h| h.get(REPLY_TO)) else {
            return;
        };
        // A dispatcher may publish where the sender may not: it answers into inboxes, and nowhere else.
        if !to.as_str().starts_with("_INBOX.") {
            tracing::warn!(
                submission.sequence = self.sequence,
                "an answer was asked for that goes to no inbox"
            );
            return;
        }
        let payload = serde_json::to_vec(reply).unwrap_or_default();
        if let Err(error) = fleet
            .client
            .publish(to.as_str().to_owned(), payload.into())
            .await
        {
            tracing::warn!(%error, "an answer was not sent");
        }
    }
}
