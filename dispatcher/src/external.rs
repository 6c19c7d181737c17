//! Runs of outside agents: opening a step, asking for a call, saying that it is done.
//!
//! A request is recorded behind the run's fence before the run is woken, and carries a key: whoever is in doubt asks again
//! under the same key, and no second step or call comes of it. A message without one goes by its own name.
//! Secrets in a call's input are kept in the vault before anything is recorded of it, as those of a submission are.

use gatewright_bus::{AppendError, Loaded, intake::Intake};
use gatewright_policy::{
    Snapshot,
    redact::{Parts, Vault, take_out},
};
use gatewright_run::{
    Decided, RunState,
    decide::{self, CallRequest, Requested, Undecided},
};
use gatewright_schemas::{
    Digest, EventBody, ReasonCode, Reply, RunId, RunStatus, Violation, WorkspaceId,
};
use serde_json::json;

use crate::{
    Dispatcher, HandleError,
    command::{accepted, refused},
    secrets,
};

impl Dispatcher {
    /// Opens a step. Asked again under the same key, it answers with the step that was opened.
    pub(crate) async fn open_step(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        run_id: &RunId,
        title: Option<String>,
        request_key: String,
    ) -> Result<Reply, HandleError> {
        let asked = self
            .ask(message, workspace, run_id, &Vault::default(), |run| {
                decide::open_step(run, title.clone(), request_key.clone())
            })
            .await;
        match asked {
            Ok((run, step)) => Ok(created(&run, step.as_str())),
            Err(error) => cannot(run_id, error),
        }
    }

    /// Records that a call is asked for, and wakes the run. Asked again under the same key, it answers with the call there is.
    pub(crate) async fn request_call(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        run_id: &RunId,
        mut request: CallRequest,
    ) -> Result<Reply, HandleError> {
        let violations = secrets::references(&request.input, || "/input".to_owned());
        if !violations.is_empty() {
            return Ok(invalid(run_id, violations));
        }
        let marks = self.authority.read(Snapshot::marks);
        let parts = Parts {
            inputs: vec![&mut request.input],
            ..Parts::default()
        };
        let vault = match take_out(parts, &marks) {
            Ok(vault) => vault,
            Err(error) => {
                let violation = Violation::new("/input", error.to_string());
                return Ok(invalid(run_id, vec![violation]));
            }
        };
        let asked = self
            .ask(message, workspace, run_id, &vault, |run| {
                let secrets = self.secrets_digest(message, run, &vault, &request);
                let request = CallRequest {
                    secrets,
                    ..request.clone()
                };
                decide::request_call(run, request)
            })
            .await;
        match asked {
            Ok((run, call)) => {
                self.wake_if_queued(&run, "requested").await;
                Ok(created(&run, call.as_str()))
            }
            Err(error) => cannot(run_id, error),
        }
    }

    /// Appends what `decide` makes of the run, again and again until nobody is faster, unless it was made before.
    /// Answers with the run, and with what was asked for. The vault holds the secrets of the call, where it is one.
    async fn ask<Id>(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        run_id: &RunId,
        vault: &Vault,
        decide: impl Fn(&RunState) -> Result<Requested<Id>, Undecided>,
    ) -> Result<(Loaded, Id), HandleError> {
        loop {
            let run = self.fleet.load_current(workspace, run_id).await?;
            let (decided, id) = match decide(&run.state)? {
                Requested::Now(decided, id) => (decided, id),
                Requested::Before(id) => return Ok((run, id)),
            };
            // Once it is certain that the call can be asked for, and before it is recorded.
            if let Some(digest) = secrets_of(&decided) {
                self.fleet
                    .keep_secrets(workspace, run_id, &digest, vault)
                    .await?;
            }
            let sealed = decided.seal(self.stamp(message, "command"));
            match self.fleet.append(&sealed, run.fence).await {
                Ok(fence) => {
                    let state = sealed.state;
                    return Ok((Loaded { state, fence }, id));
                }
                // Looked at again. Secrets that were kept for it are forgotten with the run.
                Err(AppendError::Fenced { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Under what digest the secrets of the next call are kept: of no other call, and of no other message that asks for it.
    fn secrets_digest(
        &self,
        message: &Intake,
        run: &RunState,
        vault: &Vault,
        request: &CallRequest,
    ) -> Option<Digest> {
        let call = run.progress.as_ref()?.next_call_id()?;
        let message = self.name_of(message, "message");
        let what = json!({ "call": call, "input": request.input, "message": message });
        (!vault.is_empty()).then(|| Digest::of(&what))
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
                let run = self.fleet.load_current(workspace, run_id).await?;
                let status = run.state.status();
                let wanted = if succeeded {
                    RunStatus::Succeeded
                } else {
                    RunStatus::Failed
                };
                // Said twice, or handed out twice.
                if status == Some(wanted) {
                    return Ok(accepted(run_id, status));
                }
                cannot(run_id, Undecided::Ended.into())
            }
            Err(error) => cannot(run_id, error),
        }
    }
}

/// Under what digest the secrets are kept of the call that is asked for; none when it has none.
fn secrets_of(decided: &Decided) -> Option<Digest> {
    decided.bodies().find_map(|body| match body {
        EventBody::ToolRequested(requested) => requested.secrets.clone(),
        _ => None,
    })
}

fn created(run: &Loaded, what: &str) -> Reply {
    Reply::Accepted {
        run_id: run.state.run_id.clone(),
        status: run.state.status(),
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

fn cannot(run_id: &RunId, error: HandleError) -> Result<Reply, HandleError> {
    let HandleError::Undecided(undecided) = error else {
        return Err(error);
    };
    let code = match &undecided {
        Undecided::NotExternal => Some(ReasonCode::RunNotExternal),
        Undecided::Busy => Some(ReasonCode::RunBusy),
        Undecided::StepNotOpen => Some(ReasonCode::StepNotOpen),
        Undecided::KeyTaken => Some(ReasonCode::RequestKeyConflict),
        Undecided::TooLong => Some(ReasonCode::RunTooLong),
        Undecided::NotFound | Undecided::Ended => None,
        Undecided::NotWaiting
        | Undecided::Answered(_)
        | Undecided::NotExpired { .. }
        | Undecided::Vote(_)
        | Undecided::NotMemorable { .. }
        | Undecided::Impossible(_) => return Err(undecided.into()),
    };
    Ok(refused(run_id, code, &undecided.to_string()))
}
