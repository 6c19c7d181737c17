//! Reading the rows that a fold will touch.

use gatewright_schemas::{
    CapabilityTokenId, PrincipalId, RememberedApprovalId, RunId, ToolCallId, WorkspaceId,
};
use sqlx::PgConnection;

use super::{
    ApprovalRow, Batch, CapabilityTokenRow, EgressRow, PrincipalRow, RememberedApprovalRow, RunRow,
    StepRow, ToolCallRow, batch::RunRows,
};
use crate::{StoreError, reading::Reading};

/// The rows that a fold will touch and that the batch lacks, by their keys.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Needs {
    /// Runs. With each come its open steps and calls, and all of its approvals.
    pub runs: Vec<(WorkspaceId, RunId)>,
    /// Further steps of these runs, by number.
    pub steps: Vec<(WorkspaceId, RunId, i32)>,
    /// Further calls of these runs, with their requests to the outside.
    pub calls: Vec<ToolCallId>,
    /// Capability tokens.
    pub tokens: Vec<(WorkspaceId, CapabilityTokenId)>,
    /// Principals.
    pub principals: Vec<(WorkspaceId, PrincipalId)>,
    /// Remembered approvals.
    pub remembered: Vec<(WorkspaceId, RememberedApprovalId)>,
}

const READING: Reading = Reading("read the rows that the fold continues");

fn read_digest(column: &'static str, bytes: &[u8]) -> Result<[u8; 32], StoreError> {
    bytes
        .try_into()
        .map_err(|_| READING.unreadable(column, "another length than a digest's"))
}

fn columns<'a, A: AsRef<str> + 'a, B: AsRef<str> + 'a>(
    keys: impl Iterator<Item = (&'a A, &'a B)>,
) -> (Vec<String>, Vec<String>) {
    keys.map(|(a, b)| (a.as_ref().to_owned(), b.as_ref().to_owned()))
        .unzip()
}

pub(super) async fn load(
    connection: &mut PgConnection,
    needs: &Needs,
    batch: &mut Batch,
) -> Result<(), StoreError> {
    if !needs.runs.is_empty() {
        let (workspaces, run_ids) = columns(needs.runs.iter().map(|(w, r)| (w, r)));
        runs(connection, &workspaces, &run_ids, batch).await?;
        steps(connection, &workspaces, &run_ids, needs, batch).await?;
        calls(connection, &workspaces, &run_ids, needs, batch).await?;
        approvals(connection, &workspaces, &run_ids, batch).await?;
        if !needs.calls.is_empty() {
            egress(connection, &workspaces, &run_ids, needs, batch).await?;
        }
    }
    if !needs.tokens.is_empty() {
        tokens(connection, needs, batch).await?;
    }
    if !needs.principals.is_empty() {
        principals(connection, needs, batch).await?;
    }
    if !needs.remembered.is_empty() {
        remembered(connection, needs, batch).await?;
    }
    Ok(())
}

async fn runs(
    connection: &mut PgConnection,
    workspaces: &[String],
    run_ids: &[String],
    batch: &mut Batch,
) -> Result<(), StoreError> {
    let rows = sqlx::query!(
        r#"select created_sequence, last_sequence, last_seq, created_at, moved_at, started_at, ended_at, not_before,
            deadline, wait_expires_at, lease, attempt, succeeded_calls, failed_calls, denied_calls, workspace_id, run_id,
            status, zone, lane, worker, principal_id, capability_token_id, retry_of, waiting_approval_id, title, room_id,
            thread_id, correlation_id, requested_run_id, error::text as error
         from runs
         where (workspace_id, run_id) in (select * from unnest($1::text[], $2::text[]))"#,
        workspaces,
        run_ids
    )
    .fetch_all(connection)
    .await
    .map_err(StoreError::during(READING.0))?;
    for row in rows {
        let run = RunRow {
            created_sequence: row.created_sequence,
            last_sequence: row.last_sequence,
            last_seq: row.last_seq,
            created_at: row.created_at.into(),
            moved_at: row.moved_at.into(),
            started_at: row.started_at.map(Into::into),
            ended_at: row.ended_at.map(Into::into),
            not_before: row.not_before.map(Into::into),
            deadline: row.deadline.map(Into::into),
            wait_expires_at: row.wait_expires_at.map(Into::into),
            lease: row.lease,
            attempt: row.attempt,
            succeeded_calls: row.succeeded_calls,
            failed_calls: row.failed_calls,
            denied_calls: row.denied_calls,
            workspace_id: READING.text("workspace_id", &row.workspace_id)?,
            run_id: READING.text("run_id", &row.run_id)?,
            status: READING.text("status", &row.status)?,
            zone: READING.text("zone", &row.zone)?,
            lane: READING.optional("lane", row.lane.as_deref())?,
            worker: READING.optional("worker", row.worker.as_deref())?,
            principal_id: row.principal_id,
            capability_token_id: row.capability_token_id,
            retry_of: READING.optional("retry_of", row.retry_of.as_deref())?,
            waiting_approval_id: READING
                .optional("waiting_approval_id", row.waiting_approval_id.as_deref())?,
            title: row.title,
            room_id: row.room_id,
            thread_id: row.thread_id,
            correlation_id: row.correlation_id,
            requested_run_id: row.requested_run_id,
            error: READING.optional_json("error", row.error.as_deref())?,
        };
        batch.runs.insert(RunRows::new(run, true));
    }
    Ok(())
}

