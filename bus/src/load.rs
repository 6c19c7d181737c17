//! A run's history, read from the stream and folded.

use std::time::{Duration, Instant};

use async_nats::{
    Message,
    jetstream::{
        message::StreamMessage,
        stream::{DirectGetErrorKind, RawMessageErrorKind},
    },
};
use gatewright_run::{RunState, Unevolved};
use gatewright_schemas::{Commit, RunId, StoredCommit, Timestamp, TraceParent, WorkspaceId};

use crate::{Fleet, Names, backward, pages::From, retry::Retry, trace};

/// Messages asked for at a time; the server's own limit is 1,000.
const BATCH: usize = 200;

/// How long a replica that lags is waited for.
const CATCHES_UP: Duration = Duration::from_secs(5);

/// A run as its history tells.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Where it stands.
    pub state: RunState,
    /// The sequence of its last message: the fence of the next append. 0 when it has none.
    pub fence: u64,
}

/// Why a history cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The server does not answer.
    #[error("cannot read the history of run `{run}` from NATS: {reason}")]
    Unavailable {
        /// `workspace/run`.
        run: String,
        /// What the client says.
        reason: String,
    },
    /// A message of it cannot be read.
    #[error("message {sequence} of run `{run}` cannot be read: {reason}")]
    Unreadable {
        /// `workspace/run`.
        run: String,
        /// The message.
        sequence: u64,
        /// What is wrong with it.
        reason: Illegible,
    },
    /// Its messages do not make a history.
    #[error("the history of run `{run}` does not hold together at message {sequence}")]
    Unevolved {
        /// `workspace/run`.
        run: String,
        /// The message.
        sequence: u64,
        /// What does not hold.
        #[source]
        source: Box<Unevolved>,
    },
}

/// Why a message of the stream of events is no commit to this program.
#[derive(Debug, thiserror::Error)]
pub enum Illegible {
    /// It has the form of what this program writes: a newer version may have written it, and can read it.
    #[error("{0}")]
    ToThisVersion(String),
    /// No version wrote it.
    #[error("{0}")]
    ToAnyVersion(String),
}

impl LoadError {
    /// Whether waiting can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

impl Loaded {
    /// A run of which nothing is stored.
    pub fn nothing(workspace: &WorkspaceId, run: &RunId) -> Self {
        Self {
            state: RunState::new(workspace.clone(), run.clone()),
            fence: 0,
        }
    }

    /// The run as a wake-up's hint has it. The fence of the next append tells whether it is still so.
    pub fn from_hint(commit: &Commit, sequence: u64) -> Result<Self, LoadError> {
        let mut loaded = Self::nothing(&commit.workspace_id, &commit.run_id);
        loaded.fold(commit, sequence)?;
        Ok(loaded)
    }

