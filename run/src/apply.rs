//! What each event does to the state: one `match` for the live path and for replay.

use std::sync::Arc;

use gatewright_policy::context::PolicyContext;
use gatewright_schemas::{
    ApprovalId, ErrorInfo, EventBody, OnFailure, ReasonCode, RunStatus, StepStatus, ToolCallId,
    event::{
        ApprovalDecided, ApprovalQuestion, ApprovalRequested, ApprovalVoted, RunCreated,
        RunSuspended, StepCompleted, StepCreated, ToolFailed, ToolInvoked, ToolRequested,
        WaitingFor,
    },
};

use crate::{
    Plan, PlannedCall,
    state::{Fate, Impossible, OpenCall, Progress, RunState, Vote, Waiting},
};

impl RunState {
    /// Applies what happened.
    pub(crate) fn apply(&mut self, body: &EventBody) -> Result<(), Impossible> {
        let impossible = |state| Impossible {
            event: body.event_type(),
            state,
        };
        if self.rejected {
            return Err(impossible("was rejected"));
        }
        let Some(progress) = &mut self.progress else {
            return match body {
                EventBody::RunRejected(_) => {
                    self.rejected = true;
                    Ok(())
                }
                EventBody::RunCreated(created) => {
                    self.progress = Some(Progress::new(
                        Plan::of(
                            &self.workspace_id,
                            &self.run_id,
                            &created.submission.input.runtime,
                        ),
                        created,
                    ));
                    Ok(())
                }
                _ => Err(impossible("does not exist")),
            };
        };
        if progress.status.is_terminal() {
            return Err(impossible("has ended"));
        }
        progress.apply(body).map_err(impossible)
    }
}

impl Progress {
    fn new(plan: Plan, created: &RunCreated) -> Self {
        Self {
            created: Arc::new(created.clone()),
            context: PolicyContext::parse(&created.submission.input.runtime.policy),
            plan: Arc::new(plan),
            status: RunStatus::Queued,
            attempt: 0,
            lease: None,
            crashes: 0,
            step: 0,
            step_open: false,
            call: 0,
            open_call: None,
            fatal: None,
            waiting: None,
            approvals: 0,
            answered: Vec::new(),
            succeeded_calls: 0,
            failed_calls: 0,
        }
    }

