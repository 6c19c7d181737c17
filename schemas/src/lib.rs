//! Gatewright's wire contract: what outside programs see and what the parts of the fleet tell each other.
//!
//! Types with serde and JSON Schema, the reading of untrusted messages ([`validate`]), the canonical encoding and digests
//! ([`canonical`]), and the hash chain ([`chain`]).
//! Not here: any I/O, any decision, any state.
//! Read on in [`event`] for what happens, in [`submission`] for how a run is asked for.
//! `schemas/json/` holds the JSON Schema of every message, written by the example `generate` (`make schemas`).

pub mod authority;
pub mod canonical;
pub mod chain;
pub mod command;
pub mod decision;
pub mod error_info;
pub mod event;
pub mod gate_facts;
pub mod id;
pub mod message;
pub mod reference;
pub mod submission;
pub mod timestamp;
pub mod trace;
pub mod validate;
pub mod vocabulary;

pub use authority::{
    CapabilityToken, DataAccess, Principal, Quarantine, RememberedApproval, Scopes,
};
pub use canonical::Digest;
pub use command::{Command, CommandMessage, Reply};
pub use decision::{DecisionRecord, Finding};
pub use error_info::{ErrorInfo, Violation};
pub use event::{Actor, Commit, Event, EventBody};
pub use gate_facts::{ApprovalFacts, GateFacts, HopFacts, RecordedDecision};
pub use id::{
    ApprovalId, CapabilityTokenId, CommitId, EventId, InvalidId, PrincipalId, RememberedApprovalId,
    RunId, StepId, ToolCallId, WorkspaceId, WriterId,
};
pub use message::{DeadLetter, StoredCommit, Wake, WorkerHeartbeat};
pub use submission::Submission;
pub use timestamp::Timestamp;
pub use trace::{TraceContext, TraceParent, TraceState};
pub use vocabulary::{
    ActorType, Decision, Effect, EnforcementMode, EventType, Gate, KeyRole, Lane, OnApproval,
    OnFailure, OnUnknownOutcome, ReasonCode, RunStatus, RuntimeActor, SandboxPermissions, Stage,
    StepStatus, ToolCallStatus, UnknownWord, Zone,
};
