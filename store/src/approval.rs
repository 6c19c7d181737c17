//! Approvals, read.

use gatewright_schemas::{ApprovalId, RunId, Timestamp, WorkspaceId};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{
    Store, StoreError, Time,
    projection::{AskedRow, VoteRow},
    time::parameter,
};

/// An approval that a call asked for.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct Approval {
    pub workspace_id: String,
    pub run_id: String,
    pub approval_id: String,
    pub tool_call_id: String,
    pub tool_name: String,
    pub status: String,
    pub question: String,
    pub reason_code: Option<String>,
    pub principal_id: Option<String>,
    pub requested_at: Time,
    pub expires_at: Time,
    pub decided_at: Option<Time>,
    pub decided_by: Option<String>,
    pub reason: Option<String>,
    pub used_at: Option<Time>,
    /// In hexadecimal.
    pub definition_digest: String,
    /// In hexadecimal.
    pub input_digest: String,
    pub input: Value,
    pub approvers: i16,
    #[schemars(with = "Vec<VoteRow>")]
    pub votes: Value,
    #[schemars(with = "AskedRow")]
    pub asked: Value,
    pub remember_s: Option<i64>,
}

macro_rules! select_approvals {
    ($tail:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Approval,
            r#"select workspace_id, run_id, approval_id, tool_call_id, tool_name, status, question, reason_code, principal_id,
                requested_at, expires_at, decided_at as "decided_at: Time", decided_by, reason,
                used_at as "used_at: Time", encode(definition_digest, 'hex') as "definition_digest!",
                encode(input_digest, 'hex') as "input_digest!", input, approvers, votes, asked, remember_s
             from approvals "# + $tail
            $(, $argument)*
        )
    };
}

// Of one workspace: a part of the one index that has this order, as in `dead_letter.rs`.

/// A place in a list of approvals: behind the approval of this id that expires, or was asked for, at this time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// When that one expires (in [`waiting`]), or was asked for (in [`list`]).
    pub at: Timestamp,
    /// Its id.
    pub approval_id: String,
}

/// The approvals that somebody has to decide, the most urgent first; of one workspace where one is given.
///
/// One page of them: `limit` at most, those behind `after`.
pub async fn waiting(
    store: &Store,
    workspace: Option<&WorkspaceId>,
    after: Option<&Place>,
    limit: u32,
) -> Result<Vec<Approval>, StoreError> {
    let (at, approval) = after.map_or((Timestamp::from_micros(0), ""), |after| {
        (after.at, after.approval_id.as_str())
    });
    let (at, limit) = (parameter(at), i64::from(limit));
    let page = match workspace {
        Some(workspace) => {
            select_approvals!(
                "where status = 'waiting' and (workspace_id, expires_at, approval_id) > ($1, $2, $3) and workspace_id <= $1
                 order by workspace_id, expires_at, approval_id limit $4",
                workspace.as_str(),
                at,
                approval,
                limit
            )
            .fetch_all(&store.pool)
            .await
        }
        None => {
            select_approvals!(
                "where status = 'waiting' and (expires_at, approval_id) > ($1, $2)
                 order by expires_at, approval_id limit $3",
                at,
                approval,
                limit
            )
            .fetch_all(&store.pool)
            .await
        }
    };
    page.map_err(StoreError::during("list the approvals that wait"))
}

/// How many approvals somebody has to decide; 10,000 stand for as many or more.
pub async fn count_waiting(store: &Store) -> Result<u64, StoreError> {
    const COUNTING: &str = "count the approvals that wait";
    let counted = sqlx::query_scalar!(
        r#"select count(*) as "count!" from (select 1 as one from approvals where status = 'waiting' limit 10000) as waiting"#
    )
    .fetch_one(&store.pool)
    .await
    .map_err(StoreError::during(COUNTING))?;
    Ok(counted.unsigned_abs())
}

/// The approvals that still wait though their time has come by `now`, the longest first.
///
/// One page of them: `limit` at most, those that come after `last`, the last one of the page before.
pub async fn lapsed(
    store: &Store,
    now: Timestamp,
    last: Option<&Approval>,
    limit: u32,
) -> Result<Vec<Approval>, StoreError> {
    let (expires_at, workspace, run, approval) =
        last.map_or((Timestamp::from_micros(0), "", "", ""), |last| {
            (
                *last.expires_at,
                last.workspace_id.as_str(),
                last.run_id.as_str(),
                last.approval_id.as_str(),
            )
        });
    select_approvals!(
        "where status = 'waiting' and expires_at <= $1
            and (expires_at, workspace_id, run_id, approval_id) > ($2, $3, $4, $5)
         order by expires_at, workspace_id, run_id, approval_id limit $6",
        parameter(now),
        parameter(expires_at),
        workspace,
        run,
        approval,
        i64::from(limit)
    )
    .fetch_all(&store.pool)
    .await
    .map_err(StoreError::during("look for approvals that lapsed"))
}

/// Approvals whatever became of them, the latest first; of one workspace where one is given.
///
/// One page of them: `limit` at most, those that were asked for before `before`.
pub async fn list(
    store: &Store,
    workspace: Option<&WorkspaceId>,
    before: Option<&Place>,
    limit: u32,
) -> Result<Vec<Approval>, StoreError> {
    let (at, approval) = before.map_or((Timestamp::from_micros(i64::MAX), ""), |before| {
        (before.at, before.approval_id.as_str())
    });
    let (at, limit) = (parameter(at), i64::from(limit));
    let page = match workspace {
        Some(workspace) => {
            select_approvals!(
            "where (workspace_id, requested_at, approval_id) < ($1, $2, $3) and workspace_id >= $1
                 order by workspace_id desc, requested_at desc, approval_id desc limit $4",
            workspace.as_str(),
            at,
            approval,
            limit
        )
            .fetch_all(&store.pool)
            .await
        }
        None => {
            select_approvals!(
                "where (requested_at, approval_id) < ($1, $2)
                 order by requested_at desc, approval_id desc limit $3",
                at,
                approval,
                limit
            )
            .fetch_all(&store.pool)
            .await
        }
    };
    page.map_err(StoreError::during("list approvals"))
}

/// The approvals of a run, in order.
pub async fn of_run(
    store: &Store,
    workspace: &WorkspaceId,
    run: &RunId,
) -> Result<Vec<Approval>, StoreError> {
    select_approvals!(
        "where workspace_id = $1 and run_id = $2 order by requested_seq limit 10000",
        workspace.as_str(),
        run.as_str()
    )
    .fetch_all(&store.pool)
    .await
    .map_err(StoreError::during("read the approvals of a run"))
}

/// One approval.
pub async fn show(
    store: &Store,
    workspace: &WorkspaceId,
    run: &RunId,
    approval: &ApprovalId,
) -> Result<Option<Approval>, StoreError> {
    select_approvals!(
        "where workspace_id = $1 and run_id = $2 and approval_id = $3",
        workspace.as_str(),
        run.as_str(),
        approval.as_str()
    )
    .fetch_optional(&store.pool)
    .await
    .map_err(StoreError::during("read an approval"))
}