    fn fold(&mut self, commit: &Commit, sequence: u64) -> Result<(), LoadError> {
        for event in &commit.events {
            self.state
                .evolve(event)
                .map_err(|source| LoadError::Unevolved {
                    run: format!("{}/{}", commit.workspace_id, commit.run_id),
                    sequence,
                    source: Box::new(source),
                })?;
        }
        self.fence = sequence;
        Ok(())
    }
}

/// Who is asked for a run's last message.
#[derive(Debug, Clone, Copy)]
enum Ask {
    /// Any replica: it may lag.
    AnyReplica,
    /// The stream's leader, which has everything that was acknowledged.
    Leader,
}

impl Fleet {
    /// Reads and folds a run's history, as some replica of the stream shows it.
    pub async fn load(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Loaded, LoadError> {
        let last = self.last(workspace, run, Ask::AnyReplica).await?;
        self.load_up_to(workspace, run, last).await
    }

    /// Reads and folds everything of a run that was acknowledged before: for an answer that rests on what is not there.
    pub async fn load_current(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
    ) -> Result<Loaded, LoadError> {
        let last = self.last(workspace, run, Ask::Leader).await?;
        let seen = last.as_ref().map_or(0, |last| last.sequence);
        let loaded = self.load_up_to(workspace, run, last).await?;
        if loaded.fence >= seen {
            return Ok(loaded);
        }
        self.load_at_least(workspace, run, seen).await
    }

    /// Reads and folds a run's history at least up to the commit `seen`, which is known to be stored.
    ///
    /// A direct get may be answered by a replica that lags. A view older than what is known is no answer: it is asked for
    /// again, and after some seconds it is an error that passes.
    pub async fn load_at_least(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        seen: u64,
    ) -> Result<Loaded, LoadError> {
        let began = Instant::now();
        let mut retry = Retry::for_conflicts();
        loop {
            let loaded = self.load(workspace, run).await?;
            if loaded.fence >= seen {
                return Ok(loaded);
            }
            if began.elapsed() > CATCHES_UP {
                let reason = format!("its commit {seen} cannot be seen yet");
                return Err(unavailable(workspace, run, reason));
            }
            retry.wait().await;
        }
    }

    /// A run's last commit, as some replica shows it; none when nothing is stored of it.
    pub async fn last_commit(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
    ) -> Result<Option<StoredCommit>, LoadError> {
        let last = self.last(workspace, run, Ask::AnyReplica).await?;
        last.map(|message| self.read(workspace, run, &message))
            .transpose()
    }

    /// Every commit of a run, in order.
    pub async fn history(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
    ) -> Result<Vec<StoredCommit>, LoadError> {
        let mut commits = Vec::new();
        let last = self.last(workspace, run, Ask::AnyReplica).await?;
        self.each_up_to(workspace, run, last, |stored| {
            commits.push(stored);
            Ok(())
        })
        .await?;
        Ok(commits)
    }

    /// The commits of a run that were stored at `since`, by the server's clock, or later, in order.
    pub async fn history_since(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        since: Timestamp,
    ) -> Result<Vec<StoredCommit>, LoadError> {
        let mut commits = Vec::new();
        self.each_from(workspace, run, From::StartTime(since), |stored| {
            commits.push(stored);
            Ok(())
        })
        .await?;
        Ok(commits)
    }

    /// A run's last message; none when nothing is stored of it.
    async fn last(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        ask: Ask,
    ) -> Result<Option<StreamMessage>, LoadError> {
        let stream = self.jetstream.get_stream_no_info(self.names.events());
        let stream = stream
            .await
            .map_err(|error| unavailable(workspace, run, error.to_string()))?;
        let history = self.names.history(workspace, run);
        match ask {
            Ask::AnyReplica => match stream.direct_get_last_for_subject(history).await {
                Ok(message) => Ok(Some(message)),
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
                Err(error) => Err(unavailable(workspace, run, error.to_string())),
            },
            Ask::Leader => match stream.get_last_raw_message_by_subject(&history).await {
                Ok(message) => Ok(Some(message)),
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(unavailable(workspace, run, error.to_string())),
            },
        }
    }

    async fn load_up_to(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        last: Option<StreamMessage>,
    ) -> Result<Loaded, LoadError> {
        let mut loaded = Loaded::nothing(workspace, run);
        self.each_up_to(workspace, run, last, |stored| {
            loaded.fold(&stored.commit, stored.sequence)
        })
        .await?;
        Ok(loaded)
    }

    /// Every commit of a run whose last message is `last`; more, if more came meanwhile, and a long history is read page by page.
    async fn each_up_to(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        last: Option<StreamMessage>,
        mut each: impl FnMut(StoredCommit) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let Some(last) = last else { return Ok(()) };
        let history = self.names.history(workspace, run);
        let Some(messages) = backward::up_to(self, &history, last).await else {
            return self.each_from(workspace, run, From::Seq(1), each).await;
        };
        messages
            .iter()
            .try_for_each(|message| each(self.read(workspace, run, message)?))
    }

    /// The commits of a run from somewhere on, page by page.
    async fn each_from(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        mut from: From,
        mut each: impl FnMut(StoredCommit) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let (events, history) = (self.names.events(), self.names.history(workspace, run));
        loop {
            let messages = self
                .page_from(&events, &history, from, BATCH)
                .await
                .map_err(|reason| unavailable(workspace, run, reason))?;
            for message in &messages {
                from = From::Seq(message.sequence + 1);
                each(self.read(workspace, run, message)?)?;
            }
            if messages.len() < BATCH {
                return Ok(());
            }
        }
    }

    fn read(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        message: &StreamMessage,
    ) -> Result<StoredCommit, LoadError> {
        stored_commit(&self.names, message).map_err(|reason| LoadError::Unreadable {
            run: format!("{workspace}/{run}"),
            sequence: message.sequence,
            reason,
        })
    }
}

fn unavailable(workspace: &WorkspaceId, run: &RunId, reason: String) -> LoadError {
    LoadError::Unavailable {
        run: format!("{workspace}/{run}"),
        reason,
    }
}

/// Reads a message of the stream of events; otherwise tells what is wrong with it.
pub(crate) fn stored_commit(
    names: &Names,
    message: &StreamMessage,
) -> Result<StoredCommit, Illegible> {
    read_commit(
        names,
        &message.subject,
        &message.payload,
        message.sequence,
        message.time,
        trace::read_parent(Some(&message.headers)),
    )
}

/// Reads a message that a consumer delivered.
pub(crate) fn delivered_commit(
    names: &Names,
    message: &Message,
    sequence: u64,
    stored_at: time::OffsetDateTime,
) -> Result<StoredCommit, Illegible> {
    read_commit(
        names,
        &message.subject,
        &message.payload,
        sequence,
        stored_at,
        trace::read_parent(message.headers.as_ref()),
    )
}

fn read_commit(
    names: &Names,
    subject: &str,
    payload: &[u8],
    sequence: u64,
    stored_at: time::OffsetDateTime,
    trace: Option<TraceParent>,
) -> Result<StoredCommit, Illegible> {
    let illegible = |reason: String| match serde_json::from_slice(payload) {
        Ok(serde_json::Value::Object(_)) => Illegible::ToThisVersion(reason),
        _ => Illegible::ToAnyVersion(reason),
    };
    let read = names
        .read_event(subject)
        .ok_or_else(|| illegible(format!("its subject `{subject}` is not one of an event")))?;
    let commit: Commit =
        serde_json::from_slice(payload).map_err(|error| illegible(error.to_string()))?;
    let says = (&commit.workspace_id, &commit.run_id);
    if says != (&read.workspace_id, &read.run_id) {
        let reason = format!("it says to be of run `{}/{}`", says.0, says.1);
        return Err(Illegible::ToAnyVersion(reason));
    }
    Ok(StoredCommit {
        sequence,
        stored_at: stored_at.into(),
        writer: read.writer,
        gate: read.gate,
        status: read.status,
        trace,
        commit,
    })
}
