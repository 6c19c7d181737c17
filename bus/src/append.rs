//! The fenced append: how a commit gets into the stream, once, or not at all.
//!
//! 1. A commit names the sequence of the run's last message that its writer saw (the fence).
//!    The server stores it only if nothing was stored for the run since.
//!    So of two writers with the same view one wins and the other learns it.
//! 2. The fence's filter is the run's whole history, spelt the same by every writer: the server compares it as text.
//! 3. The message id is the commit id, and it stays the same however often the same commit is sent.
//! 4. Answers:
//!    - stored, or a duplicate of the same id: stored. Its sequence is the run's new last one.
//!    - 10071 (wrong last sequence): somebody stored something after the fence.
//!      It may be this very commit, sent before and stored although no answer came.
//!      So the run's first message after the fence is looked at: its id tells whose it is.
//!      If it is another's, this writer is fenced: it stops, without effect, without acknowledging anything.
//!    - 10164, 10163, 10158, a time-out, a broken connection: nobody knows yet.
//!      The same commit is sent again with the same fence, until one of the answers above comes.
//! 5. A single server checks the sequence before the id, a cluster the id before the sequence.
//!    Therefore both answers of point 4 mean the same thing here.
//! 6. One append of a run at a time: a writer waits for the answer before it decides the next commit.

use std::time::SystemTime;

use async_nats::{
    HeaderMap,
    header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID},
    jetstream::{
        ErrorCode,
        context::{PublishError, PublishErrorKind},
    },
};
use bytes::Bytes;
use gatewright_run::Sealed;
use gatewright_schemas::{Commit, Gate, RunStatus};
use gatewright_traces::{Kind, Place, Span};

use crate::{Fleet, names::EventSubject, retry::Retry, telemetry, trace};

mod group;
pub use group::GroupCommit;

/// The filter by which the server finds the run's last message.
pub(crate) const FENCE_FILTER: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// After this time a replica that has not seen a run's last commit is not slow: the commit is not there.
const CAUGHT_UP: std::time::Duration = std::time::Duration::from_secs(30);

/// Why a commit is not in the stream.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else moved the run on. Stop: no effect, no acknowledgement.
    #[error("run `{run}` was moved on by somebody else after sequence {fence}")]
    Fenced {
        /// `workspace/run`.
        run: String,
        /// The fence that no longer holds.
        fence: u64,
    },
    /// The credential may not write this subject.
    #[error(
        "the NATS server does not let this credential publish to `{subject}`: give it that permission, or start this program under the name that the credential is for"
    )]
    NotPermitted {
        /// The subject.
        subject: String,
    },
    /// The server will never take it.
    #[error("the NATS server refuses the commit: {reason}")]
    Refused {
        /// What it says.
        reason: String,
    },
    /// It cannot be encoded.
    #[error("the commit cannot be encoded")]
    Encoding(#[from] serde_json::Error),
}

/// What came of one attempt.
#[derive(Debug)]
pub(crate) enum Attempt {
    Stored(u64),
    SequenceMoved,
    Unknown(String),
    Refused(String),
}

/// A message on its way.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

impl Fleet {
    /// Appends a run's commit behind `fence`, the sequence of the run's last message (0 for none), and answers with its own.
    ///
    /// Goes on until it is known whether the commit is stored; a caller that cannot wait drops the future and treats the run as fenced.
    pub async fn append(&self, sealed: &Sealed, fence: u64) -> Result<u64, AppendError> {
        let status = Some(sealed.status);
        let place = trace::of_run(&sealed.state).current();
        self.append_commit(&sealed.commit, sealed.gate, status, fence, Some(place))
            .await
    }

    /// Appends a commit of a pseudo run, whose events have no status.
    pub async fn append_authority(
        &self,
        commit: &Commit,
        gate: Gate,
        fence: u64,
    ) -> Result<u64, AppendError> {
        self.append_commit(commit, gate, None, fence, Place::current())
            .await
    }

    async fn append_commit(
        &self,
        commit: &Commit,
        gate: Gate,
        status: Option<RunStatus>,
        fence: u64,
        place: Option<Place>,
    ) -> Result<u64, AppendError> {
        let span = place.map(|place| Append::begin(&place, self, commit, gate, status));
        let appended = self.store(commit, gate, status, fence, span.as_ref()).await;
        if let (Some(span), Err(error)) = (&span, &appended) {
            span.failed(error);
        }
        appended
    }

