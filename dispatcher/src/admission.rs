//! A submission's way: read, judged, its secrets taken out and kept, made a run, woken, answered, acknowledged. In that order.
//!
//! A crash after any of these is mended by the redelivery: `run.created` is appended behind the fence 0, so a run is made once;
//! timers and wake-ups are keyed by what they are for.

use std::time::SystemTime;

use gatewright_bus::{AppendError, Fate, Loaded, clock, intake::Intake, trace};
use gatewright_policy::{PolicyContext, Snapshot, redact::Vault};
use gatewright_run::{RunState, Stamp, decide};
use gatewright_schemas::{
    Command, CommandMessage, CommitId, Digest, ErrorInfo, ReasonCode, Reply, RunId, RunStatus,
    Stage, Submission, Timestamp, Violation, Wake, WorkspaceId,
    event::{RunCreated, RunRejected},
    validate::{self, Invalid},
};

use crate::{Dispatcher, HandleError, secrets};

/// The name in events and commands that the dispatcher gives on its own account.
pub(crate) const ON_ITS_OWN: &str = "gatewright";

/// Why a submission is not accepted.
struct Refusal {
    code: ReasonCode,
    reason: String,
    violations: Vec<Violation>,
    requested_run_id: Option<RunId>,
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        Self {
            code: ReasonCode::SubmissionInvalid,
            reason: format!("the submission is not valid: {invalid}"),
            violations: invalid.0,
            requested_run_id: None,
        }
    }
}

/// What came of asking for a run.
pub(crate) enum Admitted {
    /// It exists, and where it stands.
    Exists(RunStatus),
    /// Its id is taken by another content.
    Conflict,
}

