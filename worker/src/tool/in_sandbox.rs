//! What all tools share that run a command in the sandbox.

use std::time::Duration;

use gatewright_policy::{Permit, redact::Secrets};
use gatewright_schemas::{ErrorInfo, ReasonCode, Stage};

use super::{Call, CallFacts, ExecutionError, TookEffect};
use crate::sandbox::{Cut, Ended, Limits, Order, Sandbox, Unavailable};

/// How much longer than its command a tool may take: to start it, and until everything is dead.
pub(crate) const GRACE: Duration = Duration::from_secs(45);

/// Characters of an output that a reason quotes.
const MAX_EXCERPT: usize = 400;

/// An order for the call's run, with what its permit gives.
pub(crate) fn order(call: &Call<'_>, permit: &Permit) -> Order {
    Order {
        workspace: call.workspace_id.clone(),
        run: call.run_id.clone(),
        argv: Vec::new(),
        stdin: Vec::new(),
        env: Vec::new(),
        programs: Vec::new(),
        profile: permit.escalated().cloned(),
        limits: Limits::default(),
    }
}

/// Runs a command until it ends by itself.
///
/// Errors: `sandbox_unavailable`, when nothing ran; `tool_timeout` and `tool_execution_failed`, when it was cut off.
pub(crate) async fn run(
    sandbox: &Sandbox,
    mut order: Order,
    facts: &CallFacts,
    secrets: &Secrets,
) -> Result<Ended, ExecutionError> {
    // So that one is whole that begins within the limit, and can be told.
    order.limits.output += secrets.longest();
    // Nothing outside the run's own directory can have changed, unless the policy opened something up.
    let took_effect = if order.profile.is_some() {
        facts.unanswered()
    } else {
        TookEffect::Answered
    };
    let ended = sandbox
        .run(order)
        .await
        .map_err(|error| unavailable(&error))?;
    let Some(cut) = &ended.cut else {
        return Ok(ended);
    };
    let code = match cut {
        Cut::Time { .. } => ReasonCode::ToolTimeout,
        _ => ReasonCode::ToolExecutionFailed,
    };
    let reason = format!("the command was killed: {cut}{}", told(&ended, secrets));
    Err(ExecutionError {
        info: ErrorInfo::new(Stage::Execution, code, reason),
        retry: facts.idempotent,
        took_effect,
    })
}

/// What the command said last, to be added to a reason.
pub(crate) fn told(ended: &Ended, secrets: &Secrets) -> String {
    [("stderr", &ended.stderr), ("stdout", &ended.stdout)]
        .into_iter()
        .map(|(name, output)| (name, output.cleaned(secrets, usize::MAX).tail(MAX_EXCERPT)))
        .find(|(_, tail)| !tail.is_empty())
        .map(|(name, tail)| format!("; the end of its {name}: {tail}"))
        .unwrap_or_default()
}

fn unavailable(unavailable: &Unavailable) -> ExecutionError {
    tracing::error!(reason = %unavailable.reason, remedy = %unavailable.remedy, "a command was refused: no sandbox");
    ExecutionError::final_failure(ErrorInfo::new(
        Stage::Execution,
        ReasonCode::SandboxUnavailable,
        unavailable.to_string(),
    ))
}
