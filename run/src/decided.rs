//! The events of one commit, decided but not yet sealed.

use gatewright_policy::context::PolicyContext;
use gatewright_schemas::{
    Actor, ActorType, Commit, CommitId, Decision, ErrorInfo, EventBody, Gate, RunStatus, StepId,
    StepStatus, Timestamp, WriterId,
    chain::{self, Envelope},
    event::{
        RunCompleted, RunFailed, RunResumed, RunStarted, RunSuspended, StepCompleted, StepCreated,
        WaitingFor,
    },
};

use crate::{Impossible, RunState, decide::Turn};

/// The events of one commit and the state after them.
///
/// Made by the functions of [`decide`](crate::decide) alone; every event in it was applied to the state before the next was added, so an impossible sequence cannot be built.
#[derive(Debug, Clone)]
pub struct Decided {
    state: RunState,
    bodies: Vec<(Option<StepId>, EventBody)>,
}

/// What the shell adds to a commit: identity and time.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// A fresh id; the same when the same commit is appended again.
    pub commit_id: CommitId,
    /// Now.
    pub occurred_at: Timestamp,
    /// The credential that will append it.
    pub writer: WriterId,
    /// The event or message that led to it.
    pub causation_id: Option<String>,
}

/// A commit that is ready to be appended, and the state once it is.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// The commit.
    pub commit: Commit,
    /// The gate's answer in it.
    pub gate: Gate,
    /// Where the run stands after it.
    pub status: RunStatus,
    /// The state after it.
    pub state: RunState,
}

impl Decided {
    /// Nothing decided yet.
    pub(crate) fn on(state: &RunState) -> Self {
        Self {
            state: state.clone(),
            bodies: Vec::new(),
        }
    }

    /// Adds what happened, and applies it.
    pub(crate) fn push(&mut self, body: EventBody) -> Result<(), Impossible> {
        let step = match &body {
            EventBody::RunCreated(_)
            | EventBody::RunRejected(_)
            | EventBody::RunStarted(_)
            | EventBody::RunResumed(_)
            | EventBody::RunSuspended(_)
            | EventBody::RunCompleted(_)
            | EventBody::RunFailed(_)
            | EventBody::RunCancelled(_) => None,
            // A step that an outside agent opens is not in the plan yet.
            EventBody::StepCreated(created) => {
                let number = usize::try_from(created.number).unwrap_or(usize::MAX);
                let (workspace, run) = (&self.state.workspace_id, &self.state.run_id);
                Some(StepId::of(workspace, run, number))
            }
            _ => self
                .state
                .progress
                .as_ref()
                .and_then(|p| p.step_id())
                .cloned(),
        };
        self.state.apply(&body)?;
        self.bodies.push((step, body));
        Ok(())
    }

    /// Begins the worker's turn, where it has not begun.
    pub(crate) fn begin(&mut self, turn: Option<Turn>) -> Result<(), Impossible> {
        let (Some(turn), Some(progress)) = (turn, &self.state.progress) else {
            return Ok(());
        };
        let attempt = progress.attempt.saturating_add(1);
        let body = if progress.attempt == 0 {
            EventBody::RunStarted(RunStarted {
                attempt,
                lease: turn.lease,
            })
        } else {
            let takeover = progress.status == RunStatus::Running;
            EventBody::RunResumed(RunResumed {
                attempt,
                lease: turn.lease,
                takeover,
            })
        };
        self.push(body)
    }

    /// Opens the step of the call whose turn it is, passing over steps that have no calls.
    pub(crate) fn open_step(&mut self) -> Result<(), Impossible> {
        while let Some(progress) = &self.state.progress {
            let Some(step) = progress.plan.steps.get(progress.step) else {
                break;
            };
            let has_calls_left = progress.current_call().is_some();
            if !progress.step_open {
                let number = u32::try_from(progress.step)
                    .unwrap_or(u32::MAX)
                    .saturating_add(1);
                let title = step.title.clone();
                self.push(EventBody::StepCreated(StepCreated {
                    number,
                    title,
                    request_key: None,
                }))?;
            }
            if has_calls_left {
                break;
            }
            self.push(EventBody::StepCompleted(StepCompleted {
                status: StepStatus::Succeeded,
            }))?;
        }
        Ok(())
    }

