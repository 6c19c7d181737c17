//! `runs`, and what a run's end does to what it left open.

use gatewright_schemas::{
    CapabilityTokenId, ErrorInfo, Event, EventBody, PrincipalId, ReasonCode, RunStatus, Stage,
    StepStatus, StoredCommit, ToolCallStatus,
    event::{RunCreated, RunRejected, WaitingFor},
};
use gatewright_store::projection::{ApprovalStatus, Batch, RunRow, RunRows};

use super::{Fault, Unreadable, call};
use crate::ids::{bigint, integer};

/// Adds the run, where this commit begins one.
pub(super) fn begin(
    batch: &mut Batch,
    stored: &StoredCommit,
    bodies: &[EventBody],
) -> Result<(), Unreadable> {
    let (Some(event), Some(body)) = (stored.commit.events.first(), bodies.first()) else {
        return Ok(());
    };
    let row = match body {
        EventBody::RunCreated(created) => created_row(stored, event, created),
        EventBody::RunRejected(rejected) => rejected_row(stored, event, rejected),
        _ => return Ok(()),
    };
    if batch.runs.has(&row.workspace_id, &row.run_id) {
        return Err(Unreadable::from(Fault::RunAgain {
            event_id: event.event_id.clone(),
            run_id: row.run_id,
        }));
    }
    batch.runs.add(row);
    Ok(())
}

fn new_row(stored: &StoredCommit, event: &Event, status: RunStatus) -> RunRow {
    RunRow {
        created_sequence: bigint(stored.sequence),
        last_sequence: bigint(stored.sequence),
        last_seq: bigint(event.seq),
        created_at: event.occurred_at,
        moved_at: stored.stored_at,
        started_at: None,
        ended_at: None,
        not_before: None,
        deadline: None,
        wait_expires_at: None,
        lease: None,
        attempt: 0,
        succeeded_calls: 0,
        failed_calls: 0,
        denied_calls: 0,
        workspace_id: event.workspace_id.clone(),
        run_id: event.run_id.clone(),
        status,
        zone: event.zone,
        lane: None,
        worker: None,
        principal_id: None,
        capability_token_id: None,
        retry_of: None,
        waiting_approval_id: None,
        title: None,
        room_id: event.room_id.clone(),
        thread_id: event.thread_id.clone(),
        correlation_id: event.correlation_id.clone(),
        requested_run_id: None,
        error: None,
    }
}

fn created_row(stored: &StoredCommit, event: &Event, created: &RunCreated) -> RunRow {
    let submission = &created.submission;
    // The submitter's own words: only what can be an id is shown as one.
    let policy = |field| {
        submission
            .input
            .runtime
            .policy
            .get(field)?
            .as_str()
            .map(str::trim)
    };
    RunRow {
        not_before: submission.not_before,
        deadline: submission.deadline,
        zone: created.zone,
        lane: Some(created.lane),
        principal_id: policy("principal_id")
            .and_then(|id| Some(PrincipalId::new(id).ok()?.to_string())),
        capability_token_id: policy("capability_token_id")
            .and_then(|id| Some(CapabilityTokenId::new(id).ok()?.to_string())),
        retry_of: created.retry_of.clone(),
        title: submission.title.clone(),
        room_id: submission.room_id.clone(),
        thread_id: submission.thread_id.clone(),
        correlation_id: submission.correlation_id.clone(),
        ..new_row(stored, event, RunStatus::Queued)
    }
}

fn rejected_row(stored: &StoredCommit, event: &Event, rejected: &RunRejected) -> RunRow {
    RunRow {
        ended_at: Some(event.occurred_at),
        // Whatever was sent; it may be of any length.
        requested_run_id: rejected
            .requested_run_id
            .as_ref()
            .map(|id| id.chars().take(200).collect()),
        error: Some(rejected.error.clone()),
        ..new_row(stored, event, RunStatus::Rejected)
    }
}

/// What happened to the run as a whole.
pub(super) fn apply(rows: &mut RunRows, stored: &StoredCommit, event: &Event, body: &EventBody) {
    let run = &mut rows.run;
    match body {
        EventBody::RunStarted(started) => {
            run.status = RunStatus::Running;
            run.started_at = run.started_at.or(Some(event.occurred_at));
            run.attempt = integer(started.attempt);
            run.lease = Some(bigint(started.lease));
            run.worker = Some(stored.writer.clone());
        }
        EventBody::RunResumed(resumed) => {
            run.status = RunStatus::Running;
            run.attempt = integer(resumed.attempt);
            run.lease = Some(bigint(resumed.lease));
            run.worker = Some(stored.writer.clone());
        }
        EventBody::RunSuspended(suspended) => match &suspended.waiting_for {
            WaitingFor::Approval {
                approval_id,
                expires_at,
            } => {
                run.status = RunStatus::WaitingApproval;
                run.waiting_approval_id = Some(approval_id.clone());
                run.wait_expires_at = Some(*expires_at);
            }
            WaitingFor::Actor => run.status = RunStatus::WaitingActor,
        },
        EventBody::RunCompleted(_) => end(rows, event, RunStatus::Succeeded, None),
        EventBody::RunFailed(failed) => {
            end(rows, event, RunStatus::Failed, Some(failed.error.clone()));
        }
        EventBody::RunCancelled(cancelled) => {
            let because = cancelled
                .reason
                .as_deref()
                .map(|reason| format!(": {reason}"))
                .unwrap_or_default();
            let reason = format!("cancelled by `{}`{because}", cancelled.by);
            let error = ErrorInfo::new(Stage::Lifecycle, ReasonCode::CancelRequested, reason);
            end(rows, event, RunStatus::Cancelled, Some(error));
        }
        _ => {}
    }
}

/// Ends the run, and with it whatever it left open.
fn end(rows: &mut RunRows, event: &Event, status: RunStatus, error: Option<ErrorInfo>) {
    let ended_at = Some(event.occurred_at);
    let (step_status, call_status) = match status {
        RunStatus::Succeeded => (StepStatus::Succeeded, ToolCallStatus::Cancelled),
        RunStatus::Cancelled => (StepStatus::Cancelled, ToolCallStatus::Cancelled),
        _ => (StepStatus::Failed, ToolCallStatus::Failed),
    };
    for step in rows.steps.select(|step| step.ended_at.is_none()) {
        step.status = step_status;
        step.ended_at = ended_at;
    }
    for row in rows.calls.select(|call| call.ended_at.is_none()) {
        call::set_status(&mut rows.run, row, call_status);
        row.ended_at = ended_at;
        row.error.clone_from(&error);
    }
    for approval in rows
        .approvals
        .select(|approval| approval.status == ApprovalStatus::Waiting)
    {
        approval.status = ApprovalStatus::Cancelled;
    }
    rows.run.status = status;
    rows.run.ended_at = ended_at;
    rows.run.error = error;
}

/// What every commit does to its run. The subject's word on where the run stands is the last one.
pub(super) fn moved(rows: &mut RunRows, stored: &StoredCommit, last: &Event) {
    let run = &mut rows.run;
    run.last_sequence = bigint(stored.sequence);
    run.last_seq = bigint(last.seq);
    run.moved_at = stored.stored_at;
    if let Some(status) = stored.status {
        run.status = status;
    }
    if run.status != RunStatus::Running {
        run.worker = None;
        run.lease = None;
    }
    if run.status != RunStatus::WaitingApproval {
        run.waiting_approval_id = None;
        run.wait_expires_at = None;
    }
}
