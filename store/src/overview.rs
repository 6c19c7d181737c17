//! How the fleet does at a glance. Every query reads a bounded part of an index, and says where it stopped.

use gatewright_schemas::{RunStatus, Timestamp, WorkspaceId};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Store, StoreError, Time, time::parameter};

/// Runs in one state, counted up to 10,000.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StateCount {
    /// The state.
    pub status: String,
    /// How many there are, at least.
    pub runs: i64,
    /// Whether there are more.
    pub or_more: bool,
}

/// Runs that were created in one bucket of time, by the state that they are in now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Created {
    /// When the bucket begins, in seconds since 1970.
    pub at_s: i64,
    /// The state.
    pub status: String,
    /// How many.
    pub runs: i64,
}

/// What the gate did not allow, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Refusals {
    /// The reason code.
    pub reason_code: String,
    /// `deny` or `require_approval`.
    pub decision: String,
    /// Whether that stopped the calls; false in shadow mode.
    pub blocked: bool,
    /// How many.
    pub decisions: i64,
    /// The latest.
    pub last_at: Time,
}

/// The approvals that wait, counted up to 1,000.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Waiting {
    /// How many, at least.
    pub approvals: i64,
    /// Whether there are more.
    pub or_more: bool,
    /// When the first of them lapses.
    pub next_expires_at: Option<Time>,
}

/// A run that waits for a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Queued {
    /// Its workspace.
    pub workspace_id: String,
    /// The run.
    pub run_id: String,
    /// What people call it.
    pub title: Option<String>,
    /// Its zone.
    pub zone: String,
    /// Its lane.
    pub lane: Option<String>,
    /// Since when it waits.
    pub created_at: Time,
}

fn all_states() -> Vec<String> {
    RunStatus::ALL.iter().map(ToString::to_string).collect()
}

/// Runs by state.
pub async fn states(
    store: &Store,
    workspace: Option<&WorkspaceId>,
) -> Result<Vec<StateCount>, StoreError> {
    let counted = match workspace {
        None => {
            sqlx::query_as!(
                StateCount,
                r#"select status as "status!", runs as "runs!", or_more as "or_more!" from runs_by_state"#
            )
            .fetch_all(&store.pool)
            .await
        }
        Some(workspace) => {
            sqlx::query_as!(
                StateCount,
                r#"select s.status as "status!", least(n.runs, 10000) as "runs!", n.runs > 10000 as "or_more!"
                 from unnest($2::text[]) as s (status)
                 cross join lateral (
                    select count(*) as runs from (
                        select 1 from runs r where r.workspace_id = $1 and r.status = s.status
                        order by r.created_sequence limit 10001) as some_runs) as n"#,
                workspace.as_str(),
                &all_states()
            )
            .fetch_all(&store.pool)
            .await
        }
    };
    counted.map_err(StoreError::during("count runs by state"))
}

/// Runs with a `created_sequence` of at least `from` that were created since `since`, in buckets of `bucket_s` seconds.
///
/// The caller bounds the work by `from`, as [`crate::run::reach`] tells it for `most`. The order and the limit, which change nothing
/// then, keep the planner with the index that is in order of creation.
pub async fn created(
    store: &Store,
    workspace: Option<&WorkspaceId>,
    from: i64,
    since: Timestamp,
    bucket_s: i64,
    most: u32,
) -> Result<Vec<Created>, StoreError> {
    let (since, most) = (parameter(since), i64::from(most));
    let counted = match workspace {
        None => {
            sqlx::query_as!(
                Created,
                r#"select (extract(epoch from r.created_at)::bigint / $3) * $3 as "at_s!", s.status as "status!", count(*) as "runs!"
                 from unnest($4::text[]) as s (status)
                 cross join lateral (
                    select created_at from runs where status = s.status and created_sequence >= $1
                    order by created_sequence desc limit $5) as r
                 where r.created_at >= $2
                 group by 1, 2 order by 1, 2"#,
                from,
                since,
                bucket_s,
                &all_states(),
                most
            )
            .fetch_all(&store.pool)
            .await
        }
        Some(workspace) => {
            sqlx::query_as!(
                Created,
                r#"select (extract(epoch from r.created_at)::bigint / $3) * $3 as "at_s!", s.status as "status!", count(*) as "runs!"
                 from unnest($4::text[]) as s (status)
                 cross join lateral (
                    select created_at from runs where workspace_id = $6 and status = s.status and created_sequence >= $1
                    order by created_sequence desc limit $5) as r
                 where r.created_at >= $2
                 group by 1, 2 order by 1, 2"#,
                from,
                since,
                bucket_s,
                &all_states(),
                most,
                workspace.as_str()
            )
            .fetch_all(&store.pool)
            .await
        }
    };
    counted.map_err(StoreError::during("count runs over time"))
}

