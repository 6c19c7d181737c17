//! What became of a tool call, as its run's events tell, and waiting for it.

use std::time::Duration;

use axum::http::StatusCode;
use gatewright_schemas::{
    ApprovalId, ErrorInfo, EventBody, ReasonCode, RunId, RunStatus, Stage, StepId, StoredCommit,
    Timestamp, ToolCallId, ToolCallStatus, WorkspaceId, event::UnreadableEvent,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{Api, problem::Problem};

/// What a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Its end.
    Ended,
    /// Its end, or that it needs an approval.
    Answered,
}

/// A tool call, as far as it has come.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Outcome {
    pub(super) workspace_id: WorkspaceId,
    pub(super) run_id: RunId,
    pub(super) step_id: Option<StepId>,
    pub(super) tool_call_id: ToolCallId,
    pub(super) tool_name: Option<String>,
    /// None before anything is recorded of it.
    pub(super) status: Option<ToolCallStatus>,
    /// The last approval that it asked for.
    pub(super) approval_id: Option<ApprovalId>,
    /// When that lapses.
    pub(super) approval_expires_at: Option<Timestamp>,
    /// What the tool answered.
    pub(super) output: Option<Value>,
    /// Why it failed.
    pub(super) error: Option<ErrorInfo>,
    /// The key under which it was asked for.
    #[serde(skip)]
    pub(super) request_key: Option<String>,
    /// Where its run stands.
    pub(super) run_status: Option<RunStatus>,
    /// Why its run failed.
    #[serde(skip)]
    run_error: Option<ErrorInfo>,
    /// Up to where its run was seen.
    #[serde(skip)]
    sequence: u64,
}

impl Outcome {
    fn new(workspace: &WorkspaceId, run: &RunId, call: &ToolCallId) -> Self {
        Self {
            workspace_id: workspace.clone(),
            run_id: run.clone(),
            step_id: None,
            tool_call_id: call.clone(),
            tool_name: None,
            status: None,
            approval_id: None,
            approval_expires_at: None,
            output: None,
            error: None,
            request_key: None,
            run_status: None,
            run_error: None,
            sequence: 0,
        }
    }

    fn see(&mut self, stored: &StoredCommit) -> Result<(), UnreadableEvent> {
        self.sequence = stored.sequence;
        self.run_status = stored.status;
        for event in &stored.commit.events {
            let body = event.body()?;
            if self.tell(body) {
                self.step_id.clone_from(&event.step_id);
            }
        }
        // A run that ended otherwise took the call with it.
        let has_ended = stored.status.is_some_and(RunStatus::is_terminal);
        if has_ended && self.status.is_some() && !self.has_ended() {
            self.status = Some(ToolCallStatus::Cancelled);
        }
        Ok(())
    }

    /// Takes in an event; answers whether it is one of this call.
    fn tell(&mut self, body: EventBody) -> bool {
        let (call, name, status) = match body {
            EventBody::ToolRequested(told) if told.tool_call_id == self.tool_call_id => {
                self.request_key = Some(told.request_key);
                (
                    told.tool_call_id,
                    Some(told.tool_name),
                    ToolCallStatus::Requested,
                )
            }
            EventBody::ApprovalRequested(told) if told.tool_call_id == self.tool_call_id => {
                self.approval_id = Some(told.approval_id);
                self.approval_expires_at = Some(told.expires_at);
                (
                    told.tool_call_id,
                    Some(told.tool_name),
                    ToolCallStatus::WaitingApproval,
                )
            }
            EventBody::ApprovalDecided(told)
                if Some(&told.approval_id) == self.approval_id.as_ref() =>
            {
                (self.tool_call_id.clone(), None, ToolCallStatus::Requested)
            }
            EventBody::ToolInvoked(told) => (
                told.tool_call_id,
                Some(told.tool_name),
                ToolCallStatus::Running,
            ),
            EventBody::ToolSucceeded(told) if told.tool_call_id == self.tool_call_id => {
                self.output = Some(told.output);
                (told.tool_call_id, None, ToolCallStatus::Succeeded)
            }
            EventBody::ToolFailed(told) if told.tool_call_id == self.tool_call_id => {
                self.error = Some(told.error);
                (
                    told.tool_call_id,
                    Some(told.tool_name),
                    ToolCallStatus::Failed,
                )
            }
            EventBody::RunFailed(told) => {
                self.run_error = Some(told.error);
                return false;
            }
            _ => return false,
        };
        let is_mine = call == self.tool_call_id;
        if is_mine {
            self.status = Some(status);
            self.tool_name = name.or_else(|| self.tool_name.take());
        }
        is_mine
    }

