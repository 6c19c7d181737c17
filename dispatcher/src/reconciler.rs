//! Mends what crashes left: runs that nobody moves any more are woken again.
//!
//! Waking too early does no harm to a history (the fence), but it could make a healthy call's outcome unknown.
//! So a run is woken only when its last writer is gone or says that it does not hold it, and only as it was last seen:
//! a run that went on in the meantime ignores the wake-up.
//!
//! - [`watch_workers`] notices a dead worker within a second and wakes what it held, from the queue and the stream alone.
//! - [`find_orphans`] looks, with the read tables' help, for runs that stand still although nobody holds them,
//!   and lets approvals lapse whose time has come.

use std::{collections::HashMap, time::Duration};

use gatewright_bus::{Fleet, LoadError, Loaded, clock, presence::Presence};
use gatewright_schemas::{
    Command, CommandMessage, RunId, RunStatus, Wake, WorkerHeartbeat, WorkspaceId, WriterId,
};
use gatewright_store::Store;
use tokio_util::sync::CancellationToken;

use crate::{Dispatcher, admission::ON_ITS_OWN};

/// How often workers are asked whether they live.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How often in a row nobody must answer for a worker before it counts as dead. A lost connection comes back sooner.
const SILENT_ROUNDS: u32 = 3;
/// How long after its own connection came back a dispatcher believes in no deaths: workers are reconnecting, too.
const GRACE: Duration = Duration::from_secs(5);
/// How often orphaned runs are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How long a run may stand still before it is looked at.
const STILL: Duration = Duration::from_secs(60);
/// Runs under way that are looked at when a worker died, at most.
const MOST: usize = 100_000;

/// Watches the workers, until `shutdown`, and wakes the runs of those that die.
pub async fn watch_workers(fleet: Fleet, shutdown: CancellationToken) {
    let mut silent: HashMap<WriterId, u32> = HashMap::new();
    let mut connected_since = tokio::time::Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => {}
            () = shutdown.cancelled() => return,
        }
        if !fleet.is_connected() {
            connected_since = tokio::time::Instant::now();
            silent.clear();
            continue;
        }
        let workers = match fleet.list_workers().await {
            Ok(workers) => workers,
            Err(error) => {
                tracing::debug!(%error, "the workers could not be listed");
                continue;
            }
        };
        silent.retain(|worker, _| workers.iter().any(|w| w.worker_id == *worker));
        let pings = workers.into_iter().map(|worker| async {
            let presence = fleet.ping(&worker.worker_id, "").await;
            (worker, presence)
        });
        for (worker, presence) in futures::future::join_all(pings).await {
            if presence != Presence::Gone {
                silent.remove(&worker.worker_id);
                continue;
            }
            let rounds = silent.entry(worker.worker_id.clone()).or_default();
            *rounds += 1;
            if *rounds >= SILENT_ROUNDS && connected_since.elapsed() > GRACE {
                match bury_worker(&fleet, &worker).await {
                    Ok(()) => {
                        silent.remove(&worker.worker_id);
                    }
                    Err(error) => {
                        tracing::warn!(%error, worker = %worker.worker_id, "a dead worker's runs could not be woken, trying again")
                    }
                }
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum MendError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Pull(#[from] gatewright_bus::queue::PullError),
    #[error(transparent)]
    Layout(#[from] gatewright_bus::layout::LayoutError),
}

/// Wakes every run that the dead worker may have held, and strikes it off the list.
async fn bury_worker(fleet: &Fleet, worker: &WorkerHeartbeat) -> Result<(), MendError> {
    let name = &worker.worker_id;
    tracing::warn!(worker = %name, "a worker is gone, waking what it held");
    let mut woken = 0_usize;
    for wake in fleet.wakes_under_way(MOST).await? {
        let Some(last) = fleet.last_commit(&wake.workspace_id, &wake.run_id).await? else {
            continue;
        };
        let held = match last.status {
            Some(RunStatus::Running) => last.writer == *name,
            // Taken, perhaps by the dead worker, and not begun. A worker that has begun meanwhile ignores the wake-up.
            Some(RunStatus::Queued) => true,
            _ => false,
        };
        if held {
            let reason = format!("gone-{name}-{}", worker.started_at.as_micros());
            wake_as_seen(
                fleet,
                &wake.workspace_id,
                &wake.run_id,
                last.sequence,
                &reason,
            )
            .await?;
            woken += 1;
        }
    }
    fleet.strike_off(name).await?;
    tracing::info!(worker = %name, runs = woken, "woke the runs of a dead worker");
    Ok(())
}

/// Wakes the run if it still stands where it was seen.
async fn wake_as_seen(
    fleet: &Fleet,
    workspace: &WorkspaceId,
    run: &RunId,
    seen: u64,
    reason: &str,
) -> Result<(), LoadError> {
    let Loaded { state, fence } = fleet.load(workspace, run).await?;
    let Some(progress) = state.progress.filter(|_| fence == seen) else {
        return Ok(());
    };
    let wake = Wake {
        workspace_id: workspace.clone(),
        run_id: run.clone(),
        seen,
        hint: None,
    };
    fleet
        .wake(progress.created.zone, progress.created.lane, &wake, reason)
        .await;
    Ok(())
}

/// Looks for orphaned runs and lapsed approvals, until `shutdown`.
pub async fn find_orphans(dispatcher: Dispatcher, store: Store, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shutdown.cancelled() => return,
        }
        if let Err(error) = look(&dispatcher.fleet, &store).await {
            tracing::warn!(%error, "orphaned runs could not be looked for, trying again");
        }
    }
}

async fn look(
    fleet: &Fleet,
    store: &Store,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let now = clock::now();
    let before = gatewright_schemas::Timestamp::from_micros(
        now.as_micros() - i64::try_from(STILL.as_micros()).unwrap_or(i64::MAX),
    );
    for run in store.runs_standing_still(before, 500).await? {
        // The read tables lag; the stream tells how it really stands.
        let Some(last) = fleet.last_commit(&run.workspace_id, &run.run_id).await? else {
            continue;
        };
        let moved = last.stored_at > before;
        let orphaned = match last.status {
            Some(RunStatus::Running) => {
                let held = fleet
                    .ping(
                        &last.writer,
                        &format!("{}/{}", run.workspace_id, run.run_id),
                    )
                    .await;
                matches!(held, Presence::Gone | Presence::Alive { holds: false })
            }
            Some(RunStatus::Queued) => fleet.queue_lost(last.stored_at).await?,
            _ => false,
        };
        if orphaned && !moved {
            tracing::warn!(run.id = %run.run_id, "a run stands still and nobody holds it, waking it");
            let reason = format!("orphan-{}", now.as_micros() / 60_000_000);
            wake_as_seen(
                fleet,
                &run.workspace_id,
                &run.run_id,
                last.sequence,
                &reason,
            )
            .await?;
        }
    }
    for lapsed in store.approvals_lapsed(now, 500).await? {
        let command = CommandMessage {
            issued_by: ON_ITS_OWN.into(),
            command: Command::ExpireApproval {
                approval_id: lapsed.approval_id,
            },
        };
        fleet
            .tell(&lapsed.workspace_id, &lapsed.run_id, &command)
            .await;
    }
    Ok(())
}
