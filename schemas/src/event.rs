//! The events: one struct per type for its `data`, and [`Event`], the envelope.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ActorType, ApprovalId, CapabilityToken, CapabilityTokenId, CommitId, DecisionRecord, Digest,
    Effect, EnforcementMode, ErrorInfo, EventId, EventType, GateFacts, Lane, Principal,
    PrincipalId, RememberedApproval, RememberedApprovalId, RunId, StepId, StepStatus, Submission,
    Timestamp, ToolCallId, TraceContext, WorkspaceId, Zone,
};

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The actor's id: a worker's name, a person's, an agent's.
    pub actor_id: String,
    /// What kind of thing it is.
    pub actor_type: ActorType,
}

/// One event in its envelope.
///
/// The fields stand in alphabetical order, so that the derived serialisation without `hash` *is* the canonical encoding that is hashed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Who did it.
    pub actor: Actor,
    /// On whose authority.
    pub actor_principal_id: Option<PrincipalId>,
    /// The event or message that led to it.
    pub causation_id: Option<String>,
    /// What ties it to other work.
    pub correlation_id: Option<String>,
    /// What happened; its shape is that of the event's type.
    pub data: Value,
    /// Its id.
    pub event_id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// Version of the shape of `data`.
    pub event_version: u16,
    /// SHA-256 over the canonical encoding of all the other fields.
    pub hash: Digest,
    /// When.
    pub occurred_at: Timestamp,
    /// `hash` of the run's event before; absent on the first.
    pub prev_hash: Option<Digest>,
    /// The room, where the run has one.
    pub room_id: Option<String>,
    /// The run.
    pub run_id: RunId,
    /// Its place in the run, from 1, without gaps.
    pub seq: u64,
    /// The step, where it concerns one.
    pub step_id: Option<StepId>,
    /// The thread, where the run has one.
    pub thread_id: Option<String>,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The zone that the run acts in.
    pub zone: Zone,
}

/// The version of `data` that this program writes.
pub const EVENT_VERSION: u16 = 1;

/// Why an event's `data` cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error(
    "event `{event_id}` of type `{event_type}` version {version} cannot be read by this version"
)]
pub struct UnreadableEvent {
    /// The event.
    pub event_id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// Its version.
    pub version: u16,
    /// What is wrong with it; absent when the version is simply newer.
    #[source]
    pub source: Option<serde_json::Error>,
}

/// A message of the stream: every event of one decision, appended together or not at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// Its id; the message id on the stream.
    pub commit_id: CommitId,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The run.
    pub run_id: RunId,
    /// The attempt at the run in which it was made; 0 before the first.
    pub attempt: u32,
    /// The events, in order; never empty.
    #[schemars(length(min = 1))]
    pub events: Vec<Event>,
}

