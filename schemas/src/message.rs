//! The messages inside the fleet: wake-ups, heartbeats, dead letters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Commit, Gate, ReasonCode, RunId, RunStatus, Timestamp, TraceParent, Violation, WorkspaceId,
    WriterId, Zone,
};

/// A message on `fleet.queue.<zone>.<lane>`: wake this run. Nothing but the run's history says what is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Wake {
    /// The run's workspace.
    pub workspace_id: WorkspaceId,
    /// The run.
    pub run_id: RunId,
    /// Sequence of the run's last commit that the sender saw. A run that went on since needs no waking.
    pub seen: u64,
    /// The run's whole history, where that is one commit, to spare the receiver a load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Commit>,
}

impl Wake {
    /// Reads a message. A hint that cannot be read, since a newer version made it, counts as none: the wake-up is worth as much
    /// without it.
    pub fn read(payload: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(payload).or_else(|error| {
            let mut message: Value = serde_json::from_slice(payload)?;
            let hint = message.as_object_mut().and_then(|m| m.remove("hint"));
            hint.map_or(Err(error), |_| serde_json::from_value(message))
        })
    }
}

/// What a worker says of itself in the bucket `workers`, under its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerHeartbeat {
    /// Its name, which is its credential's.
    pub worker_id: WriterId,
    /// The zones it serves.
    pub zones: Vec<Zone>,
    /// Runs it can hold at once.
    pub slots: u32,
    /// Runs it holds.
    pub busy: u32,
    /// Its program's version.
    pub version: String,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// When it said this.
    pub seen_at: Timestamp,
    /// Whether it has stopped taking runs and will go.
    pub draining: bool,
}

/// A message that could not be worked on, kept on `fleet.dead.<workspace>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    /// Why.
    pub reason_code: ReasonCode,
    /// Why, for a person.
    pub reason: String,
    /// What is wrong, place by place.
    #[serde(default)]
    pub violations: Vec<Violation>,
    /// When it was put aside.
    pub died_at: Timestamp,
    /// Who put it aside.
    pub by: WriterId,
    /// The run that it concerned, or that records its rejection.
    pub run_id: Option<RunId>,
    /// The subject it was published to, and can be replayed to.
    pub subject: String,
    /// Its sequence in its stream.
    pub sequence: u64,
    /// The message as JSON, where it is JSON.
    pub json: Option<Value>,
    /// Whether secrets were taken out of the message: what is left is not what was sent, and cannot be sent again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
    /// The message as text, where it is not JSON; bytes that are no UTF-8 are replaced, and it is cut to 64 KiB.
    pub text: Option<String>,
}

/// A commit as the stream keeps it, with what its subject and the server say of it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCommit {
    /// Its sequence in the stream.
    pub sequence: u64,
    /// When the server stored it.
    pub stored_at: Timestamp,
    /// The credential that wrote it.
    pub writer: WriterId,
    /// The gate's answer in it.
    pub gate: Gate,
    /// Where the run stands after it; absent for events that belong to no run.
    pub status: Option<RunStatus>,
    /// Where in a trace it was written, as its message's header says.
    pub trace: Option<TraceParent>,
    /// The commit.
    pub commit: Commit,
}