    /// Applies what happened to a run that has not ended; otherwise says what the run is instead.
    fn apply(&mut self, body: &EventBody) -> Result<(), &'static str> {
        match body {
            EventBody::RunStarted(started) => {
                ensure(self.attempt == 0, "was started before")?;
                ensure(started.attempt > 0, "begins with attempt 1")?;
                ensure(!self.status.is_parked(), "is parked")?;
                self.status = RunStatus::Running;
                self.attempt = started.attempt;
                self.lease = Some(started.lease);
            }
            EventBody::RunResumed(resumed) => {
                ensure(self.attempt > 0, "was never started")?;
                ensure(resumed.attempt > self.attempt, "is in that attempt already")?;
                ensure(!self.status.is_parked(), "is parked")?;
                self.status = RunStatus::Running;
                self.attempt = resumed.attempt;
                self.lease = Some(resumed.lease);
                if resumed.takeover {
                    self.crashes += 1;
                }
            }
            EventBody::RunSuspended(suspended) => self.apply_suspended(suspended)?,
            EventBody::RunCompleted(_) => {
                let is_agents = self.status == RunStatus::WaitingActor;
                ensure(
                    self.status == RunStatus::Running || is_agents,
                    "is not running",
                )?;
                ensure(self.step >= self.plan.steps.len(), "has steps left")?;
                ensure(self.fatal.is_none(), "has a call that failed for good")?;
                self.status = RunStatus::Succeeded;
            }
            EventBody::RunFailed(_) => {
                ensure(!self.step_open, "has an open step")?;
                self.status = RunStatus::Failed;
            }
            EventBody::RunCancelled(_) => {
                ensure(!self.step_open, "has an open step")?;
                self.status = RunStatus::Cancelled;
            }
            EventBody::StepCreated(created) if self.is_external() => {
                self.apply_opened(created)?;
            }
            EventBody::StepCreated(_) => {
                ensure(self.status == RunStatus::Running, "is not running")?;
                ensure(!self.step_open, "has an open step")?;
                ensure(self.fatal.is_none(), "has a call that failed for good")?;
                ensure(self.step < self.plan.steps.len(), "has no steps left")?;
                self.step_open = true;
                self.call = 0;
            }
            EventBody::StepCompleted(completed) => self.apply_step_completed(completed)?,
            EventBody::ToolRequested(requested) => self.apply_tool_requested(requested)?,
            EventBody::ToolInvoked(invoked) => self.apply_invoked(invoked)?,
            EventBody::ToolSucceeded(succeeded) => {
                ensure(self.status == RunStatus::Running, "is not running")?;
                ensure(self.open_call.is_some(), "has made no call")?;
                self.close_call(&succeeded.tool_call_id)?;
                self.succeeded_calls += 1;
            }
            EventBody::ToolFailed(failed) => self.apply_failed(failed)?,
            EventBody::ApprovalRequested(request) => self.apply_requested(request)?,
            EventBody::ApprovalVoted(voted) => self.apply_voted(voted)?,
            EventBody::ApprovalDecided(decided) => self.apply_decided(decided)?,
            EventBody::ApprovalExpired(expired) => {
                self.settle(&expired.approval_id, Fate::Expired)?;
            }
            EventBody::PolicyDenied(_)
            | EventBody::PolicyRequiresApproval(_)
            | EventBody::QuotaExceeded(_)
            | EventBody::EgressRequested(_)
            | EventBody::EgressAllowed(_)
            | EventBody::EgressBlocked(_) => {
                ensure(self.status == RunStatus::Running, "is not running")?;
                ensure(self.step_open, "has no open step")?;
            }
            EventBody::RunCreated(_) => return Err("exists already"),
            EventBody::RunRejected(_)
            | EventBody::PolicyActivated(_)
            | EventBody::CapabilityGranted(_)
            | EventBody::CapabilityRefused(_)
            | EventBody::CapabilityRevoked(_)
            | EventBody::PrincipalRegistered(_)
            | EventBody::PrincipalQuarantined(_)
            | EventBody::PrincipalReleased(_)
            | EventBody::ApprovalRemembered(_)
            | EventBody::ApprovalForgotten(_) => return Err("was accepted"),
        }
        Ok(())
    }

    fn apply_suspended(&mut self, suspended: &RunSuspended) -> Result<(), &'static str> {
        self.status = match &suspended.waiting_for {
            WaitingFor::Approval { approval_id, .. } => {
                ensure(self.status == RunStatus::Running, "is not running")?;
                ensure(
                    self.pending_approval() == Some(approval_id),
                    "did not ask for this approval",
                )?;
                RunStatus::WaitingApproval
            }
            WaitingFor::Actor => {
                ensure(self.is_external(), "makes its calls by itself")?;
                ensure(!self.status.is_parked(), "is parked")?;
                ensure(self.current_call().is_none(), "has a call to make")?;
                ensure(self.fatal.is_none(), "has a call that failed for good")?;
                RunStatus::WaitingActor
            }
        };
        self.lease = None;
        Ok(())
    }

    /// An outside agent opened a step.
    fn apply_opened(&mut self, created: &StepCreated) -> Result<(), &'static str> {
        let is_waiting = self.status == RunStatus::WaitingActor;
        ensure(is_waiting, "does not wait for its agent")?;
        ensure(!self.step_open, "has an open step")?;
        let is_next = usize::try_from(created.number) == Ok(self.plan.steps.len() + 1);
        ensure(is_next, "has another number of steps")?;
        let key = created.request_key.as_deref();
        let is_new = key.is_none_or(|key| self.step_of_request(key).is_none());
        ensure(is_new, "has a step of this key")?;
        Arc::make_mut(&mut self.plan).open(created);
        self.step_open = true;
        self.call = 0;
        Ok(())
    }

    /// An outside agent asked for a call: the next of the open step.
    fn apply_tool_requested(&mut self, requested: &ToolRequested) -> Result<(), &'static str> {
        let is_waiting = self.status == RunStatus::WaitingActor;
        ensure(is_waiting, "does not wait for its agent")?;
        ensure(self.step_open, "has no open step")?;
        let is_new = self.call_of_request(&requested.request_key).is_none();
        ensure(is_new, "has a call of this key")?;
        let is_next = self.next_call_id().as_ref() == Some(&requested.tool_call_id);
        ensure(is_next, "has another call to make next")?;
        let call = PlannedCall::requested(requested, self.created.zone);
        if let Some(step) = Arc::make_mut(&mut self.plan).steps.get_mut(self.step) {
            step.calls.push(call);
        }
        self.status = RunStatus::Queued;
        Ok(())
    }

    fn apply_step_completed(&mut self, completed: &StepCompleted) -> Result<(), &'static str> {
        ensure(self.step_open, "has no open step")?;
        ensure(self.open_call.is_none(), "has a call without an outcome")?;
        if completed.status == StepStatus::Succeeded {
            ensure(self.current_call().is_none(), "has calls left in this step")?;
            ensure(self.fatal.is_none(), "has a call that failed for good")?;
        }
        self.step_open = false;
        self.step += 1;
        self.call = 0;
        Ok(())
    }

    fn apply_invoked(&mut self, invoked: &ToolInvoked) -> Result<(), &'static str> {
        ensure(self.status == RunStatus::Running, "is not running")?;
        ensure(
            self.is_current(&invoked.tool_call_id),
            "has another call to make",
        )?;
        ensure(self.fatal.is_none(), "has a call that failed for good")?;
        ensure(self.pending_approval().is_none(), "waits for an approval")?;
        ensure(!invoked.decision.blocked, "must not make a blocked call")?;
        if let Some(open) = &mut self.open_call {
            ensure(open.idempotent, "must not repeat this call")?;
            ensure(
                open.input_digest == invoked.input_digest,
                "has this call open with another input",
            )?;
            open.intents += 1;
        } else {
            self.open_call = Some(OpenCall {
                tool_call_id: invoked.tool_call_id.clone(),
                tool_name: invoked.tool_name.clone(),
                definition_digest: invoked.definition_digest.clone(),
                input_digest: invoked.input_digest.clone(),
                shown_input: invoked.input.clone(),
                idempotent: invoked.idempotent,
                intents: 1,
                spent: None,
            });
        }
        if let Some(given) = self.waiting.take()
            && given.request.question == ApprovalQuestion::MakeTheCall
            && given.request.tool_call_id == invoked.tool_call_id
        {
            for (id, fate) in &mut self.answered {
                if *id == given.request.approval_id {
                    *fate = Fate::Used;
                }
            }
            if let Some(open) = &mut self.open_call {
                open.spent = Some(given);
            }
        }
        Ok(())
    }

    fn apply_failed(&mut self, failed: &ToolFailed) -> Result<(), &'static str> {
        let is_moving = !self.status.is_parked() || self.open_call.is_some();
        ensure(is_moving, "is parked")?;
        // `on_failure` speaks of calls that failed; of one that nobody knows about `on_unknown_outcome` decides.
        let is_known = failed.error.reason_code != ReasonCode::OutcomeUnknown;
        let goes_on = is_known
            && self
                .current_call()
                .is_some_and(|call| call.on_failure == OnFailure::Continue);
        self.close_call(&failed.tool_call_id)?;
        self.failed_calls += 1;
        if !goes_on {
            self.fatal = Some(failed.error.clone());
        }
        Ok(())
    }

    /// Ends the call whose turn it is, with or without an intent recorded.
    fn close_call(&mut self, id: &ToolCallId) -> Result<(), &'static str> {
        ensure(self.is_current(id), "has another call to make")?;
        self.open_call = None;
        self.call += 1;
        self.crashes = 0;
        Ok(())
    }

    fn apply_requested(&mut self, request: &ApprovalRequested) -> Result<(), &'static str> {
        ensure(self.status == RunStatus::Running, "is not running")?;
        ensure(self.pending_approval().is_none(), "has asked already")?;
        match request.question {
            ApprovalQuestion::MakeTheCall => {
                let is_its_turn = self.is_current(&request.tool_call_id);
                ensure(is_its_turn, "has another call to make")?;
            }
            ApprovalQuestion::GoOnAfterUnknownOutcome => {
                ensure(self.step_open, "has no open step")?;
                ensure(self.open_call.is_none(), "has a call without an outcome")?;
            }
        }
        self.approvals += 1;
        self.waiting = Some(Waiting {
            request: request.clone(),
            votes: Vec::new(),
            approved: None,
        });
        Ok(())
    }

    /// The approval that the run waits for, if it is this one.
    fn waiting_for(&mut self, id: &ApprovalId) -> Result<&mut Waiting, &'static str> {
        ensure(
            self.status == RunStatus::WaitingApproval,
            "does not wait for an approval",
        )?;
        match &mut self.waiting {
            Some(waiting) if waiting.request.approval_id == *id && waiting.approved.is_none() => {
                Ok(waiting)
            }
            _ => Err("does not wait for this approval"),
        }
    }

    fn apply_voted(&mut self, voted: &ApprovalVoted) -> Result<(), &'static str> {
        let waiting = self.waiting_for(&voted.approval_id)?;
        let has_voted = waiting.votes.iter().any(|vote| vote.by == voted.by);
        ensure(!has_voted, "has this vote already")?;
        waiting.votes.push(Vote {
            by: voted.by.clone(),
            remember_s: voted.remember_s,
        });
        Ok(())
    }

    fn apply_decided(&mut self, decided: &ApprovalDecided) -> Result<(), &'static str> {
        let fate = if decided.approved {
            Fate::Approved
        } else {
            Fate::Denied
        };
        self.settle(&decided.approval_id, fate)?;
        if let (true, Some(waiting)) = (decided.approved, &mut self.waiting) {
            waiting.votes.push(Vote {
                by: decided.by.clone(),
                remember_s: decided.remember_s,
            });
        }
        Ok(())
    }

    fn settle(&mut self, id: &ApprovalId, fate: Fate) -> Result<(), &'static str> {
        let approved = fate == Fate::Approved;
        let waiting = self.waiting_for(id)?;
        waiting.approved = Some(approved);
        if approved && waiting.request.question == ApprovalQuestion::GoOnAfterUnknownOutcome {
            self.fatal = None;
        }
        self.answered.push((id.clone(), fate));
        self.status = RunStatus::Queued;
        Ok(())
    }

    /// The approval that was asked for and not answered.
    fn pending_approval(&self) -> Option<&ApprovalId> {
        let waiting = self.waiting.as_ref()?;
        let is_open = waiting.approved.is_none();
        is_open.then_some(&waiting.request.approval_id)
    }

    fn is_current(&self, id: &ToolCallId) -> bool {
        self.step_open
            && self
                .current_call()
                .is_some_and(|call| call.tool_call_id == *id)
    }

    /// The call whose turn it is in the step whose turn it is, whether or not that was opened; none when it has no calls left.
    pub fn current_call(&self) -> Option<&PlannedCall> {
        self.plan.steps.get(self.step)?.calls.get(self.call)
    }

    /// Whether the run has to fail now, and why.
    pub fn must_fail(&self) -> Option<&ErrorInfo> {
        self.fatal.as_ref()
    }
}

fn ensure(holds: bool, otherwise: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(otherwise) }
}
