//! Commands to runs: cancel, retry, wake, deadline; decisions on approvals are carried out in [`crate::approval`].
//!
//! Each loads the run, decides, and appends behind the fence; when somebody else was faster it looks again.
//! Given twice, a command does its work once: the second time the run is where the first left it.

use gatewright_bus::{AppendError, Loaded, intake::Intake};
use gatewright_policy::redact::Vault;
use gatewright_run::{
    Decided, RunState,
    decide::{self, CallRequest, Undecided, Verdict},
};
use gatewright_schemas::{
    Command, CommandMessage, ReasonCode, Reply, RunId, RunStatus, Submission, WorkspaceId, validate,
};

use crate::{Dispatcher, HandleError, admission::Admitted, authority::Deed};

impl Dispatcher {
    pub(crate) async fn command(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        run_id: &RunId,
    ) -> Result<(), HandleError> {
        let command = match validate::command(message.payload()) {
            Ok(command) => command,
            Err(invalid) => {
                let reason = format!("the command is not valid: {invalid}");
                let code = ReasonCode::SubmissionInvalid;
                self.bury_and_tell(
                    message,
                    workspace,
                    Some(run_id.clone()),
                    code,
                    reason,
                    invalid.0,
                )
                .await;
                return Ok(());
            }
        };
        let CommandMessage { issued_by, command } = command;
        let reply = if run_id.is_reserved() {
            self.record(message, workspace, &issued_by, Deed::Command(command))
                .await?
        } else {
            self.run_command(message, workspace, run_id, issued_by, command)
                .await?
        };
        message.answer(&self.fleet, &reply).await;
        Ok(())
    }