macro_rules! bodies {
    ($($(#[$doc:meta])* $variant:ident($body:ty);)+) => {
        /// What happened, by type.
        #[derive(Debug, Clone, PartialEq)]
        pub enum EventBody {
            $($(#[$doc])* $variant($body),)+
        }

        impl EventBody {
            /// The type's word.
            pub fn event_type(&self) -> EventType {
                match self { $(Self::$variant(_) => EventType::$variant,)+ }
            }

            /// The `data` of the event.
            pub fn to_data(&self) -> Value {
                // Derived serialisers of plain structs with string keys have no way to fail.
                match self { $(Self::$variant(body) => serde_json::to_value(body).unwrap_or_default(),)+ }
            }

            fn from_data(event_type: EventType, data: &Value) -> Result<Self, serde_json::Error> {
                Ok(match event_type { $(EventType::$variant => Self::$variant(<$body>::deserialize(data)?),)+ })
            }

            /// The JSON Schema of each type's `data`.
            pub fn schemas() -> Vec<(EventType, schemars::Schema)> {
                vec![$((EventType::$variant, schemars::schema_for!($body)),)+]
            }
        }
    };
}

bodies! {
    /// A run was accepted.
    RunCreated(RunCreated);
    /// A worker took it for the first time.
    RunStarted(RunStarted);
    /// A worker took it again: a takeover, or the end of a park.
    RunResumed(RunResumed);
    /// It parked.
    RunSuspended(RunSuspended);
    /// It ended as wished.
    RunCompleted(RunCompleted);
    /// It ended with an error.
    RunFailed(RunFailed);
    /// It ended because somebody asked.
    RunCancelled(RunCancelled);
    /// A submission was not accepted.
    RunRejected(RunRejected);
    /// A step began.
    StepCreated(StepCreated);
    /// A step ended.
    StepCompleted(StepCompleted);
    /// An outside agent asks for a call.
    ToolRequested(ToolRequested);
    /// The intent: the tool is executed after this is stored, never before.
    ToolInvoked(ToolInvoked);
    /// The tool answered.
    ToolSucceeded(ToolSucceeded);
    /// The call failed, or was refused.
    ToolFailed(ToolFailed);
    /// The gate denied a call.
    PolicyDenied(PolicyDecided);
    /// The gate wants an approval for a call.
    PolicyRequiresApproval(PolicyDecided);
    /// A policy document became the active one.
    PolicyActivated(PolicyActivated);
    /// A limit was met.
    QuotaExceeded(QuotaExceeded);
    /// Somebody is asked to decide.
    ApprovalRequested(ApprovalRequested);
    /// Somebody said yes, and more are needed.
    ApprovalVoted(ApprovalVoted);
    /// It is decided.
    ApprovalDecided(ApprovalDecided);
    /// Nobody decided in time.
    ApprovalExpired(ApprovalExpired);
    /// An approval holds for like calls, for a while.
    ApprovalRemembered(ApprovalRemembered);
    /// A remembered approval holds no longer.
    ApprovalForgotten(ApprovalForgotten);
    /// A request to the outside is wanted.
    EgressRequested(EgressRequested);
    /// It went out.
    EgressAllowed(EgressAllowed);
    /// It did not.
    EgressBlocked(EgressBlocked);
    /// A capability token was granted.
    CapabilityGranted(CapabilityGranted);
    /// A capability token was asked for and refused.
    CapabilityRefused(CapabilityRefused);
    /// A capability token was revoked.
    CapabilityRevoked(CapabilityRevoked);
    /// A principal became known.
    PrincipalRegistered(PrincipalRegistered);
    /// A principal may do nothing any more.
    PrincipalQuarantined(PrincipalQuarantined);
    /// A principal may act again.
    PrincipalReleased(PrincipalReleased);
}

impl Event {
    /// What happened, typed.
    pub fn body(&self) -> Result<EventBody, UnreadableEvent> {
        let unreadable = |source| UnreadableEvent {
            event_id: self.event_id.clone(),
            event_type: self.event_type,
            version: self.event_version,
            source,
        };
        if self.event_version > EVENT_VERSION {
            return Err(unreadable(None));
        }
        EventBody::from_data(self.event_type, &self.data).map_err(|error| unreadable(Some(error)))
    }
}

/// `run.created`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunCreated {
    /// The submission as it was accepted, its `run_id` left out and its secrets replaced by references.
    pub submission: Submission,
    /// By which a second submission of the same id is told apart.
    pub content_digest: Digest,
    /// The queue's lane.
    pub lane: Lane,
    /// The queue's zone: the zone that `runtime.policy` asks for, `sandbox` when it cannot be read.
    pub zone: Zone,
    /// The run that this one repeats.
    pub retry_of: Option<RunId>,
    /// How many references to secrets the submission holds; their values are in the vault until the run has ended.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub secrets: u32,
    /// Where in the submitter's trace the run belongs, where it said so. The run's own trace is the same for as long as it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// `run.started`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunStarted {
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// Sequence of the queue message that woke the run: the worker's lease.
    pub lease: u64,
}

/// `run.resumed`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunResumed {
    /// The number of the attempt.
    pub attempt: u32,
    /// Sequence of the queue message that woke the run: the worker's lease.
    pub lease: u64,
    /// Whether another worker is presumed dead; otherwise a park ended.
    pub takeover: bool,
}

/// `run.suspended`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunSuspended {
    /// What it waits for.
    pub waiting_for: WaitingFor,
}

/// What a parked run waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum WaitingFor {
    /// A decision.
    Approval {
        /// Which approval.
        approval_id: ApprovalId,
        /// When it lapses.
        expires_at: Timestamp,
    },
    /// The outside agent's next call.
    Actor,
}

