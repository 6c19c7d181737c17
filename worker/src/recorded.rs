//! What the gate was asked, as events record it.

use std::sync::{Mutex, PoisonError};

use gatewright_policy::{
    EgressAnswer, EgressRequest, Grant, Host, ToolCallRequest, redact::REDACTED,
};
use gatewright_run::{
    PlannedCall, RunState,
    decide::{self, Undecided},
};
use gatewright_schemas::{ApprovalFacts, DecisionRecord, Effect, EventBody, GateFacts, HopFacts};

use crate::{
    ask::asked_of,
    egress::{HopAnswer, Secrets},
};

/// What was asked of the call; with `hop`, of that request of it.
pub(crate) fn facts_of(
    call: &ToolCallRequest,
    hop: Option<&EgressRequest>,
    grant: Option<&Grant>,
    secrets: &Secrets,
) -> GateFacts {
    let context = call.context.as_ref().ok();
    let clean = |text: &str| secrets.clean_text(text);
    GateFacts {
        actor: context.and_then(|context| GateFacts::actor_of(&context.actor)),
        approval: grant.map(|grant| ApprovalFacts {
            settles: grant.granted_findings.clone(),
        }),
        data: call.tool.data.clone(),
        effect: Some(call.tool.effect).filter(|effect| *effect != Effect::None),
        hop: hop.map(|hop| HopFacts {
            call_host: (hop.call_host != hop.host).then(|| told_host(&hop.call_host, secrets)),
            host: told_host(&hop.host, secrets),
            method: hop.method.clone(),
            number: hop.hop,
        }),
        hosts_unreadable: call.hosts.is_err(),
        requires_token: call.tool.requires_token,
        sandbox_permissions: call.sandbox_permissions.as_deref().map(clean),
        // The approval's; of a call without one the shell knows what the policy gives.
        sandbox_profile: grant.and_then(|grant| grant.sandbox_profile.clone()),
        sandboxed: call.tool.sandboxed,
        through_gateway: call.tool.through_gateway,
    }
}

/// A host as it may be told.
pub(crate) fn told_host(host: &Host, secrets: &Secrets) -> String {
    if secrets.hold(host) {
        REDACTED.to_owned()
    } else {
        secrets.clean_text(host.as_str())
    }
}

/// The answer to a question about `call`, without its secrets and the hosts that are parts of them.
pub(crate) fn cleaned(
    mut record: DecisionRecord,
    call: &ToolCallRequest,
    secrets: &Secrets,
) -> DecisionRecord {
    if secrets.is_empty() {
        return record;
    }
    let hosts = call.hosts.iter().flatten();
    let hidden: Vec<String> = hosts
        .filter(|host| secrets.hold(host))
        .map(|host| format!("`{host}`"))
        .collect();
    let clean = |text: &mut String| {
        *text = secrets.clean_text(text);
        for host in &hidden {
            *text = text.replace(host, REDACTED);
        }
    };
    clean(&mut record.reason);
    for finding in &mut record.findings {
        clean(&mut finding.reason);
    }
    record
}

/// The gate's answers to the redirects of one execution. What it said of the call's own request is recorded with the intent.
#[derive(Default)]
pub(crate) struct HopAnswers(Mutex<Vec<(EgressRequest, DecisionRecord)>>);

impl HopAnswers {
    /// Keeps what is recorded of an answer until the execution is over, and passes the answer on.
    pub(crate) fn keep(&self, request: EgressRequest, answer: EgressAnswer) -> HopAnswer {
        let (record, permit) = answer.into_parts();
        if request.hop > 0 {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push((request, record.clone()));
        }
        match permit {
            Some(permit) => HopAnswer::Permit(permit),
            None => HopAnswer::Blocked(record),
        }
    }

    /// Puts each answer to the `egress.requested` that it belongs to.
    pub(crate) fn tell(
        &self,
        state: &RunState,
        call: &PlannedCall,
        (request, grant): (&ToolCallRequest, Option<&Grant>),
        secrets: &Secrets,
        events: &mut [EventBody],
    ) -> Result<(), Undecided> {
        let kept = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for (hop, record) in kept {
            let facts = facts_of(request, Some(&hop), grant, secrets);
            let action_type = Some(hop.action_type);
            // A limit that it reached is told beside it.
            let asked = asked_of(request, facts, action_type, record, None, secrets);
            for event in &mut *events {
                if let EventBody::EgressRequested(requested) = event
                    && requested.hop == hop.hop
                {
                    requested.gate = Some(Box::new(decide::told(state, call, &asked)?));
                }
            }
        }
        Ok(())
    }
}