    async fn store(
        &self,
        commit: &Commit,
        gate: Gate,
        status: Option<RunStatus>,
        fence: u64,
        span: Option<&Append>,
    ) -> Result<u64, AppendError> {
        let subject = self.names.event(&EventSubject {
            workspace_id: commit.workspace_id.clone(),
            run_id: commit.run_id.clone(),
            writer: self.writer.clone(),
            gate,
            status,
        });
        let history = self.names.history(&commit.workspace_id, &commit.run_id);
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, commit.commit_id.as_str());
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, fence.to_string());
        headers.insert(FENCE_FILTER, history.as_str());
        if let Some(span) = span {
            trace::put(&mut headers, &span.0.place());
        }
        let outgoing = Outgoing {
            subject,
            headers,
            payload: serde_json::to_vec(commit)?.into(),
        };

        let mut retry = Retry::for_conflicts();
        let began = std::time::Instant::now();
        loop {
            let attempt = match &self.groups {
                Some(groups) => groups.send(outgoing.clone()).await,
                None => self.send(&outgoing).await,
            };
            match attempt {
                Attempt::Stored(sequence) => {
                    telemetry::appended(&commit.events, began.elapsed());
                    return Ok(sequence);
                }
                Attempt::Refused(reason) => return Err(AppendError::Refused { reason }),
                Attempt::SequenceMoved => match self.first_after(&history, fence).await {
                    Some((sequence, id)) if id == commit.commit_id.as_str() => {
                        telemetry::appended(&commit.events, began.elapsed());
                        return Ok(sequence);
                    }
                    Some(_) => {
                        telemetry::fenced();
                        let run = format!("{}/{}", commit.workspace_id, commit.run_id);
                        return Err(AppendError::Fenced { run, fence });
                    }
                    // A replica that has not caught up yet: ask again. But a stream that lost its tail, at a power failure
                    // or with an old backup, stays behind the fence: what the writer saw does not exist any more.
                    None if began.elapsed() > CAUGHT_UP => {
                        let run = format!("{}/{}", commit.workspace_id, commit.run_id);
                        tracing::error!(run.id = %commit.run_id, fence, "the stream of events ends before what this writer saw of the run: has it lost its tail?");
                        return Err(AppendError::Fenced { run, fence });
                    }
                    None => {}
                },
                Attempt::Unknown(why) => {
                    if self.was_refused(&outgoing.subject) {
                        return Err(AppendError::NotPermitted {
                            subject: outgoing.subject,
                        });
                    }
                    tracing::warn!(run.id = %commit.run_id, %why, "not known whether a commit is stored, asking again");
                }
            }
            retry.wait().await;
        }
    }

    /// Sends a message by itself.
    pub(crate) async fn send(&self, outgoing: &Outgoing) -> Attempt {
        let Outgoing {
            subject,
            headers,
            payload,
        } = outgoing.clone();
        let sent = match self
            .jetstream
            .publish_with_headers(subject, headers, payload)
            .await
        {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(ack) => Attempt::Stored(ack.sequence),
            Err(error) => attempt_of(&error),
        }
    }

    /// Sequence and message id of the run's first message after `fence`.
    async fn first_after(&self, history: &str, fence: u64) -> Option<(u64, String)> {
        let page = self.page(&self.names.events(), history, fence + 1, 1).await;
        match page {
            Ok(page) => page.first().map(|message| {
                let id = message.headers.get(NATS_MESSAGE_ID);
                let id = id.map(|id| id.as_str().to_owned());
                (message.sequence, id.unwrap_or_default())
            }),
            Err(error) => {
                tracing::warn!(%error, "cannot see who moved a run on, asking again");
                None
            }
        }
    }
}

/// The span of an append, from which the message says that it comes.
struct Append(Span);

impl Append {
    fn begin(
        place: &Place,
        fleet: &Fleet,
        commit: &Commit,
        gate: Gate,
        status: Option<RunStatus>,
    ) -> Self {
        let span = Span::begin_at(place, Kind::Producer, "append EVENTS", SystemTime::now());
        if span.is_recorded() {
            span.set("messaging.system", "nats");
            span.set("messaging.operation.name", "append");
            span.set("messaging.operation.type", "send");
            span.set("messaging.destination.name", fleet.names.events());
            span.set("messaging.message.id", commit.commit_id.to_string());
            span.set("gatewright.workspace_id", commit.workspace_id.to_string());
            span.set("gatewright.run_id", commit.run_id.to_string());
            span.set("gatewright.gate", gate.as_str());
            if let Some(status) = status {
                span.set("gatewright.run.status", status.as_str());
            }
            let types = commit.events.iter().map(|event| event.event_type.as_str());
            span.set("gatewright.events", types.collect::<Vec<_>>().join(" "));
        }
        Self(span)
    }

    fn failed(&self, error: &AppendError) {
        self.0.failed(match error {
            AppendError::Fenced { .. } => "fenced",
            AppendError::NotPermitted { .. } => "not_permitted",
            AppendError::Refused { .. } => "refused",
            AppendError::Encoding(_) => "encoding",
        });
    }
}

/// What an error says of the message: not stored, or nobody knows.
fn attempt_of(error: &PublishError) -> Attempt {
    match error.kind() {
        PublishErrorKind::WrongLastSequence => Attempt::SequenceMoved,
        PublishErrorKind::MaxPayloadExceeded => Attempt::Refused(error.to_string()),
        PublishErrorKind::Other => {
            let source = std::error::Error::source(error);
            match source.and_then(|s| s.downcast_ref::<async_nats::jetstream::Error>()) {
                Some(reply) => attempt_of_code(reply.error_code(), &reply.to_string()),
                None => Attempt::Unknown(error.to_string()),
            }
        }
        _ => Attempt::Unknown(error.to_string()),
    }
}

/// What the server's error code says of the message.
pub(crate) fn attempt_of_code(code: ErrorCode, text: &str) -> Attempt {
    /// `STREAM_MESSAGE_EXCEEDS_MAXIMUM`
    const TOO_LARGE: u64 = 10054;
    /// `STREAM_SEALED`
    const SEALED: u64 = 10109;
    match code {
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE => Attempt::SequenceMoved,
        ErrorCode(TOO_LARGE | SEALED) => Attempt::Refused(text.to_owned()),
        _ => Attempt::Unknown(text.to_owned()),
    }
}
