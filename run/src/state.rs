//! Where a run stands: the fold of its events.

use std::sync::Arc;

use gatewright_policy::context::{InvalidContext, PolicyContext};
use gatewright_schemas::{
    ApprovalId, Digest, ErrorInfo, Event, EventId, EventType, RunId, RunStatus, RuntimeActor,
    StepId, ToolCallId, WorkspaceId,
    chain::{self, BrokenChain, ChainHead},
    event::{ApprovalRequested, RunCreated, UnreadableEvent},
};
use serde_json::Value;

use crate::{Plan, PlannedCall, PlannedStep};

/// Where a run stands.
#[derive(Debug, Clone)]
pub struct RunState {
    /// The run's workspace.
    pub workspace_id: WorkspaceId,
    /// The run.
    pub run_id: RunId,
    /// The end of its hash chain.
    pub chain: ChainHead,
    /// Whether it is the record of a submission that was not accepted.
    pub rejected: bool,
    /// What it was created from, and what came since; absent before `run.created`.
    pub progress: Option<Progress>,
}

/// Where a run stands that was created.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Its first event. Shared, as is the plan: a state is copied for every decision.
    pub created: Arc<RunCreated>,
    /// `runtime.policy`, read defensively; what cannot be read makes the gate deny every call.
    pub context: Result<PolicyContext, InvalidContext>,
    /// What it is to do.
    pub plan: Arc<Plan>,
    /// Where it stands.
    pub status: RunStatus,
    /// The attempt it is in; 0 before the first.
    pub attempt: u32,
    /// The lease under which that attempt runs: the sequence of the queue message that woke the run.
    pub lease: Option<u64>,
    /// Takeovers since a call last ended: how often workers died on what it is at.
    pub crashes: u32,
    /// The step whose turn it is, by index; the plan's length when all are done.
    pub step: usize,
    /// Whether that step was opened.
    pub step_open: bool,
    /// The call of that step whose turn it is, by index.
    pub call: usize,
    /// That call, once its intent is recorded and while its outcome is not.
    pub open_call: Option<OpenCall>,
    /// Why the step and the run have to fail, once a call failed that allows no going on.
    pub fatal: Option<ErrorInfo>,
    /// The approval that it waits for, or was given and has not spent.
    pub waiting: Option<Waiting>,
    /// How many approvals it asked for.
    pub approvals: usize,
    /// What became of the approvals that it asked for, in order; none of one that nobody decided yet.
    pub answered: Vec<(ApprovalId, Fate)>,
    /// Calls that succeeded.
    pub succeeded_calls: u32,
    /// Calls that failed.
    pub failed_calls: u32,
}

/// A call whose intent is recorded and whose outcome is not.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenCall {
    /// The call.
    pub tool_call_id: ToolCallId,
    /// The tool's name.
    pub tool_name: String,
    /// Digest of the tool's definition.
    pub definition_digest: Digest,
    /// Digest of its input.
    pub input_digest: Digest,
    /// Its input as it may be shown.
    pub shown_input: Value,
    /// Whether it may be executed again under the same idempotency key.
    pub idempotent: bool,
    /// How often its intent was recorded.
    pub intents: u32,
    /// The approval that was spent with it. A repetition under the same idempotency key is the same call, and needs no other.
    pub spent: Option<Waiting>,
}

/// An approval that a run asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// The request.
    pub request: ApprovalRequested,
    /// Those who said yes, in order.
    pub votes: Vec<Vote>,
    /// The answer, once there is one.
    pub approved: Option<bool>,
}

/// Somebody's yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// Whose.
    pub by: String,
    /// For how long like calls may go without asking, in seconds, if that is what they want.
    pub remember_s: Option<u64>,
}

/// What became of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Enough people said yes.
    Approved,
    /// Enough people said yes, and the call was made.
    Used,
    /// Somebody said no.
    Denied,
    /// Nobody decided in time.
    Expired,
}

impl Fate {
    /// For a person: "the approval …".
    pub(crate) fn told(self) -> &'static str {
        match self {
            Self::Approved => "was given already",
            Self::Used => "was given already, and is spent",
            Self::Denied => "was denied already",
            Self::Expired => "has expired",
        }
    }
}