    /// Whether nothing more comes of it.
    pub(super) fn has_ended(&self) -> bool {
        matches!(
            self.status,
            Some(ToolCallStatus::Succeeded | ToolCallStatus::Failed | ToolCallStatus::Cancelled)
        )
    }

    fn is(&self, until: Until) -> bool {
        let is_asking = self.status == Some(ToolCallStatus::WaitingApproval);
        self.has_ended() || (until == Until::Answered && is_asking)
    }

    /// Where it can be looked at.
    pub(super) fn location(&self) -> String {
        format!("/v1/toolcalls/{}", self.tool_call_id)
    }

    /// Why it did not succeed, if it has ended.
    pub(super) fn problem(&self) -> Option<Problem> {
        let problem = match (self.status, &self.error) {
            (Some(ToolCallStatus::Failed), Some(error)) => {
                let problem = Problem::refused(
                    Some(error.reason_code),
                    error.reason.clone(),
                    error.violations.clone(),
                );
                problem
                    .with_status(status_of(error))
                    .with("stage", error.stage.as_str())
                    .with("blocked", error.blocked)
            }
            (Some(ToolCallStatus::Cancelled), _) => {
                let why = self.run_error.as_ref();
                let code = why.map_or(ReasonCode::CancelRequested, |error| error.reason_code);
                let detail = "the run ended before the call did";
                Problem::new(StatusCode::CONFLICT, detail).with_code(code)
            }
            _ => return None,
        };
        let mut problem = problem
            .with("workspace_id", self.workspace_id.as_str())
            .with("run_id", self.run_id.as_str())
            .with("tool_call_id", self.tool_call_id.as_str());
        if let Some(approval) = &self.approval_id {
            problem = problem.with("approval_id", approval.as_str());
        }
        Some(problem)
    }
}

/// Denied, not a call that could be made, or failed beyond the fleet.
fn status_of(error: &ErrorInfo) -> StatusCode {
    match error.stage {
        _ if error.blocked => StatusCode::FORBIDDEN,
        Stage::ToolPolicy => StatusCode::FORBIDDEN,
        Stage::Registry | Stage::Input => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::BAD_GATEWAY,
    }
}

impl Api {
    /// What became of a call: as `until` has it, or as it stands after `wait` at most.
    pub(super) async fn outcome(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        call: &ToolCallId,
        until: Until,
        wait: Duration,
    ) -> Result<Outcome, Problem> {
        let deadline = Instant::now() + wait;
        let mut outcome = Outcome::new(workspace, run, call);
        for stored in self.fleet.history(workspace, run).await? {
            outcome.see(&stored)?;
        }
        // Of a run that has ended nothing comes any more.
        let is_over = |outcome: &Outcome| {
            outcome.is(until) || outcome.run_status.is_some_and(RunStatus::is_terminal)
        };
        if wait.is_zero() || is_over(&outcome) {
            return Ok(outcome);
        }
        // The call is recorded: whoever finds no place to wait looks again.
        let Ok(_place) = self.place_to_wait() else {
            return Ok(outcome);
        };
        let mut follow = self.fleet.follow(workspace, run, outcome.sequence).await?;
        while !is_over(&outcome) {
            let commits = tokio::select! {
                commits = timeout_at(deadline, follow.next()) => commits,
                () = self.stopping.cancelled() => break,
            };
            let Ok(commits) = commits else { break };
            for stored in commits? {
                outcome.see(&stored)?;
            }
        }
        Ok(outcome)
    }
}
