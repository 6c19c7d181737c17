//! What cannot be worked on is kept, never dropped.

use gatewright_bus::{
    clock,
    intake::{Intake, IntakeKind},
};
use gatewright_policy::{Snapshot, redact};
use gatewright_schemas::{DeadLetter, ReasonCode, Reply, RunId, Violation, WorkspaceId};

use crate::{Dispatcher, HandleError};

impl Dispatcher {
    /// No repetition helps: keeps the message as a dead letter, and tells its sender.
    pub(crate) async fn give_up(&self, message: &Intake, code: ReasonCode, error: &HandleError) {
        let reason = error.to_string();
        let (workspace, run_id) = match &message.kind {
            IntakeKind::Submission { workspace_id } => (workspace_id.clone(), None),
            IntakeKind::Command {
                workspace_id,
                run_id,
            } => (workspace_id.clone(), Some(run_id.clone())),
            IntakeKind::Unreadable => (WorkspaceId::fleet(), None),
        };
        self.bury_and_tell(message, &workspace, run_id, code, reason, Vec::new())
            .await;
    }

    /// Keeps a message as a dead letter, and tells its sender why.
    pub(crate) async fn bury_and_tell(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        run_id: Option<RunId>,
        code: ReasonCode,
        reason: String,
        violations: Vec<Violation>,
    ) {
        let (letter_of, why) = (run_id.clone(), violations.clone());
        self.bury(message, workspace, letter_of, code, &reason, why)
            .await;
        let reply = Reply::Refused {
            run_id,
            reason_code: Some(code),
            reason,
            violations,
        };
        message.answer(&self.fleet, &reply).await;
    }

    /// Keeps a message as a dead letter of its workspace, without its secrets.
    async fn bury(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        run_id: Option<RunId>,
        reason_code: ReasonCode,
        reason: &str,
        violations: Vec<Violation>,
    ) {
        let marks = self.authority.read(Snapshot::marks);
        let kept = redact::message(message.payload(), &marks);
        let letter = DeadLetter {
            reason_code,
            reason: reason.to_owned(),
            violations,
            died_at: clock::now(),
            by: self.fleet.writer().clone(),
            run_id,
            subject: message.subject().to_owned(),
            sequence: message.sequence,
            json: kept.json,
            text: kept.text,
            redacted: kept.redacted,
        };
        self.fleet
            .bury(workspace, &letter, &self.name_of(message, "dead"))
            .await;
        tracing::warn!(subject = message.subject(), %reason_code, "kept as a dead letter");
    }

    /// Keeps a message that belongs to no workspace under the fleet's own.
    pub(crate) async fn bury_unaddressed(&self, message: &Intake, code: ReasonCode, reason: &str) {
        self.bury(
            message,
            &WorkspaceId::fleet(),
            None,
            code,
            reason,
            Vec::new(),
        )
        .await;
    }
}