/// An event that cannot follow on the state: the history, or this program, is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{event}` cannot happen to a run that {state}")]
pub struct Impossible {
    /// The event.
    pub event: EventType,
    /// What the run is instead.
    pub state: &'static str,
}

/// Why a history cannot be folded.
#[derive(Debug, thiserror::Error)]
pub enum Unevolved {
    /// The hash chain is broken.
    #[error(transparent)]
    Chain(#[from] BrokenChain),
    /// An event cannot be read.
    #[error(transparent)]
    Unreadable(#[from] UnreadableEvent),
    /// An event cannot follow.
    #[error(transparent)]
    Impossible(#[from] Impossible),
    /// An event belongs to another run.
    #[error("event `{event_id}` belongs to another run")]
    Foreign {
        /// The event.
        event_id: EventId,
    },
}

impl RunState {
    /// A run of which nothing is known yet.
    pub fn new(workspace_id: WorkspaceId, run_id: RunId) -> Self {
        Self {
            workspace_id,
            run_id,
            chain: ChainHead::default(),
            rejected: false,
            progress: None,
        }
    }

    /// Folds one event in, live and in replay: checks that it is this run's and continues the chain, reads it, applies it.
    ///
    /// An event that is refused leaves the state as it was.
    pub fn evolve(&mut self, event: &Event) -> Result<(), Unevolved> {
        if event.workspace_id != self.workspace_id || event.run_id != self.run_id {
            return Err(Unevolved::Foreign {
                event_id: event.event_id.clone(),
            });
        }
        let mut chain = self.chain.clone();
        chain::verify(&mut chain, event)?;
        self.apply(&event.body()?)?;
        self.chain = chain;
        Ok(())
    }

    /// Where the run stands; absent before it was created.
    pub fn status(&self) -> Option<RunStatus> {
        if self.rejected {
            return Some(RunStatus::Rejected);
        }
        self.progress.as_ref().map(|p| p.status)
    }
}

impl Progress {
    /// The id of the step whose turn it is.
    pub fn step_id(&self) -> Option<&StepId> {
        self.plan.steps.get(self.step).map(|step| &step.step_id)
    }

    /// Whether an outside agent asks for its calls, one at a time.
    pub fn is_external(&self) -> bool {
        self.created.submission.input.runtime.actor == RuntimeActor::External
    }

    /// On whose authority a call is made: its own where it states one, else the run's.
    pub fn context_of<'a>(
        &'a self,
        call: &'a PlannedCall,
    ) -> &'a Result<PolicyContext, InvalidContext> {
        let own = call.request.as_ref().and_then(|r| r.context.as_ref());
        own.unwrap_or(&self.context)
    }

    /// The id of the call that an outside agent may ask for next; none while no step is open.
    pub fn next_call_id(&self) -> Option<ToolCallId> {
        let step = self.step_open.then_some(self.step)?;
        self.plan.next_call_id(step)
    }

    /// The step that an outside agent opened under this key.
    pub(crate) fn step_of_request(&self, key: &str) -> Option<&PlannedStep> {
        let mut steps = self.plan.steps.iter();
        steps.find(|step| step.request_key.as_deref() == Some(key))
    }

    /// The call that an outside agent asked for under this key, and its step.
    pub(crate) fn call_of_request(&self, key: &str) -> Option<(&PlannedStep, &PlannedCall)> {
        let is_it = |call: &&PlannedCall| call.request.as_ref().is_some_and(|r| r.key == key);
        let mut steps = self.plan.steps.iter();
        steps.find_map(|step| Some((step, step.calls.iter().find(is_it)?)))
    }

    /// What became of an approval; none when it is not decided, or not this run's.
    pub fn fate_of(&self, approval: &ApprovalId) -> Option<Fate> {
        let answered = self.answered.iter().find(|(id, _)| id == approval);
        answered.map(|(_, fate)| *fate)
    }

    /// The id of the approval that the run would ask for next at call `call`.
    pub fn next_approval_id(&self, call: &ToolCallId) -> ApprovalId {
        ApprovalId::of(call, self.approvals + 1)
    }
}