async fn steps(
    connection: &mut PgConnection,
    workspaces: &[String],
    run_ids: &[String],
    needs: &Needs,
    batch: &mut Batch,
) -> Result<(), StoreError> {
    let (step_workspaces, step_runs) = columns(needs.steps.iter().map(|(w, r, _)| (w, r)));
    let numbers: Vec<i32> = needs.steps.iter().map(|(_, _, number)| *number).collect();
    let rows = sqlx::query!(
        "select created_at, ended_at, number, workspace_id, run_id, step_id, status, title
         from steps
         where (workspace_id, run_id) in (select * from unnest($1::text[], $2::text[]))
           and (ended_at is null
                or (workspace_id, run_id, number) in (select * from unnest($3::text[], $4::text[], $5::integer[])))
         order by workspace_id, run_id, number",
        workspaces,
        run_ids,
        &step_workspaces,
        &step_runs,
        &numbers
    )
    .fetch_all(connection)
    .await
    .map_err(StoreError::during(READING.0))?;
    for row in rows {
        let step = StepRow {
            created_at: row.created_at.into(),
            ended_at: row.ended_at.map(Into::into),
            number: row.number,
            workspace_id: READING.text("workspace_id", &row.workspace_id)?,
            run_id: READING.text("run_id", &row.run_id)?,
            step_id: READING.text("step_id", &row.step_id)?,
            status: READING.text("status", &row.status)?,
            title: row.title,
        };
        if let Some(run) = batch.runs.peek(&step.workspace_id, &step.run_id) {
            run.steps.admit(step);
        }
    }
    Ok(())
}

async fn calls(
    connection: &mut PgConnection,
    workspaces: &[String],
    run_ids: &[String],
    needs: &Needs,
    batch: &mut Batch,
) -> Result<(), StoreError> {
    let call_ids: Vec<String> = needs.calls.iter().map(ToString::to_string).collect();
    let rows = sqlx::query!(
        r#"select requested_at, started_at, ended_at, duration_us, invoked_seq, ended_seq, step_number, call_number,
            invocations, executions, idempotent, workspace_id, run_id, tool_call_id, status, effect, approval_id,
            tool_name, input_digest, error::text as error
         from tool_calls
         where (workspace_id, run_id) in (select * from unnest($1::text[], $2::text[]))
           and (ended_at is null or tool_call_id = any($3))
         order by workspace_id, run_id, step_number, call_number"#,
        workspaces,
        run_ids,
        &call_ids
    )
    .fetch_all(connection)
    .await
    .map_err(StoreError::during(READING.0))?;
    for row in rows {
        let call = ToolCallRow {
            requested_at: row.requested_at.into(),
            started_at: row.started_at.map(Into::into),
            ended_at: row.ended_at.map(Into::into),
            duration_us: row.duration_us,
            invoked_seq: row.invoked_seq,
            ended_seq: row.ended_seq,
            step_number: row.step_number,
            call_number: row.call_number,
            invocations: row.invocations,
            executions: row.executions,
            idempotent: row.idempotent,
            workspace_id: READING.text("workspace_id", &row.workspace_id)?,
            run_id: READING.text("run_id", &row.run_id)?,
            tool_call_id: READING.text("tool_call_id", &row.tool_call_id)?,
            status: READING.text("status", &row.status)?,
            effect: READING.optional("effect", row.effect.as_deref())?,
            approval_id: READING.optional("approval_id", row.approval_id.as_deref())?,
            tool_name: row.tool_name,
            input_digest: row
                .input_digest
                .map(|bytes| read_digest("input_digest", &bytes))
                .transpose()?,
            error: READING.optional_json("error", row.error.as_deref())?,
        };
        if let Some(run) = batch.runs.peek(&call.workspace_id, &call.run_id) {
            run.calls.admit(call);
        }
    }
    Ok(())
}