/// `run.completed`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunCompleted {
    /// Calls that succeeded.
    pub succeeded_calls: u32,
    /// Calls that failed, with leave to go on.
    pub failed_calls: u32,
}

/// `run.failed`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunFailed {
    /// Why.
    pub error: ErrorInfo,
}

/// `run.cancelled`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunCancelled {
    /// Why, for a person.
    pub reason: Option<String>,
    /// Who asked.
    pub by: String,
}

/// `run.rejected`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunRejected {
    /// Why.
    pub error: ErrorInfo,
    /// The run id that the submission asked for; it stays free.
    pub requested_run_id: Option<String>,
    /// The submission's sequence in its stream, by which its dead letter is found.
    pub submission_sequence: u64,
}

/// `step.created`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepCreated {
    /// Its place in the run, from 1.
    pub number: u32,
    /// What people call it.
    pub title: Option<String>,
    /// The key under which an outside agent may ask again without a second step coming of it; absent in a run of steps of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_key: Option<String>,
}

/// `step.completed`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepCompleted {
    /// How it ended: `succeeded`, `failed` or `cancelled`.
    pub status: StepStatus,
}

/// `tool.requested`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolRequested {
    /// The call.
    pub tool_call_id: ToolCallId,
    /// The tool's name, trimmed.
    pub tool_name: String,
    /// The input, its secrets replaced by references.
    pub input: Value,
    /// The key under which the agent may ask again without a second call coming of it.
    pub request_key: String,
    /// The sandbox it asks for, as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_permissions: Option<String>,
    /// On whose authority, where that is not the run's own: any JSON, read as defensively.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub policy: Value,
    /// Under what digest its secrets are kept; absent when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Digest>,
}

/// `tool.invoked`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolInvoked {
    /// The call.
    pub tool_call_id: ToolCallId,
    /// The tool's name.
    pub tool_name: String,
    /// Digest of the tool's definition.
    pub definition_digest: Digest,
    /// What the tool does to the world.
    pub effect: Effect,
    /// Whether it may be executed again under the same idempotency key, which is the call's id.
    pub idempotent: bool,
    /// The input, its secrets redacted or replaced by references.
    pub input: Value,
    /// Digest of the input.
    pub input_digest: Digest,
    /// The gate's answer.
    pub decision: DecisionRecord,
    /// The approval that is spent with this call.
    pub approval_id: Option<ApprovalId>,
    /// The action type, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_type: Option<String>,
    /// The principal on whose authority it is made; absent in events of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal_id: Option<PrincipalId>,
    /// The token that was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability_token_id: Option<CapabilityTokenId>,
    /// The hosts that the input names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// What else the gate was asked; absent in events of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<GateFacts>,
}

/// `tool.succeeded`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolSucceeded {
    /// The call.
    pub tool_call_id: ToolCallId,
    /// What the tool answered, its secrets redacted.
    pub output: Value,
    /// How often it was executed.
    pub executions: u32,
    /// How long it took, in microseconds.
    pub duration_us: u64,
}

/// `tool.failed`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolFailed {
    /// The call.
    pub tool_call_id: ToolCallId,
    /// The tool's name as the call gave it.
    pub tool_name: String,
    /// Why.
    pub error: ErrorInfo,
    /// How often it was executed; 0 when it never was.
    pub executions: u32,
    /// How long it took, in microseconds.
    pub duration_us: u64,
}

