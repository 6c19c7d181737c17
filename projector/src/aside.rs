//! What stands beside the stream of events: workers' heartbeats and dead letters.

use std::time::Duration;

use gatewright_bus::Fleet;
use gatewright_schemas::Timestamp;
use gatewright_store::{Store, dead_letter, worker};

/// How often the tables are brought up to date.
const EVERY: Duration = Duration::from_secs(2);
/// Dead letters that are read at once.
const PAGE: usize = 200;
/// A worker that was silent for so long is taken off the table.
const FORGET_AFTER: Duration = Duration::from_hours(24);

/// Copies the workers' heartbeats into the table `workers`, until it is dropped. What fails is tried again the next time.
///
/// Several may do this at once: the latest heartbeat stays.
pub async fn copy_workers(fleet: &Fleet, store: &Store, now: impl Fn() -> Timestamp) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if let Err(reason) = copy_once(fleet, store, now()).await {
            tracing::warn!(%reason, "the table of workers is not brought up to date");
        }
    }
}

async fn copy_once(fleet: &Fleet, store: &Store, now: Timestamp) -> Result<(), String> {
    let heartbeats = fleet
        .list_workers()
        .await
        .map_err(|error| error.to_string())?;
    for heartbeat in &heartbeats {
        worker::upsert(store, heartbeat)
            .await
            .map_err(|error| error.to_string())?;
    }
    let forget_before = i64::try_from(FORGET_AFTER.as_micros()).unwrap_or(i64::MAX);
    let before = Timestamp::from_micros(now.as_micros().saturating_sub(forget_before));
    worker::forget(store, before)
        .await
        .map_err(|error| error.to_string())?;
    Ok(())
}

/// Copies the dead letters into the table `dead_letters`, until it is dropped. What fails is tried again the next time.
///
/// Several may do this at once: a letter that is there already stays as it is.
pub async fn copy_dead_letters(fleet: &Fleet, store: &Store) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if let Err(reason) = copy_letters_once(fleet, store).await {
            tracing::warn!(%reason, "the table of dead letters is not brought up to date");
        }
    }
}

async fn copy_letters_once(fleet: &Fleet, store: &Store) -> Result<(), String> {
    let mut last = dead_letter::last_sequence(store)
        .await
        .map_err(|error| error.to_string())?;
    loop {
        let page = fleet
            .dead_letters(None, last, PAGE)
            .await
            .map_err(|error| error.to_string())?;
        for stored in &page {
            dead_letter::upsert(store, stored.sequence, &stored.workspace_id, &stored.letter)
                .await
                .map_err(|error| error.to_string())?;
            last = stored.sequence;
        }
        if page.len() < PAGE {
            return Ok(());
        }
    }
}
