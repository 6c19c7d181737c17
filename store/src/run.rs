//! Runs, read.

use gatewright_schemas::{
    ErrorInfo, Lane, RunId, RunStatus, Timestamp, WorkspaceId, WriterId, Zone,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{Store, StoreError, Time, time::parameter};

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct Run {
    pub workspace_id: String,
    pub run_id: String,
    pub status: String,
    pub title: Option<String>,
    pub zone: String,
    pub lane: Option<String>,
    pub attempt: i32,
    pub worker: Option<String>,
    pub principal_id: Option<String>,
    pub capability_token_id: Option<String>,
    pub room_id: Option<String>,
    pub thread_id: Option<String>,
    pub correlation_id: Option<String>,
    pub retry_of: Option<String>,
    pub requested_run_id: Option<String>,
    pub waiting_approval_id: Option<String>,
    pub wait_expires_at: Option<Time>,
    pub not_before: Option<Time>,
    pub deadline: Option<Time>,
    pub created_at: Time,
    pub started_at: Option<Time>,
    pub ended_at: Option<Time>,
    pub moved_at: Time,
    pub succeeded_calls: i32,
    pub failed_calls: i32,
    pub denied_calls: i32,
    pub created_sequence: i64,
    pub last_sequence: i64,
    pub last_seq: i64,
    #[schemars(with = "Option<ErrorInfo>")]
    pub error: Option<Value>,
}

/// Which runs to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only of this workspace.
    pub workspace: Option<WorkspaceId>,
    /// Only in one of these states; empty for all.
    pub statuses: Vec<RunStatus>,
    /// Only of this zone.
    pub zone: Option<Zone>,
    /// Only of this lane.
    pub lane: Option<Lane>,
    /// Only runs that were created before the one with this `created_sequence`: the last one of the page before.
    pub before: Option<i64>,
    /// Only runs that were created with or after the one with this `created_sequence`.
    pub from: i64,
    /// At most so many.
    pub limit: u32,
}

/// A live run, as the reconciler needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LiveRun {
    /// Its workspace.
    pub workspace_id: WorkspaceId,
    /// The run.
    pub run_id: RunId,
    /// Where it stands.
    pub status: RunStatus,
    /// The attempt at it.
    pub attempt: u32,
    /// The worker that holds it, while it is running.
    pub worker: Option<WriterId>,
    /// The queue message by which the worker holds it.
    pub lease: Option<u64>,
    /// Sequence of its last commit.
    pub last_sequence: u64,
    /// When that was stored.
    pub moved_at: Timestamp,
    /// When it must have ended.
    pub deadline: Option<Timestamp>,
}

/// The columns of [`Run`], and what follows `from runs`.
macro_rules! select_runs {
    ($tail:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Run,
            r#"select workspace_id, run_id, status, title, zone, lane, attempt, worker, principal_id,
                capability_token_id, room_id, thread_id, correlation_id, retry_of, requested_run_id, waiting_approval_id,
                wait_expires_at as "wait_expires_at: Time", not_before as "not_before: Time",
                deadline as "deadline: Time", created_at, started_at as "started_at: Time",
                ended_at as "ended_at: Time", moved_at, succeeded_calls, failed_calls, denied_calls, created_sequence,
                last_sequence, last_seq, error
             from runs "# + $tail
            $(, $argument)*
        )
    };
}

impl Filter {
    fn statuses(&self) -> Vec<String> {
        let wanted = if self.statuses.is_empty() {
            RunStatus::ALL
        } else {
            &self.statuses
        };
        wanted.iter().map(ToString::to_string).collect()
    }
}

/// A page of runs, the youngest first.
///
/// States are looked up one by one in an index that is in order of creation, so a page costs the same however many runs there are.
/// Zones and lanes are in no index: whoever asks for one bounds the search by `from`, as [`reach`] tells.
pub async fn list(store: &Store, filter: &Filter) -> Result<Vec<Run>, StoreError> {
    let statuses = filter.statuses();
    let (zone, lane) = (filter.zone.map(Zone::as_str), filter.lane.map(Lane::as_str));
    let before = filter.before.unwrap_or(i64::MAX);
    let limit = i64::from(filter.limit);
    let page = match &filter.workspace {
        Some(workspace) => {
            select_runs!(
                "where (workspace_id, run_id) in (
                    select page.workspace_id, page.run_id
                    from unnest($1::text[]) as wanted (status)
                    cross join lateral (
                        select r.workspace_id, r.run_id from runs r
                        where r.workspace_id = $4 and r.status = wanted.status and r.created_sequence < $2
                            and r.created_sequence >= $5 and ($6::text is null or r.zone = $6)
                            and ($7::text is null or r.lane = $7)
                        order by r.created_sequence desc limit $3) as page)
                 order by created_sequence desc limit $3",
                &statuses,
                before,
                limit,
                workspace.as_str(),
                filter.from,
                zone,
                lane
            )
            .fetch_all(&store.pool)
            .await
        }
        None => {
            select_runs!(
                "where (workspace_id, run_id) in (
                    select page.workspace_id, page.run_id
                    from unnest($1::text[]) as wanted (status)
                    cross join lateral (
                        select r.workspace_id, r.run_id from runs r
                        where r.status = wanted.status and r.created_sequence < $2
                            and r.created_sequence >= $4 and ($5::text is null or r.zone = $5)
                            and ($6::text is null or r.lane = $6)
                        order by r.created_sequence desc limit $3) as page)
                 order by created_sequence desc limit $3",
                &statuses,
                before,
                limit,
                filter.from,
                zone,
                lane
            )
            .fetch_all(&store.pool)
            .await
        }
    };
    page.map_err(StoreError::during("list runs"))
}

