//! Workers: what each last said of itself.

use gatewright_schemas::{Timestamp, WorkerHeartbeat};
use serde::Serialize;

use crate::{Store, StoreError, Time, time::parameter};

/// A worker, as it last said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct Worker {
    pub worker_id: String,
    pub zones: Vec<String>,
    pub slots: i32,
    pub busy: i32,
    pub draining: bool,
    pub version: String,
    pub started_at: Time,
    pub seen_at: Time,
}

/// The workers that were heard of since `since`, by name.
pub async fn list(store: &Store, since: Timestamp, limit: u32) -> Result<Vec<Worker>, StoreError> {
    sqlx::query_as!(
        Worker,
        "select worker_id, zones, slots, busy, draining, version, started_at, seen_at
         from workers where seen_at >= $1 order by worker_id limit $2",
        parameter(since),
        i64::from(limit)
    )
    .fetch_all(&store.pool)
    .await
    .map_err(StoreError::during("list workers"))
}

/// Notes what a worker says of itself, unless something later is known.
pub async fn upsert(store: &Store, heartbeat: &WorkerHeartbeat) -> Result<(), StoreError> {
    let zones: Vec<String> = heartbeat.zones.iter().map(ToString::to_string).collect();
    sqlx::query!(
        "insert into workers (worker_id, zones, slots, busy, draining, version, started_at, seen_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (worker_id) do update set zones = excluded.zones, slots = excluded.slots, busy = excluded.busy,
            draining = excluded.draining, version = excluded.version, started_at = excluded.started_at,
            seen_at = excluded.seen_at
         where workers.seen_at <= excluded.seen_at",
        heartbeat.worker_id.as_str(),
        &zones,
        i32::try_from(heartbeat.slots).unwrap_or(i32::MAX),
        i32::try_from(heartbeat.busy).unwrap_or(i32::MAX),
        heartbeat.draining,
        heartbeat.version.replace('\0', "\u{fffd}"),
        parameter(heartbeat.started_at),
        parameter(heartbeat.seen_at)
    )
    .execute(&store.pool)
    .await
    .map_err(StoreError::during("note a worker's heartbeat"))?;
    Ok(())
}

/// Forgets the workers that were last heard of before `before`.
pub async fn forget(store: &Store, before: Timestamp) -> Result<u64, StoreError> {
    sqlx::query!("delete from workers where seen_at < $1", parameter(before))
        .execute(&store.pool)
        .await
        .map(|done| done.rows_affected())
        .map_err(StoreError::during("forget workers that are gone"))
}
