//! The approval of a call, as the gate is shown it.

use gatewright_policy::{Grant, GrantState, grant::approvable};
use gatewright_schemas::event::ApprovalQuestion;

use crate::{PlannedCall, Progress};

impl Progress {
    /// The approval of this very call, where the run's history holds one.
    ///
    /// A call whose intent was recorded with an approval keeps it: a repetition under the same idempotency key is no other call.
    pub fn grant_for(&self, call: &PlannedCall) -> Option<Grant> {
        let open = self.open_call.as_ref();
        let spent = open.and_then(|open| open.spent.as_ref());
        let (waiting, is_spent) = match &self.waiting {
            Some(waiting) => (waiting, false),
            None => (spent?, true),
        };
        let request = &waiting.request;
        if request.question != ApprovalQuestion::MakeTheCall
            || request.tool_call_id != call.tool_call_id
        {
            return None;
        }
        Some(Grant {
            approval_id: request.approval_id.clone(),
            tool_call_id: request.tool_call_id.clone(),
            tool_name: request.tool_name.clone(),
            definition_digest: request.definition_digest.clone(),
            input_digest: request.input_digest.clone(),
            principal_id: request.principal_id.clone(),
            sandbox_profile: request
                .sandbox_profile
                .as_ref()
                .map(|profile| profile.digest.clone()),
            granted_findings: approvable(&request.decision),
            approved_by: waiting.votes.len(),
            expires_at: request.expires_at,
            state: match waiting.approved {
                None => GrantState::Pending,
                Some(false) => GrantState::Denied,
                Some(true) if is_spent => GrantState::SpentOnThisCall,
                Some(true) => GrantState::Granted,
            },
        })
    }
}