/// When the run with this `created_sequence` was created; none where there is no such run.
pub async fn created_at(store: &Store, sequence: i64) -> Result<Option<Timestamp>, StoreError> {
    let found = sqlx::query_scalar!(
        "select r.created_at from unnest($2::text[]) as s (status)
         join runs r on r.status = s.status and r.created_sequence = $1 limit 1",
        sequence,
        &all_states()
    )
    .fetch_optional(&store.pool)
    .await;
    let found = found.map_err(StoreError::during("read when a run was created"))?;
    Ok(found.map(Into::into))
}

/// What the gate did not allow since `since`, by reason, the most frequent first: of the latest `most` such answers.
pub async fn refusals(
    store: &Store,
    workspace: Option<&WorkspaceId>,
    since: Timestamp,
    most: u32,
) -> Result<Vec<Refusals>, StoreError> {
    let (since, most) = (parameter(since), i64::from(most));
    let counted = match workspace {
        None => {
            sqlx::query_as!(
                Refusals,
                r#"select reason_code, decision, blocked, count(*) as "decisions!", max(decided_at) as "last_at!: Time"
                 from (select reason_code, decision, blocked, decided_at from policy_decisions
                    where decision <> 'allow' and decided_at >= $1
                    order by decided_at desc limit $2) as recent
                 group by reason_code, decision, blocked order by 4 desc, 1 limit 100"#,
                since,
                most
            )
            .fetch_all(&store.pool)
            .await
        }
        Some(workspace) => {
            sqlx::query_as!(
                Refusals,
                r#"select reason_code, decision, blocked, count(*) as "decisions!", max(decided_at) as "last_at!: Time"
                 from (select reason_code, decision, blocked, decided_at from policy_decisions
                    where decision <> 'allow' and workspace_id = $3 and decided_at >= $1
                    order by decided_at desc limit $2) as recent
                 group by reason_code, decision, blocked order by 4 desc, 1 limit 100"#,
                since,
                most,
                workspace.as_str()
            )
            .fetch_all(&store.pool)
            .await
        }
    };
    counted.map_err(StoreError::during("count what the gate refused"))
}

/// How many approvals wait.
pub async fn waiting(
    store: &Store,
    workspace: Option<&WorkspaceId>,
) -> Result<Waiting, StoreError> {
    let counted = match workspace {
        None => {
            sqlx::query_as!(
                Waiting,
                r#"select least(count(*), 1000) as "approvals!", count(*) > 1000 as "or_more!",
                    min(expires_at) as "next_expires_at: Time"
                 from (select expires_at from approvals where status = 'waiting'
                    order by expires_at limit 1001) as some_approvals"#
            )
            .fetch_one(&store.pool)
            .await
        }
        Some(workspace) => {
            sqlx::query_as!(
                Waiting,
                r#"select least(count(*), 1000) as "approvals!", count(*) > 1000 as "or_more!",
                    min(expires_at) as "next_expires_at: Time"
                 from (select expires_at from approvals where status = 'waiting' and workspace_id = $1
                    order by expires_at limit 1001) as some_approvals"#,
                workspace.as_str()
            )
            .fetch_one(&store.pool)
            .await
        }
    };
    counted.map_err(StoreError::during("count the approvals that wait"))
}

/// The runs that have waited longest for a worker, of those that are not put off until later; looked for among the 1,000 oldest.
pub async fn oldest_queued(
    store: &Store,
    workspace: Option<&WorkspaceId>,
    limit: u32,
) -> Result<Vec<Queued>, StoreError> {
    let limit = i64::from(limit);
    let found = match workspace {
        None => {
            sqlx::query_as!(
                Queued,
                "select workspace_id, run_id, title, zone, lane, created_at
                 from (select * from runs where status = 'queued' order by created_sequence limit 1000) as oldest
                 where not_before is null or not_before <= now()
                 order by created_sequence limit $1",
                limit
            )
            .fetch_all(&store.pool)
            .await
        }
        Some(workspace) => {
            sqlx::query_as!(
                Queued,
                "select workspace_id, run_id, title, zone, lane, created_at
                 from (select * from runs where workspace_id = $2 and status = 'queued'
                    order by created_sequence limit 1000) as oldest
                 where not_before is null or not_before <= now()
                 order by created_sequence limit $1",
                limit,
                workspace.as_str()
            )
            .fetch_all(&store.pool)
            .await
        }
    };
    found.map_err(StoreError::during("look for the oldest queued runs"))
}