/// `policy.denied` and `policy.requires_approval`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyDecided {
    /// The call.
    pub tool_call_id: ToolCallId,
    /// The tool's name.
    pub tool_name: String,
    /// What was asked: `tool`, or `egress` for the request that an `egress.request` makes.
    pub category: String,
    /// The action type, where there is one.
    pub action_type: Option<String>,
    /// Digest of the input; absent when it could not be made.
    pub input_digest: Option<Digest>,
    /// The principal on whose authority.
    pub principal_id: Option<PrincipalId>,
    /// The token that was named.
    pub capability_token_id: Option<CapabilityTokenId>,
    /// The zone.
    pub zone: Zone,
    /// The hosts that the input names.
    pub hosts: Vec<String>,
    /// The gate's answer.
    pub decision: DecisionRecord,
    /// What else the gate was asked; absent in events of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<GateFacts>,
}

/// `policy.activated`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyActivated {
    /// The document's revision, from 1.
    pub revision: u64,
    /// Digest of the document.
    pub digest: Digest,
    /// The document, TOML.
    pub document: String,
    /// Its mode.
    pub enforcement_mode: EnforcementMode,
    /// The mode before, where it changed.
    pub previous_mode: Option<EnforcementMode>,
    /// Who activated it.
    pub by: String,
}

/// `quota.exceeded`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QuotaExceeded {
    /// The call.
    pub tool_call_id: ToolCallId,
    /// The limit, by name.
    pub quota: String,
    /// How many units it has.
    pub limit: u64,
    /// When it starts anew.
    pub resets_at: Timestamp,
}

/// `approval.requested`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalRequested {
    /// Its id.
    pub approval_id: ApprovalId,
    /// What is to be decided.
    pub question: ApprovalQuestion,
    /// The call.
    pub tool_call_id: ToolCallId,
    /// The tool's name.
    pub tool_name: String,
    /// Digest of the tool's definition.
    pub definition_digest: Digest,
    /// The exact input that was hashed, its secrets replaced by references.
    pub input: Value,
    /// Digest of the input.
    pub input_digest: Digest,
    /// On whose authority.
    pub principal_id: Option<PrincipalId>,
    /// Who asks; absent where `runtime.policy` cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<Actor>,
    /// The hosts that the input names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// What the call does to the world; absent where the gate has no part in the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// The sandbox that the call asks for, as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_permissions: Option<String>,
    /// The gate's answer that an approval would settle; absent where the gate has no part in the question.
    pub decision: Option<DecisionRecord>,
    /// What the call gets beside its ordinary sandbox, where it asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_profile: Option<SandboxProfileShown>,
    /// What calls would be covered, were the approval remembered.
    #[serde(default, skip_serializing_if = "Likeness::is_by_input")]
    pub likeness: Likeness,
    /// How many different people have to say yes, at least; a policy that asks for more when they do is obeyed.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub approvers: u8,
    /// When it lapses.
    pub expires_at: Timestamp,
}

/// A profile of the policy's for commands in the sandbox, as whoever approves a call with it sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SandboxProfileShown {
    /// Its name in the policy.
    pub name: String,
    /// Digest of name and paths.
    pub digest: Digest,
    /// Files and folders of the worker's machine that can be read.
    pub readable: Vec<String>,
    /// Files and folders of the worker's machine that can be read and written.
    pub writable: Vec<String>,
}

/// By what a call is like one that was approved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Likeness {
    /// It has the same input.
    #[default]
    Input,
    /// It names no other hosts.
    Hosts,
}

impl Likeness {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    fn is_by_input(&self) -> bool {
        *self == Self::Input
    }
}

fn one() -> u8 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_one(number: &u8) -> bool {
    *number == 1
}

/// What a person is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalQuestion {
    /// May this call be made?
    MakeTheCall,
    /// Nobody knows whether this call took effect. May the run go on with the next?
    GoOnAfterUnknownOutcome,
}

