//! Events and ends in a few words.

use gatewright_schemas::{
    ErrorInfo, Event, EventBody, RunStatus,
    event::{PolicyDecided, WaitingFor},
};

/// How a run ended.
pub fn ended(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Succeeded => "succeeded",
        RunStatus::Failed => "failed",
        RunStatus::Cancelled => "was cancelled",
        RunStatus::Rejected => "was rejected",
        _ => "goes on",
    }
}

/// An error: where, why, and why for a person.
pub fn error(error: &ErrorInfo) -> String {
    format!("{} {}: {}", error.stage, error.reason_code, error.reason)
}

/// What an event says, in a few words; nothing where its type says it all.
pub fn event(event: &Event) -> String {
    let body = match event.body() {
        Ok(body) => body,
        Err(unreadable) => return format!("({unreadable})"),
    };
    match body {
        EventBody::RunCreated(created) => {
            let title = created.submission.title.unwrap_or_default();
            format!("{}/{} {title}", created.zone, created.lane)
        }
        EventBody::RunStarted(started) => {
            format!("attempt {} by {}", started.attempt, event.actor.actor_id)
        }
        EventBody::RunResumed(resumed) => {
            let why = if resumed.takeover {
                "takeover"
            } else {
                "woken"
            };
            format!(
                "attempt {} by {} ({why})",
                resumed.attempt, event.actor.actor_id
            )
        }
        EventBody::RunSuspended(suspended) => match suspended.waiting_for {
            WaitingFor::Approval { approval_id, .. } => format!("waits for approval {approval_id}"),
            WaitingFor::Actor => "waits for its agent's next call".into(),
        },
        EventBody::RunCompleted(completed) => format!(
            "{} calls succeeded, {} failed",
            completed.succeeded_calls, completed.failed_calls
        ),
        EventBody::RunFailed(failed) => error(&failed.error),
        EventBody::RunCancelled(cancelled) => {
            let reason = cancelled.reason.map(|reason| format!(": {reason}"));
            format!("by {}{}", cancelled.by, reason.unwrap_or_default())
        }
        EventBody::RunRejected(rejected) => error(&rejected.error),
        EventBody::StepCreated(step) => {
            format!("{} {}", step.number, step.title.unwrap_or_default())
        }
        EventBody::StepCompleted(step) => step.status.to_string(),
        EventBody::ToolRequested(requested) => {
            format!("{} {}", requested.tool_call_id, requested.tool_name)
        }
        EventBody::ToolInvoked(invoked) => format!(
            "{} {} ({} by {})",
            invoked.tool_call_id,
            invoked.tool_name,
            invoked.decision.decision,
            invoked.decision.reason_code
        ),
        EventBody::ToolSucceeded(succeeded) => format!(
            "{} in {:.1}ms",
            succeeded.tool_call_id,
            milliseconds(succeeded.duration_us)
        ),
        EventBody::ToolFailed(failed) => {
            format!(
                "{} {} {}",
                failed.tool_call_id,
                failed.tool_name,
                error(&failed.error)
            )
        }
        EventBody::PolicyDenied(decided) | EventBody::PolicyRequiresApproval(decided) => {
            gate(&decided)
        }
        other => authority_and_egress(other),
    }
}

fn gate(decided: &PolicyDecided) -> String {
    let record = &decided.decision;
    let obeyed = if record.blocked {
        "blocked"
    } else {
        "not blocked: shadow mode"
    };
    format!(
        "{} {} {} ({obeyed}): {}",
        decided.tool_name, decided.category, record.reason_code, record.reason
    )
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a duration to the tenth of a millisecond needs no more than 52 bits"
)]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

fn authority_and_egress(body: EventBody) -> String {
    match body {
        EventBody::PolicyActivated(activated) => format!(
            "revision {} in mode {} by {}",
            activated.revision,
            word(&activated.enforcement_mode),
            activated.by
        ),
        EventBody::QuotaExceeded(quota) => {
            format!(
                "{} (limit {}) until {}",
                quota.quota, quota.limit, quota.resets_at
            )
        }
        EventBody::ApprovalRequested(requested) => {
            format!("{} until {}", requested.approval_id, requested.expires_at)
        }
        EventBody::ApprovalVoted(voted) => format!(
            "{} approved by {}, {} more must",
            voted.approval_id, voted.by, voted.missing
        ),
        EventBody::ApprovalRemembered(new) => {
            let remembered = new.remembered;
            format!(
                "{} of {} until {}",
                remembered.remembered_id, remembered.tool_name, remembered.expires_at
            )
        }
        EventBody::ApprovalForgotten(forgotten) => {
            format!("{} by {}", forgotten.remembered_id, forgotten.by)
        }
        EventBody::ApprovalDecided(decided) => {
            let answer = if decided.approved {
                "approved"
            } else {
                "denied"
            };
            format!("{} {answer} by {}", decided.approval_id, decided.by)
        }
        EventBody::ApprovalExpired(expired) => expired.approval_id.to_string(),
        EventBody::EgressRequested(egress) => format!("{} {}", egress.method, egress.url),
        EventBody::EgressAllowed(egress) => {
            let status = egress
                .status
                .map_or_else(|| "no answer".into(), |s| s.to_string());
            let address = egress.address.unwrap_or_default();
            format!("{} {address} answered {status}", egress.host)
        }
        EventBody::EgressBlocked(egress) => format!("{} {}", egress.host, error(&egress.error)),
        EventBody::CapabilityGranted(granted) => {
            format!(
                "{} to {}",
                granted.token.token_id, granted.token.issued_to_principal_id
            )
        }
        EventBody::CapabilityRefused(refused) => {
            format!("{} to {}: {}", refused.token_id, refused.to, refused.reason)
        }
        EventBody::CapabilityRevoked(revoked) => format!("{} by {}", revoked.token_id, revoked.by),
        EventBody::PrincipalRegistered(registered) => registered.principal.principal_id.to_string(),
        EventBody::PrincipalQuarantined(quarantined) => {
            format!(
                "{}: {}",
                quarantined.principal_id, quarantined.quarantine.reason
            )
        }
        EventBody::PrincipalReleased(released) => {
            format!("{} by {}", released.principal_id, released.by)
        }
        _ => String::new(),
    }
}

fn word(value: &impl std::fmt::Display) -> String {
    value.to_string()
}