impl Dispatcher {
    pub(crate) async fn submission(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
    ) -> Result<(), HandleError> {
        let read = read(message.payload(), workspace).and_then(|submission| {
            let marks = self.authority.read(Snapshot::marks);
            secrets::take(submission, &marks).map_err(|violations| Invalid(violations).into())
        });
        let (submission, vault) = match read {
            Ok(read) => read,
            Err(refusal) => return self.refuse(message, workspace, refusal).await,
        };
        let run_id = match &submission.run_id {
            Some(run_id) => run_id.clone(),
            None => derived(&self.name_of(message, "run")),
        };
        let admitted = self
            .admit(message, workspace, &run_id, submission, &vault, None)
            .await;
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(error) => {
                let Some(code) = error.fate().given_up(message.stored_at) else {
                    return Err(error);
                };
                // No repetition helps. Where the run cannot be recorded, that it was refused may still be.
                let refusal = Refusal {
                    code,
                    reason: format!("run `{run_id}` cannot be made: {error}"),
                    violations: Vec::new(),
                    requested_run_id: Some(run_id),
                };
                return self.refuse(message, workspace, refusal).await;
            }
        };
        match admitted {
            Admitted::Exists(status) => {
                let reply = Reply::Accepted {
                    run_id,
                    status: Some(status),
                    created: None,
                };
                message.answer(&self.fleet, &reply).await;
                Ok(())
            }
            Admitted::Conflict => {
                let refusal = Refusal {
                    code: ReasonCode::RunIdConflict,
                    reason: format!(
                        "run `{run_id}` exists already with other content: choose another run_id, or leave it out"
                    ),
                    violations: vec![Violation::new("/run_id", "is taken by another content")],
                    requested_run_id: Some(run_id),
                };
                self.refuse(message, workspace, refusal).await
            }
        }
    }

    /// Makes the run unless it exists, and wakes it unless it moves. Its secrets are kept before.
    pub(crate) async fn admit(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        run_id: &RunId,
        submission: Submission,
        vault: &Vault,
        retry_of: Option<RunId>,
    ) -> Result<Admitted, HandleError> {
        let began = SystemTime::now();
        let submission = Submission {
            run_id: None,
            ..submission
        };
        let content_digest = submission.content_digest();
        let zone = PolicyContext::parse(&submission.input.runtime.policy)
            .map(|context| context.zone)
            .unwrap_or_default();
        let created = RunCreated {
            content_digest,
            lane: submission.lane,
            zone,
            retry_of,
            secrets: vault.len(),
            trace: message.trace.clone(),
            submission,
        };
        let content_digest = created.content_digest.clone();
        if !vault.is_empty() {
            self.fleet
                .keep_secrets(workspace, run_id, &content_digest, vault)
                .await?;
        }
        let nothing = RunState::new(workspace.clone(), run_id.clone());
        // Each handling of a message has a commit id of its own. Under one and the same, the commit of an earlier handling,
        // which has another time and perhaps another writer, would pass for this one and be told wrongly in the wake-up's hint.
        let stamp = Stamp {
            commit_id: clock::fresh_commit_id(),
            ..self.stamp(message, "created")
        };
        let sealed = decide::admit(&nothing, created)?.seal(stamp);
        match self.fleet.append(&sealed, 0).await {
            Ok(fence) => {
                let hint = Some(sealed.commit);
                let made = Loaded {
                    state: sealed.state,
                    fence,
                };
                let status = made.state.status().unwrap_or(RunStatus::Queued);
                // Told once: by whoever made the run. Everything else of the run is below it.
                let span = trace::of_run(&made.state).own_span(began, "process SUBMISSIONS");
                span.set("messaging.system", "nats");
                span.set("messaging.operation.type", "process");
                span.set("gatewright.workspace_id", workspace.to_string());
                span.set("gatewright.run_id", run_id.to_string());
                let moving = self.set_in_motion(&made, hint);
                span.place().within(moving).await;
                Ok(Admitted::Exists(status))
            }
            Err(AppendError::Fenced { .. }) => {
                // Fenced by 0: there is a first commit, whether or not this replica shows it yet.
                let there = self.fleet.load_at_least(workspace, run_id, 1).await?;
                let admitted = self.exists(&there, &content_digest).await?;
                let is_of_use = matches!(&admitted, Admitted::Exists(s) if !s.is_terminal());
                // No run of this id has this content, or it has ended: nobody will ask for what was kept.
                if !vault.is_empty() && !is_of_use {
                    self.fleet
                        .forget_secrets(workspace, run_id, &content_digest)
                        .await;
                }
                Ok(admitted)
            }
            Err(error) => {
                if !vault.is_empty() && error.fate() != Fate::Retry {
                    self.fleet
                        .forget_secrets(workspace, run_id, &content_digest)
                        .await;
                }
                Err(error.into())
            }
        }
    }

    /// The run was made before: by this very message, or by one like it.
    async fn exists(&self, there: &Loaded, content: &Digest) -> Result<Admitted, HandleError> {
        match &there.state.progress {
            Some(progress) if progress.created.content_digest == *content => {
                if !progress.status.is_terminal() && progress.attempt == 0 {
                    self.set_in_motion(there, None).await;
                }
                Ok(Admitted::Exists(progress.status))
            }
            _ => Ok(Admitted::Conflict),
        }
    }

    /// Sets the run's timers and wakes it, now or when its time has come.
    async fn set_in_motion(&self, run: &Loaded, hint: Option<gatewright_schemas::Commit>) {
        let Some(progress) = &run.state.progress else {
            return;
        };
        let submission = &progress.created.submission;
        let (workspace, run_id) = (&run.state.workspace_id, &run.state.run_id);
        if let Some(deadline) = submission.deadline {
            self.set_timer(workspace, run_id, "deadline", deadline, Command::Deadline)
                .await;
        }
        // One that waits for its agent is woken when that asks for a call.
        if progress.status.is_parked() {
            return;
        }
        match submission.not_before {
            Some(not_before) if not_before > clock::now() => {
                self.set_timer(workspace, run_id, "start", not_before, Command::Wake)
                    .await;
            }
            _ => self.wake(run, hint, "created").await,
        }
    }

    /// Has the server give `command` to the run at `due`.
    pub(crate) async fn set_timer(
        &self,
        workspace: &WorkspaceId,
        run_id: &RunId,
        kind: &str,
        due: Timestamp,
        command: Command,
    ) {
        let command = CommandMessage {
            issued_by: ON_ITS_OWN.into(),
            command,
        };
        self.fleet
            .set_timer(workspace, run_id, kind, due, &command)
            .await;
    }

    /// Wakes a run as it stands.
    pub(crate) async fn wake(
        &self,
        run: &Loaded,
        hint: Option<gatewright_schemas::Commit>,
        reason: &str,
    ) {
        let Some(progress) = &run.state.progress else {
            return;
        };
        let wake = Wake {
            workspace_id: run.state.workspace_id.clone(),
            run_id: run.state.run_id.clone(),
            seen: run.fence,
            hint,
        };
        self.fleet
            .wake(progress.created.zone, progress.created.lane, &wake, reason)
            .await;
    }

    async fn refuse(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        refusal: Refusal,
    ) -> Result<(), HandleError> {
        let Refusal {
            code,
            reason,
            violations,
            requested_run_id,
        } = refusal;
        let requested_run_id = requested_run_id
            .map(|id| id.to_string())
            .or_else(|| requested_id(message.payload()));
        let record_id = derived(&self.name_of(message, "rejected"));
        let error = ErrorInfo {
            violations: violations.clone(),
            ..ErrorInfo::new(Stage::Admission, code, reason.clone())
        };
        let rejected = RunRejected {
            error,
            requested_run_id,
            submission_sequence: message.sequence,
        };
        let nothing = RunState::new(workspace.clone(), record_id.clone());
        let sealed = decide::reject(&nothing, rejected)?.seal(self.stamp(message, "rejected"));
        match self.fleet.append(&sealed, 0).await {
            // Recorded when the message was handed out before.
            Ok(_) | Err(AppendError::Fenced { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.bury_and_tell(
            message,
            workspace,
            Some(record_id),
            code,
            reason,
            violations,
        )
        .await;
        Ok(())
    }

    /// Identity and time of the commit that comes of a message. The same message makes the same commit.
    pub(crate) fn stamp(&self, message: &Intake, what: &str) -> Stamp {
        let id = CommitId::new(self.name_of(message, what));
        Stamp {
            commit_id: id.unwrap_or_else(|_| clock::fresh_commit_id()),
            occurred_at: clock::now(),
            writer: self.fleet.writer().clone(),
            causation_id: Some(self.name_of(message, "message")),
        }
    }
}

fn read(payload: &[u8], workspace: &WorkspaceId) -> Result<Submission, Refusal> {
    if workspace.is_reserved() {
        let message = format!(
            "workspace `{workspace}` is the fleet's own: names of workspaces do not begin with `_`"
        );
        return Err(Invalid(vec![Violation::new("", message)]).into());
    }
    Ok(validate::submission(payload)?)
}

/// The run id that an invalid submission asks for, where one can be told.
fn requested_id(payload: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(payload).ok()?;
    let text = value.get("run_id")?.as_str()?;
    Some(text.chars().take(64).flat_map(char::escape_debug).collect())
}

/// An id that this program made up of letters, digits and dashes.
fn derived(text: &str) -> RunId {
    #[expect(
        clippy::expect_used,
        reason = "a word, hexadecimal digits, decimal digits and dashes are a token"
    )]
    RunId::new(text).expect("derived names are tokens")
}