/// `approval.voted`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalVoted {
    /// Which.
    pub approval_id: ApprovalId,
    /// Who said yes.
    pub by: String,
    /// Why, for a person.
    pub reason: Option<String>,
    /// How many more have to.
    pub missing: u8,
    /// For how long like calls may go without asking, if all who say yes want that; in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remember_s: Option<u64>,
}

/// `approval.decided`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalDecided {
    /// Which.
    pub approval_id: ApprovalId,
    /// Yes or no.
    pub approved: bool,
    /// Who decided; where several had to say yes, the last of them.
    pub by: String,
    /// Why, for a person.
    pub reason: Option<String>,
    /// Those who had said yes before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub voted_before: Vec<String>,
    /// For how long like calls go without asking, in seconds: see `approval.remembered`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remember_s: Option<u64>,
}

/// `approval.expired`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalExpired {
    /// Which.
    pub approval_id: ApprovalId,
}

/// `approval.remembered`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalRemembered {
    /// What holds from now on.
    pub remembered: RememberedApproval,
}

/// `approval.forgotten`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalForgotten {
    /// Which.
    pub remembered_id: RememberedApprovalId,
    /// When.
    pub revoked_at: Timestamp,
    /// Who wants it so.
    pub by: String,
    /// Why, for a person.
    pub reason: Option<String>,
}

/// `egress.requested`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EgressRequested {
    /// The call.
    pub tool_call_id: ToolCallId,
    /// 0 for the call's own request, then one more for each redirect.
    pub hop: u32,
    /// The HTTP method.
    pub method: String,
    /// The URL, re-serialised, without user information, its query's values redacted.
    pub url: String,
    /// The host, as it is matched.
    pub host: String,
    /// The action type.
    pub action_type: String,
    /// The gate's answer, where no event of its own tells it: it allowed the request, or it was asked on the way of a redirect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Box<PolicyDecided>>,
}

/// `egress.allowed`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EgressAllowed {
    /// The call.
    pub tool_call_id: ToolCallId,
    /// The hop.
    pub hop: u32,
    /// The host.
    pub host: String,
    /// The address that was checked and connected to, with its port; absent when no connection came about.
    pub address: Option<String>,
    /// The HTTP status that came back; absent when none did.
    pub status: Option<u16>,
}

/// `egress.blocked`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EgressBlocked {
    /// The call.
    pub tool_call_id: ToolCallId,
    /// The hop.
    pub hop: u32,
    /// The host; empty when the URL has none.
    pub host: String,
    /// Why.
    pub error: ErrorInfo,
}

/// `capability.granted`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CapabilityGranted {
    /// The token, its scopes already narrowed to its parent's.
    pub token: CapabilityToken,
}

/// `capability.refused`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CapabilityRefused {
    /// The token's id, had it been granted.
    pub token_id: CapabilityTokenId,
    /// The token it was to be delegated from.
    pub parent_token_id: Option<CapabilityTokenId>,
    /// Who was to hold it.
    pub to: PrincipalId,
    /// Who asked for it.
    pub by: PrincipalId,
    /// Why it was refused.
    pub reason_code: crate::ReasonCode,
    /// Why, for a person.
    pub reason: String,
}

/// `capability.revoked`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CapabilityRevoked {
    /// Which.
    pub token_id: CapabilityTokenId,
    /// When.
    pub revoked_at: Timestamp,
    /// Who revoked it.
    pub by: String,
    /// Why, for a person.
    pub reason: Option<String>,
}

/// `principal.registered`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrincipalRegistered {
    /// Who.
    pub principal: Principal,
}

/// `principal.quarantined`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrincipalQuarantined {
    /// Which.
    pub principal_id: PrincipalId,
    /// Why, since when, by whom.
    pub quarantine: crate::Quarantine,
}

/// `principal.released`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrincipalReleased {
    /// Which.
    pub principal_id: PrincipalId,
    /// Who released it.
    pub by: String,
    /// Why, for a person.
    pub reason: Option<String>,
}
