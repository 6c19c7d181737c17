//! What cannot be worked on is kept, never dropped.

use gatewright_bus::{clock, intake::Intake};
use gatewright_policy::{Snapshot, redact};
use gatewright_schemas::{DeadLetter, ReasonCode, RunId, Violation, WorkspaceId};

use crate::Dispatcher;

impl Dispatcher {
    /// Keeps a message as a dead letter of its workspace, without its secrets.
    pub(crate) async fn bury(
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
