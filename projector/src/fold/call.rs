//! `tool_calls`, and the counts of calls in `runs`.

use gatewright_schemas::{
    Digest, ErrorInfo, Event, EventBody, ToolCallId, ToolCallStatus,
    event::{ApprovalQuestion, PolicyDecided, ToolInvoked},
};
use gatewright_store::projection::{RunRow, RunRows, ToolCallRow, digest_bytes};

use super::Unreadable;
use crate::ids::{bigint, call_numbers, integer};

pub(super) fn apply(rows: &mut RunRows, event: &Event, body: &EventBody) -> Result<(), Unreadable> {
    match body {
        EventBody::PolicyDenied(decided) => refused(rows, event, decided, ToolCallStatus::Failed),
        EventBody::PolicyRequiresApproval(decided) => {
            refused(rows, event, decided, ToolCallStatus::WaitingApproval)
        }
        EventBody::ApprovalRequested(request)
            if request.question == ApprovalQuestion::MakeTheCall =>
        {
            let input_digest = bytes(event, "input_digest", &request.input_digest)?;
            let (run, call) = find_or_add(rows, event, &request.tool_call_id, &request.tool_name)?;
            set_status(run, call, ToolCallStatus::WaitingApproval);
            call.ended_at = None;
            call.error = None;
            call.input_digest = Some(input_digest);
            call.approval_id = Some(request.approval_id.clone());
            Ok(())
        }
        EventBody::ToolRequested(requested) => {
            let (run, call) =
                find_or_add(rows, event, &requested.tool_call_id, &requested.tool_name)?;
            set_status(run, call, ToolCallStatus::Requested);
            Ok(())
        }
        EventBody::ToolInvoked(tool) => invoked(rows, event, tool),
        EventBody::ToolSucceeded(succeeded) => {
            let numbers = call_numbers(event, &succeeded.tool_call_id)?;
            if let Some(call) = rows
                .calls
                .find(|call| (call.step_number, call.call_number) == numbers)
            {
                set_status(&mut rows.run, call, ToolCallStatus::Succeeded);
                call.ended_at = Some(event.occurred_at);
                call.ended_seq = Some(bigint(event.seq));
                call.executions = integer(succeeded.executions);
                call.duration_us = Some(bigint(succeeded.duration_us));
                call.error = None;
            }
            Ok(())
        }
        EventBody::ToolFailed(failed) => {
            let (run, call) = find_or_add(rows, event, &failed.tool_call_id, &failed.tool_name)?;
            // The error says whether the gate stopped it, which is counted with the status.
            unset_status(run, call);
            call.error = Some(failed.error.clone());
            call.status = ToolCallStatus::Failed;
            count(run, call, 1);
            call.ended_at = Some(event.occurred_at);
            call.ended_seq = Some(bigint(event.seq));
            call.executions = integer(failed.executions);
            call.duration_us = Some(bigint(failed.duration_us));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A refusal of the call itself makes it known; what follows in the same commit says what becomes of it.
fn refused(
    rows: &mut RunRows,
    event: &Event,
    decided: &PolicyDecided,
    status: ToolCallStatus,
) -> Result<(), Unreadable> {
    let digest = decided
        .input_digest
        .as_ref()
        .map(|digest| bytes(event, "input_digest", digest))
        .transpose()?;
    let (run, call) = find_or_add(rows, event, &decided.tool_call_id, &decided.tool_name)?;
    if decided.category == "tool" {
        call.input_digest = digest.or(call.input_digest);
    }
    if decided.decision.blocked && call.invocations == 0 {
        set_status(run, call, status);
    }
    Ok(())
}

fn invoked(rows: &mut RunRows, event: &Event, tool: &ToolInvoked) -> Result<(), Unreadable> {
    let input_digest = bytes(event, "input_digest", &tool.input_digest)?;
    let (run, call) = find_or_add(rows, event, &tool.tool_call_id, &tool.tool_name)?;
    set_status(run, call, ToolCallStatus::Running);
    call.started_at = call.started_at.or(Some(event.occurred_at));
    call.ended_at = None;
    call.ended_seq = None;
    call.error = None;
    call.invoked_seq = Some(bigint(event.seq));
    call.invocations = call.invocations.saturating_add(1);
    call.idempotent = Some(tool.idempotent);
    call.effect = Some(tool.effect);
    call.input_digest = Some(input_digest);
    if tool.approval_id.is_some() {
        call.approval_id.clone_from(&tool.approval_id);
    }
    Ok(())
}

/// The call, which is added where this is the first that is heard of it.
fn find_or_add<'a>(
    rows: &'a mut RunRows,
    event: &Event,
    id: &ToolCallId,
    tool_name: &str,
) -> Result<(&'a mut RunRow, &'a mut ToolCallRow), Unreadable> {
    let numbers @ (step_number, call_number) = call_numbers(event, id)?;
    let is_it = |call: &ToolCallRow| (call.step_number, call.call_number) == numbers;
    if !rows.calls.has(is_it) {
        rows.calls.add(ToolCallRow {
            requested_at: event.occurred_at,
            started_at: None,
            ended_at: None,
            duration_us: None,
            invoked_seq: None,
            ended_seq: None,
            step_number,
            call_number,
            invocations: 0,
            executions: 0,
            idempotent: None,
            workspace_id: event.workspace_id.clone(),
            run_id: event.run_id.clone(),
            tool_call_id: id.clone(),
            status: ToolCallStatus::Running,
            effect: None,
            approval_id: None,
            tool_name: tool_name.to_owned(),
            input_digest: None,
            error: None,
        });
    }
    let call = rows
        .calls
        .find(is_it)
        .ok_or_else(|| Unreadable::field(event, "tool_call_id"))?;
    Ok((&mut rows.run, call))
}

fn bytes(event: &Event, field: &'static str, digest: &Digest) -> Result<[u8; 32], Unreadable> {
    digest_bytes(digest).ok_or_else(|| Unreadable::field(event, field))
}

/// Moves the call on, and the run's counts with it: a call that is made again is no longer counted as what it was.
pub(super) fn set_status(run: &mut RunRow, call: &mut ToolCallRow, status: ToolCallStatus) {
    unset_status(run, call);
    call.status = status;
    count(run, call, 1);
}

fn unset_status(run: &mut RunRow, call: &ToolCallRow) {
    count(run, call, -1);
}

fn count(run: &mut RunRow, call: &ToolCallRow, by: i32) {
    match call.status {
        ToolCallStatus::Succeeded => run.succeeded_calls += by,
        ToolCallStatus::Failed => {
            run.failed_calls += by;
            if call.error.as_ref().is_some_and(was_blocked) {
                run.denied_calls += by;
            }
        }
        ToolCallStatus::Requested
        | ToolCallStatus::WaitingApproval
        | ToolCallStatus::Running
        | ToolCallStatus::Cancelled => {}
    }
}

fn was_blocked(error: &ErrorInfo) -> bool {
    error.blocked
}