    /// Ends what is over: the step whose calls are all made, and with the last step the run.
    pub(crate) fn wind_up(&mut self) -> Result<(), Impossible> {
        let Some(progress) = &self.state.progress else {
            return Ok(());
        };
        if let Some(error) = progress.fatal.clone() {
            return self.fail(error);
        }
        if progress.current_call().is_some() {
            return Ok(());
        }
        if progress.is_external() {
            let waiting_for = WaitingFor::Actor;
            return self.push(EventBody::RunSuspended(RunSuspended { waiting_for }));
        }
        let step_is_over = progress.step_open;
        if step_is_over {
            self.push(EventBody::StepCompleted(StepCompleted {
                status: StepStatus::Succeeded,
            }))?;
        }
        self.complete_if_nothing_is_left()
    }

    fn complete_if_nothing_is_left(&mut self) -> Result<(), Impossible> {
        let Some(progress) = &self.state.progress else {
            return Ok(());
        };
        if progress
            .plan
            .steps
            .iter()
            .skip(progress.step)
            .any(|step| !step.calls.is_empty())
        {
            return Ok(());
        }
        self.open_step()?;
        self.complete()
    }

    /// Ends the run as succeeded.
    pub(crate) fn complete(&mut self) -> Result<(), Impossible> {
        let progress = self.state.progress.as_ref();
        let completed = RunCompleted {
            succeeded_calls: progress.map_or(0, |p| p.succeeded_calls),
            failed_calls: progress.map_or(0, |p| p.failed_calls),
        };
        self.push(EventBody::RunCompleted(completed))
    }

    /// Fails the open step and the run.
    pub(crate) fn fail(&mut self, error: ErrorInfo) -> Result<(), Impossible> {
        self.close_open_step(StepStatus::Failed)?;
        self.push(EventBody::RunFailed(RunFailed { error }))
    }

    /// Closes the open step, if there is one, before its calls are all made.
    pub(crate) fn close_open_step(&mut self, status: StepStatus) -> Result<(), Impossible> {
        if self.state.progress.as_ref().is_some_and(|p| p.step_open) {
            self.push(EventBody::StepCompleted(StepCompleted { status }))?;
        }
        Ok(())
    }

    /// The state after the events.
    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// The events, in order.
    pub fn bodies(&self) -> impl Iterator<Item = &EventBody> {
        self.bodies.iter().map(|(_, body)| body)
    }

    /// The gate's answer in the commit, the most restrictive where there are several.
    pub fn gate(&self) -> Gate {
        let answer = |body: &EventBody| match body {
            EventBody::PolicyDenied(_) => Some(Decision::Deny),
            EventBody::PolicyRequiresApproval(_) => Some(Decision::RequireApproval),
            EventBody::ToolInvoked(_) => Some(Decision::Allow),
            _ => None,
        };
        self.bodies()
            .filter_map(answer)
            .max()
            .map_or(Gate::None, Gate::from)
    }

    /// Puts the events into envelopes and joins them to the run's hash chain.
    pub fn seal(self, stamp: Stamp) -> Sealed {
        let gate = self.gate();
        let mut state = self.state;
        let progress = state.progress.as_ref();
        let submission = progress.map(|p| &p.created.submission);
        let context: Option<&PolicyContext> = progress.and_then(|p| p.context.as_ref().ok());
        let envelope = Envelope {
            commit_id: stamp.commit_id,
            workspace_id: state.workspace_id.clone(),
            run_id: state.run_id.clone(),
            attempt: progress.map_or(0, |p| p.attempt),
            actor: Actor {
                actor_id: stamp.writer.to_string(),
                actor_type: ActorType::Service,
            },
            actor_principal_id: context.and_then(|c| c.principal_id.clone()),
            zone: progress.map(|p| p.created.zone).unwrap_or_default(),
            room_id: submission.and_then(|s| s.room_id.clone()),
            thread_id: submission.and_then(|s| s.thread_id.clone()),
            correlation_id: submission.and_then(|s| s.correlation_id.clone()),
            causation_id: stamp.causation_id,
            occurred_at: stamp.occurred_at,
        };
        let commit = chain::seal(&state.chain, envelope, self.bodies);
        if let Some(last) = commit.events.last() {
            state.chain = chain::ChainHead {
                seq: last.seq,
                hash: Some(last.hash.clone()),
            };
        }
        let status = state.status().unwrap_or(RunStatus::Queued);
        Sealed {
            commit,
            gate,
            status,
            state,
        }
    }
}