/// The `created_sequence` of the `most`-th of the runs that `filter` means apart from zone and lane; none where there are fewer.
///
/// Read from an index alone, so that a search for what is in no index can be bounded.
pub async fn reach(store: &Store, filter: &Filter, most: u32) -> Result<Option<i64>, StoreError> {
    let statuses = filter.statuses();
    let before = filter.before.unwrap_or(i64::MAX);
    let most = i64::from(most);
    let reached = match &filter.workspace {
        Some(workspace) => {
            sqlx::query_scalar!(
                "select page.created_sequence
                 from unnest($1::text[]) as wanted (status)
                 cross join lateral (
                    select r.created_sequence from runs r
                    where r.workspace_id = $4 and r.status = wanted.status and r.created_sequence < $2
                    order by r.created_sequence desc limit $3) as page
                 order by page.created_sequence desc offset $3 - 1 limit 1",
                &statuses,
                before,
                most,
                workspace.as_str()
            )
            .fetch_optional(&store.pool)
            .await
        }
        None => {
            sqlx::query_scalar!(
                "select page.created_sequence
                 from unnest($1::text[]) as wanted (status)
                 cross join lateral (
                    select r.created_sequence from runs r
                    where r.status = wanted.status and r.created_sequence < $2
                    order by r.created_sequence desc limit $3) as page
                 order by page.created_sequence desc offset $3 - 1 limit 1",
                &statuses,
                before,
                most
            )
            .fetch_optional(&store.pool)
            .await
        }
    };
    reached.map_err(StoreError::during("bound a search for runs"))
}

/// One run; `None` when there is none of this id (or it is not projected yet).
pub async fn show(
    store: &Store,
    workspace: &WorkspaceId,
    run: &RunId,
) -> Result<Option<Run>, StoreError> {
    select_runs!(
        "where workspace_id = $1 and run_id = $2",
        workspace.as_str(),
        run.as_str()
    )
    .fetch_optional(&store.pool)
    .await
    .map_err(StoreError::during("read a run"))
}

struct LiveRow {
    workspace_id: String,
    run_id: String,
    status: String,
    attempt: i32,
    worker: Option<String>,
    lease: Option<i64>,
    last_sequence: i64,
    moved_at: Time,
    deadline: Option<Time>,
}

impl LiveRow {
    fn read(self, operation: &'static str) -> Result<LiveRun, StoreError> {
        let unreadable = |column, value: &str| StoreError::unreadable(operation, column, value);
        Ok(LiveRun {
            workspace_id: WorkspaceId::new(&self.workspace_id)
                .map_err(|_| unreadable("workspace_id", &self.workspace_id))?,
            run_id: RunId::new(&self.run_id).map_err(|_| unreadable("run_id", &self.run_id))?,
            status: self
                .status
                .parse()
                .map_err(|_| unreadable("status", &self.status))?,
            attempt: u32::try_from(self.attempt).unwrap_or(0),
            worker: self
                .worker
                .map(|worker| WriterId::new(&worker).map_err(|_| unreadable("worker", &worker)))
                .transpose()?,
            lease: self.lease.and_then(|lease| u64::try_from(lease).ok()),
            last_sequence: u64::try_from(self.last_sequence).unwrap_or(0),
            moved_at: self.moved_at.into(),
            deadline: self.deadline.map(Into::into),
        })
    }
}

macro_rules! select_live {
    ($operation:literal, $store:expr, $tail:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            LiveRow,
            r#"select workspace_id, run_id, status, attempt, worker, lease, last_sequence, moved_at,
                deadline as "deadline: Time"
             from runs "# + $tail
            $(, $argument)*
        )
        .fetch_all(&$store.pool)
        .await
        .map_err(StoreError::during($operation))?
        .into_iter()
        .map(|row| row.read($operation))
        .collect()
    };
}

/// Live runs (queued or running, and not put off until after `now`) whose last commit was stored before `before`; the longest first.
///
/// One page of them: `limit` at most, those that come after `last`, the last one of the page before.
pub async fn not_moved_since(
    store: &Store,
    before: Timestamp,
    now: Timestamp,
    last: Option<&LiveRun>,
    limit: u32,
) -> Result<Vec<LiveRun>, StoreError> {
    let (moved_at, workspace, run) = last.map_or((Timestamp::from_micros(0), "", ""), |last| {
        (
            last.moved_at,
            last.workspace_id.as_str(),
            last.run_id.as_str(),
        )
    });
    select_live!(
        "look for runs that do not move",
        store,
        "where status in ('queued', 'running') and moved_at < $1 and (not_before is null or not_before <= $2)
            and (moved_at, workspace_id, run_id) > ($3, $4, $5)
         order by moved_at, workspace_id, run_id limit $6",
        parameter(before),
        parameter(now),
        parameter(moved_at),
        workspace,
        run,
        i64::from(limit)
    )
}

/// The runs that a worker holds.
pub async fn held_by(
    store: &Store,
    worker: &WriterId,
    limit: u32,
) -> Result<Vec<LiveRun>, StoreError> {
    select_live!(
        "look for the runs of a worker",
        store,
        "where status = 'running' and worker = $1 order by created_sequence limit $2",
        worker.as_str(),
        i64::from(limit)
    )
}

/// Runs that have not ended though their deadline has come by `now`.
pub async fn overdue(
    store: &Store,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<LiveRun>, StoreError> {
    select_live!(
        "look for runs that are overdue",
        store,
        "where ended_at is null and deadline is not null and deadline <= $1 order by deadline limit $2",
        parameter(now),
        i64::from(limit)
    )
}