async fn approvals(
    connection: &mut PgConnection,
    workspaces: &[String],
    run_ids: &[String],
    batch: &mut Batch,
) -> Result<(), StoreError> {
    let rows = sqlx::query!(
        r#"select requested_at, expires_at, decided_at, used_at, requested_seq, workspace_id, run_id, approval_id,
            tool_call_id, status, question, reason_code, principal_id, tool_name, decided_by, reason, definition_digest,
            input_digest, input::text as "input!", approvers, votes::text as "votes!", asked::text as "asked!", remember_s
         from approvals
         where (workspace_id, run_id) in (select * from unnest($1::text[], $2::text[]))
         order by workspace_id, run_id, requested_seq"#,
        workspaces,
        run_ids
    )
    .fetch_all(connection)
    .await
    .map_err(StoreError::during(READING.0))?;
    for row in rows {
        let approval = ApprovalRow {
            requested_at: row.requested_at.into(),
            expires_at: row.expires_at.into(),
            decided_at: row.decided_at.map(Into::into),
            used_at: row.used_at.map(Into::into),
            requested_seq: row.requested_seq,
            workspace_id: READING.text("workspace_id", &row.workspace_id)?,
            run_id: READING.text("run_id", &row.run_id)?,
            approval_id: READING.text("approval_id", &row.approval_id)?,
            tool_call_id: READING.text("tool_call_id", &row.tool_call_id)?,
            status: READING.text("status", &row.status)?,
            question: READING.json("question", &format!("{:?}", row.question))?,
            reason_code: READING.optional("reason_code", row.reason_code.as_deref())?,
            principal_id: READING.optional("principal_id", row.principal_id.as_deref())?,
            tool_name: row.tool_name,
            decided_by: row.decided_by,
            reason: row.reason,
            definition_digest: read_digest("definition_digest", &row.definition_digest)?,
            input_digest: read_digest("input_digest", &row.input_digest)?,
            input: READING.json("input", &row.input)?,
            approvers: row.approvers,
            votes: READING.json("votes", &row.votes)?,
            asked: READING.json("asked", &row.asked)?,
            remember_s: row.remember_s,
        };
        if let Some(run) = batch.runs.peek(&approval.workspace_id, &approval.run_id) {
            run.approvals.admit(approval);
        }
    }
    Ok(())
}

async fn egress(
    connection: &mut PgConnection,
    workspaces: &[String],
    run_ids: &[String],
    needs: &Needs,
    batch: &mut Batch,
) -> Result<(), StoreError> {
    let call_ids: Vec<String> = needs.calls.iter().map(ToString::to_string).collect();
    let rows = sqlx::query!(
        r#"select requested_at, ended_at, step_number, call_number, hop, requests, http_status, workspace_id, run_id,
            tool_call_id, status, method, action_type, host, address, url, error::text as error
         from egress_requests
         where (workspace_id, run_id) in (select * from unnest($1::text[], $2::text[]))
           and tool_call_id = any($3)
         order by workspace_id, run_id, step_number, call_number, hop"#,
        workspaces,
        run_ids,
        &call_ids
    )
    .fetch_all(connection)
    .await
    .map_err(StoreError::during(READING.0))?;
    for row in rows {
        let request = EgressRow {
            requested_at: row.requested_at.into(),
            ended_at: row.ended_at.map(Into::into),
            step_number: row.step_number,
            call_number: row.call_number,
            hop: row.hop,
            requests: row.requests,
            http_status: row.http_status,
            workspace_id: READING.text("workspace_id", &row.workspace_id)?,
            run_id: READING.text("run_id", &row.run_id)?,
            tool_call_id: READING.text("tool_call_id", &row.tool_call_id)?,
            status: READING.text("status", &row.status)?,
            method: row.method,
            action_type: row.action_type,
            host: row.host,
            address: row.address,
            url: row.url,
            error: READING.optional_json("error", row.error.as_deref())?,
        };
        if let Some(run) = batch.runs.peek(&request.workspace_id, &request.run_id) {
            run.egress.admit(request);
        }
    }
    Ok(())
}

