//! Runs of outside agents: opening a step, asking for a call, saying that it is done.
//!
//! A request is recorded behind the run's fence before the run is woken, and carries a key: whoever is in doubt asks again
//! under the same key, and no second step or call comes of it.
//! Secrets in a call's input are kept in the vault before anything is recorded of it, as those of a submission are.

use gatewright_bus::{AppendError, Loaded, intake::Intake};
use gatewright_policy::{
    Snapshot,
    redact::{Parts, Vault, take_out},
};
use gatewright_run::{
    Progress,
    decide::{self, CallRequest, Undecided},
};
use gatewright_schemas::{
    Digest, ReasonCode, Reply, RunId, RunStatus, StepId, ToolCallId, Violation, WorkspaceId,
    reference,
};
use serde_json::{Value, json};

use crate::{
    Dispatcher, HandleError,
    command::{accepted, refused},
};

/// A tool call as the command asks for it.
pub(crate) struct Wish {
    pub(crate) step_id: StepId,
    pub(crate) tool: String,
    pub(crate) input: Value,
    pub(crate) sandbox_permissions: Option<String>,
    pub(crate) policy: Value,
    pub(crate) request_key: Option<String>,
}

impl Dispatcher {
    /// Opens a step. Asked again under the same key, it answers with the step that was opened.
    pub(crate) async fn open_step(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        run_id: &RunId,
        title: Option<String>,
    ) -> Result<Reply, HandleError> {
        // The commit is named after the message, so a message that is handed out again finds what it did.
        let stamp = self.stamp(message, "step");
        if message.delivered > 1 {
            let history = self.fleet.history(workspace, run_id).await?;
            let done = history
                .iter()
                .find(|stored| stored.commit.commit_id == stamp.commit_id);
            let event = done.and_then(|stored| stored.commit.events.last());
            if let Some(step) = event.and_then(|event| event.step_id.clone()) {
                return Ok(created(run_id, RunStatus::WaitingActor, step.as_str()));
            }
        }
        loop {
            let run = self.fleet.load(workspace, run_id).await?;
            let decided = match decide::open_step(&run.state, title.clone()) {
                Ok(decided) => decided,
                Err(undecided) => return cannot(run_id, undecided),
            };
            let sealed = decided.seal(stamp.clone());
            match self.fleet.append(&sealed, run.fence).await {
                Ok(_) => {
                    let progress = sealed.state.progress.as_ref();
                    let step = progress.and_then(Progress::step_id);
                    let step = step.map(StepId::as_str).unwrap_or_default();
                    return Ok(created(run_id, RunStatus::WaitingActor, step));
                }
                Err(AppendError::Fenced { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Records that a call is asked for, and wakes the run. Asked again under the same key, it answers with the call there is.
    pub(crate) async fn request_call(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        run_id: &RunId,
        wish: Wish,
    ) -> Result<Reply, HandleError> {
        let request_key = wish
            .request_key
            .clone()
            .unwrap_or_else(|| self.name_of(message, "request"));
        let marks = self.authority.read(Snapshot::marks);
        let mut input = wish.input;
        let places = reference::places(&input);
        if reference::occur_in(&input) {
            return Ok(invalid(run_id, places.into_iter().map(|below| {
                Violation::new(format!("/input{below}"), "an object with the key `$secret` is a reference, which only the fleet makes")
            }).collect()));
        }
        let parts = Parts {
            inputs: vec![&mut input],
            ..Parts::default()
        };
        let vault = match take_out(parts, &marks) {
            Ok(vault) => vault,
            Err(error) => {
                return Ok(invalid(
                    run_id,
                    vec![Violation::new("/input", error.to_string())],
                ));
            }
        };
        loop {
            let run = self.fleet.load(workspace, run_id).await?;
            let progress = run.state.progress.as_ref();
            if let Some(there) = progress.and_then(|p| p.call_of_request(&request_key)) {
                // What it is about is compared without its secrets: they are not kept once the call is over.
                if there.tool_name != wish.tool.trim() || there.input != input {
                    let reason = "the key was used for another request of this run";
                    return Ok(refused(
                        run_id,
                        Some(ReasonCode::RequestKeyConflict),
                        reason,
                    ));
                }
                let id = there.tool_call_id.clone();
                return Ok(self.asked(run_id, &run, &id).await);
            }
            let secrets = secrets_digest(progress, &vault, &input, &request_key);
            if let Some(digest) = &secrets {
                self.fleet
                    .keep_secrets(workspace, run_id, digest, &vault)
                    .await?;
            }
            let request = CallRequest {
                step_id: wish.step_id.clone(),
                tool: wish.tool.clone(),
                input: input.clone(),
                request_key: request_key.clone(),
                sandbox_permissions: wish.sandbox_permissions.clone(),
                policy: wish.policy.clone(),
                secrets: secrets.clone(),
            };
            let forget = async || {
                if let Some(digest) = &secrets {
                    self.fleet.forget_secrets(workspace, run_id, digest).await;
                }
            };
            let (decided, id) = match decide::request_call(&run.state, request) {
                Ok(decided) => decided,
                Err(undecided) => {
                    forget().await;
                    return cannot(run_id, undecided);
                }
            };
            let sealed = decided.seal(self.stamp(message, "request"));
            match self.fleet.append(&sealed, run.fence).await {
                Ok(fence) => {
                    let run = Loaded {
                        state: sealed.state,
                        fence,
                    };
                    return Ok(self.asked(run_id, &run, &id).await);
                }
                // Looked at again; what was kept is kept under the same name, or forgotten with the run.
                Err(AppendError::Fenced { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Wakes the run for a call that is recorded, unless it moves already, and answers with the call.
    async fn asked(&self, run_id: &RunId, run: &Loaded, call: &ToolCallId) -> Reply {
        let status = run.state.status().unwrap_or(RunStatus::Queued);
        if status == RunStatus::Queued {
            self.wake(run, None, "requested").await;
        }
        created(run_id, status, call.as_str())
    }

    /// Ends the run: its agent is done, or gives up.
    pub(crate) async fn complete(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        run_id: &RunId,
        succeeded: bool,
        by: &str,
        reason: Option<&str>,
    ) -> Result<Reply, HandleError> {
        let ended = self
            .apply(message, workspace, run_id, |state| {
                decide::complete(state, succeeded, by, reason.map(str::to_owned))
            })
            .await;
        match ended {
            Ok(run) => {
                self.fleet.forget_secrets_if_ended(&run).await;
                Ok(accepted(run_id, run.state.status()))
            }
            Err(HandleError::Undecided(Undecided::Ended)) => {
                let status = self.fleet.load(workspace, run_id).await?.state.status();
                let wanted = if succeeded {
                    RunStatus::Succeeded
                } else {
                    RunStatus::Failed
                };
                // Said twice, or handed out twice.
                if status == Some(wanted) {
                    return Ok(accepted(run_id, status));
                }
                cannot(run_id, Undecided::Ended)
            }
            Err(HandleError::Undecided(undecided)) => cannot(run_id, undecided),
            Err(error) => Err(error),
        }
    }
}

/// Under what digest the secrets of the next call are kept: of no other call, and of no other request for it.
fn secrets_digest(
    progress: Option<&Progress>,
    vault: &Vault,
    input: &Value,
    request_key: &str,
) -> Option<Digest> {
    if vault.is_empty() {
        return None;
    }
    let call = progress?.next_call_id()?;
    Some(Digest::of(
        &json!({ "call": call, "input": input, "request_key": request_key }),
    ))
}

fn created(run_id: &RunId, status: RunStatus, what: &str) -> Reply {
    Reply::Accepted {
        run_id: run_id.clone(),
        status: Some(status),
        created: Some(what.to_owned()),
    }
}

fn invalid(run_id: &RunId, violations: Vec<Violation>) -> Reply {
    Reply::Refused {
        run_id: Some(run_id.clone()),
        reason_code: Some(ReasonCode::SubmissionInvalid),
        reason: "the request is not valid".to_owned(),
        violations,
    }
}

fn cannot(run_id: &RunId, undecided: Undecided) -> Result<Reply, HandleError> {
    let code = match &undecided {
        Undecided::NotExternal => Some(ReasonCode::RunNotExternal),
        Undecided::Busy => Some(ReasonCode::RunBusy),
        Undecided::StepNotOpen => Some(ReasonCode::StepNotOpen),
        Undecided::TooLong => Some(ReasonCode::RunTooLong),
        Undecided::NotFound | Undecided::Ended => None,
        _ => return Err(undecided.into()),
    };
    Ok(refused(run_id, code, &undecided.to_string()))
}