    async fn run_command(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        run_id: &RunId,
        issued_by: String,
        command: Command,
    ) -> Result<Reply, HandleError> {
        let done = match command {
            Command::Cancel { reason } => {
                self.end(message, workspace, run_id, |state| {
                    decide::cancel(state, issued_by.clone(), reason.clone())
                })
                .await
            }
            Command::Deadline => self.end(message, workspace, run_id, decide::expire).await,
            Command::Wake => self.wake_when_due(workspace, run_id).await,
            Command::Retry { new_run_id } => {
                return self.retry(message, workspace, run_id, new_run_id).await;
            }
            Command::DecideApproval {
                approval_id,
                approve,
                reason,
                remember_s,
            } => {
                let verdict = Verdict::Decided {
                    approved: approve,
                    by: issued_by,
                    reason,
                    remember_s,
                };
                return self
                    .answer_approval(message, workspace, run_id, &approval_id, verdict)
                    .await;
            }
            Command::ExpireApproval { approval_id } => {
                let verdict = Verdict::Expired;
                return self
                    .answer_approval(message, workspace, run_id, &approval_id, verdict)
                    .await;
            }
            Command::OpenStep { title, request_key } => {
                let key = request_key.unwrap_or_else(|| self.name_of(message, "step"));
                return self.open_step(message, workspace, run_id, title, key).await;
            }
            Command::RequestToolCall {
                step_id,
                tool,
                input,
                sandbox_permissions,
                policy,
                request_key,
            } => {
                let request = CallRequest {
                    step_id,
                    tool,
                    input,
                    request_key: request_key.unwrap_or_else(|| self.name_of(message, "request")),
                    sandbox_permissions,
                    policy,
                    secrets: None,
                };
                return self.request_call(message, workspace, run_id, request).await;
            }
            Command::CompleteRun { succeeded, reason } => {
                let reason = reason.as_deref();
                return self
                    .complete(message, workspace, run_id, succeeded, &issued_by, reason)
                    .await;
            }
            Command::ForgetApproval { .. }
            | Command::ApplyPolicy { .. }
            | Command::GrantCapability { .. }
            | Command::RevokeCapability { .. }
            | Command::RegisterPrincipal { .. }
            | Command::QuarantinePrincipal { .. }
            | Command::ReleasePrincipal { .. } => {
                return Ok(refused(
                    run_id,
                    None,
                    "this command belongs to `_authority`, not to a run",
                ));
            }
        };
        match done {
            Ok(status) => Ok(accepted(run_id, Some(status))),
            Err(HandleError::Undecided(undecided @ (Undecided::NotFound | Undecided::Ended))) => {
                Ok(refused(run_id, None, &undecided.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    /// Appends what `decide` makes of the run, again and again until nobody is faster.
    pub(crate) async fn apply(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        run_id: &RunId,
        decide: impl Fn(&RunState) -> Result<Decided, Undecided>,
    ) -> Result<Loaded, HandleError> {
        loop {
            let run = self.fleet.load_current(workspace, run_id).await?;
            let sealed = decide(&run.state)?.seal(self.stamp(message, "command"));
            match self.fleet.append(&sealed, run.fence).await {
                Ok(fence) => {
                    return Ok(Loaded {
                        state: sealed.state,
                        fence,
                    });
                }
                Err(AppendError::Fenced { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Ends the run, and tells a worker that may hold it. The second time that a message is handed out, the run has ended by it.
    async fn end(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        run_id: &RunId,
        decide: impl Fn(&RunState) -> Result<Decided, Undecided>,
    ) -> Result<RunStatus, HandleError> {
        let ended = match self.apply(message, workspace, run_id, decide).await {
            Err(HandleError::Undecided(Undecided::Ended)) => {
                self.ended_by(message, workspace, run_id).await?
            }
            ended => ended?,
        };
        self.fleet.interrupt(workspace, run_id).await;
        self.fleet.forget_secrets_if_ended(&ended).await;
        Ok(ended.state.status().unwrap_or(RunStatus::Failed))
    }

    /// The run that has ended, if this very message ended it when it was handed out before.
    async fn ended_by(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        run_id: &RunId,
    ) -> Result<Loaded, HandleError> {
        let run = self.fleet.load_current(workspace, run_id).await?;
        if self.is_done(message, &run).await? {
            Ok(run)
        } else {
            Err(Undecided::Ended.into())
        }
    }

    /// Whether what came of this very message is in the run's history: it was handed out before, to whomever.
    pub(crate) async fn is_done(
        &self,
        message: &Intake,
        run: &Loaded,
    ) -> Result<bool, HandleError> {
        let wanted = self.stamp(message, "command").commit_id;
        let (workspace, run_id) = (&run.state.workspace_id, &run.state.run_id);
        let history = self.fleet.history(workspace, run_id).await?;
        // Another replica may have answered, and lag behind.
        if history.last().is_none_or(|last| last.sequence < run.fence) {
            return Err(HandleError::NotVisibleYet);
        }
        Ok(history.iter().any(|c| c.commit.commit_id == wanted))
    }

    async fn wake_when_due(
        &self,
        workspace: &WorkspaceId,
        run_id: &RunId,
    ) -> Result<RunStatus, HandleError> {
        let run = self.fleet.load_current(workspace, run_id).await?;
        let status = run.state.status().ok_or(Undecided::NotFound)?;
        self.wake_if_queued(&run, "due").await;
        Ok(status)
    }

    /// Wakes the run unless it moves already, or has ended.
    pub(crate) async fn wake_if_queued(&self, run: &Loaded, reason: &str) {
        if run.state.status() == Some(RunStatus::Queued) {
            self.wake(run, None, reason).await;
        }
    }

    /// Makes a new run of what an ended one was made of.
    async fn retry(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        run_id: &RunId,
        new_run_id: Option<RunId>,
    ) -> Result<Reply, HandleError> {
        let run = self.fleet.load_current(workspace, run_id).await?;
        let Some(progress) = &run.state.progress else {
            return Ok(refused(run_id, None, "the run does not exist"));
        };
        if !matches!(progress.status, RunStatus::Failed | RunStatus::Cancelled) {
            let reason = format!(
                "the run is {}: only failed and cancelled runs can be retried",
                progress.status
            );
            return Ok(refused(run_id, None, &reason));
        }
        if progress.created.secrets > 0 {
            let reason =
                "the run had secrets, and they were forgotten when it ended: submit it again";
            return Ok(refused(run_id, Some(ReasonCode::SecretMissing), reason));
        }
        // A deadline that has passed would fail the new run at once; its start is now.
        let submission = Submission {
            not_before: None,
            deadline: None,
            ..progress.created.submission.clone()
        };
        let new_run_id = match new_run_id {
            Some(id) => id,
            None => match RunId::new(self.name_of(message, "retry")) {
                Ok(id) => id,
                Err(error) => return Ok(refused(run_id, None, &error.to_string())),
            },
        };
        let admitted = self
            .admit(
                message,
                workspace,
                &new_run_id,
                submission,
                &Vault::default(),
                Some(run_id.clone()),
            )
            .await?;
        Ok(match admitted {
            Admitted::Exists(status) => Reply::Accepted {
                created: Some(new_run_id.to_string()),
                run_id: new_run_id,
                status: Some(status),
            },
            Admitted::Conflict => refused(
                run_id,
                Some(ReasonCode::RunIdConflict),
                "the new run id is taken by another content",
            ),
        })
    }
}

pub(crate) fn accepted(run_id: &RunId, status: Option<RunStatus>) -> Reply {
    Reply::Accepted {
        run_id: run_id.clone(),
        status,
        created: None,
    }
}

pub(crate) fn refused(run_id: &RunId, reason_code: Option<ReasonCode>, reason: &str) -> Reply {
    Reply::Refused {
        run_id: Some(run_id.clone()),
        reason_code,
        reason: reason.to_owned(),
        violations: Vec::new(),
    }
}