async fn tokens(
    connection: &mut PgConnection,
    needs: &Needs,
    batch: &mut Batch,
) -> Result<(), StoreError> {
    let (workspaces, token_ids) = columns(needs.tokens.iter().map(|(w, t)| (w, t)));
    let rows = sqlx::query!(
        r#"select granted_at, valid_until, revoked_at, workspace_id, token_id, issued_to_principal_id,
            granted_by_principal_id, parent_token_id, revoked_by, revoked_reason, scopes::text as "scopes!"
         from capability_tokens
         where (workspace_id, token_id) in (select * from unnest($1::text[], $2::text[]))"#,
        &workspaces,
        &token_ids
    )
    .fetch_all(connection)
    .await
    .map_err(StoreError::during(READING.0))?;
    for row in rows {
        batch.tokens.admit(CapabilityTokenRow {
            granted_at: row.granted_at.into(),
            valid_until: row.valid_until.map(Into::into),
            revoked_at: row.revoked_at.map(Into::into),
            workspace_id: READING.text("workspace_id", &row.workspace_id)?,
            token_id: READING.text("token_id", &row.token_id)?,
            issued_to_principal_id: READING
                .text("issued_to_principal_id", &row.issued_to_principal_id)?,
            granted_by_principal_id: READING
                .text("granted_by_principal_id", &row.granted_by_principal_id)?,
            parent_token_id: READING.optional("parent_token_id", row.parent_token_id.as_deref())?,
            revoked_by: row.revoked_by,
            revoked_reason: row.revoked_reason,
            scopes: READING.json("scopes", &row.scopes)?,
        });
    }
    Ok(())
}

async fn principals(
    connection: &mut PgConnection,
    needs: &Needs,
    batch: &mut Batch,
) -> Result<(), StoreError> {
    let (workspaces, principal_ids) = columns(needs.principals.iter().map(|(w, p)| (w, p)));
    let rows = sqlx::query!(
        "select quarantined_at, workspace_id, principal_id, principal_type, actor_id, quarantine_reason, quarantined_by
         from principals
         where (workspace_id, principal_id) in (select * from unnest($1::text[], $2::text[]))",
        &workspaces,
        &principal_ids
    )
    .fetch_all(connection)
    .await
    .map_err(StoreError::during(READING.0))?;
    for row in rows {
        batch.principals.admit(PrincipalRow {
            quarantined_at: row.quarantined_at.map(Into::into),
            workspace_id: READING.text("workspace_id", &row.workspace_id)?,
            principal_id: READING.text("principal_id", &row.principal_id)?,
            principal_type: READING.optional("principal_type", row.principal_type.as_deref())?,
            actor_id: row.actor_id,
            quarantine_reason: row.quarantine_reason,
            quarantined_by: row.quarantined_by,
        });
    }
    Ok(())
}

async fn remembered(
    connection: &mut PgConnection,
    needs: &Needs,
    batch: &mut Batch,
) -> Result<(), StoreError> {
    let (workspaces, ids) = columns(needs.remembered.iter().map(|(w, r)| (w, r)));
    let rows = sqlx::query!(
        r#"select remembered_at, expires_at, revoked_at, workspace_id, remembered_id, approval_id, principal_id,
            actor::text as "actor!", tool_name, revoked_by, revoked_reason, definition_digest, input_digest, effect, hosts::text as "hosts!",
            findings::text as "findings!", approved_by::text as "approved_by!"
         from remembered_approvals
         where (workspace_id, remembered_id) in (select * from unnest($1::text[], $2::text[]))"#,
        &workspaces,
        &ids
    )
    .fetch_all(connection)
    .await
    .map_err(StoreError::during(READING.0))?;
    for row in rows {
        batch.remembered.admit(RememberedApprovalRow {
            remembered_at: row.remembered_at.into(),
            expires_at: row.expires_at.into(),
            revoked_at: row.revoked_at.map(Into::into),
            workspace_id: READING.text("workspace_id", &row.workspace_id)?,
            remembered_id: READING.text("remembered_id", &row.remembered_id)?,
            approval_id: READING.text("approval_id", &row.approval_id)?,
            principal_id: READING.text("principal_id", &row.principal_id)?,
            actor: READING.json("actor", &row.actor)?,
            tool_name: row.tool_name,
            revoked_by: row.revoked_by,
            revoked_reason: row.revoked_reason,
            definition_digest: read_digest("definition_digest", &row.definition_digest)?,
            input_digest: row
                .input_digest
                .map(|bytes| read_digest("input_digest", &bytes))
                .transpose()?,
            effect: READING.text("effect", &row.effect)?,
            hosts: READING.json("hosts", &row.hosts)?,
            findings: READING.json("findings", &row.findings)?,
            approved_by: READING.json("approved_by", &row.approved_by)?,
        });
    }
    Ok(())
}
