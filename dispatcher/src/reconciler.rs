//! Mends what crashes left: runs that nobody moves any more are woken again.
//!
//! Waking too early does no harm to a history (the fence), but it could make a healthy call's outcome unknown.
//! So a run is woken only when its last writer is gone or says that it does not hold it, and only as it was last seen:
//! a run that went on in the meantime ignores the wake-up.
//!
//! - [`watch_workers`] notices a dead worker within a second and wakes what it held, from the queue and the stream alone.
//! - [`find_orphans`] looks, with the read tables' help, for runs that stand still although nobody holds them,
//!   and lets approvals lapse whose time has come.
//! - [`forget_leftovers`] forgets secrets that whoever ended their run did not.

use std::{collections::HashMap, time::Duration};

use gatewright_bus::{Fleet, LoadError, Loaded, clock, presence::Presence};
use gatewright_schemas::{
    Command, CommandMessage, RunId, RunStatus, StoredCommit, Timestamp, Wake, WorkerHeartbeat,
    WorkspaceId, WriterId,
};
use gatewright_store::{Store, approval, run};
use tokio_util::sync::CancellationToken;

use crate::{Dispatcher, HandleError, admission::ON_ITS_OWN};

/// How often workers are asked whether they live.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How often in a row nobody must answer for a worker before it counts as dead. A lost connection comes back sooner.
const SILENT_ROUNDS: u32 = 3;
/// How long after its own connection came back a dispatcher believes in no deaths: workers are reconnecting, too.
const GRACE: Duration = Duration::from_secs(5);
/// How often orphaned runs are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How often secrets are looked for that outlived their run.
const LEFTOVERS_EVERY: Duration = Duration::from_mins(10);
/// How long a run may stand still before it is looked at.
const STILL: Duration = Duration::from_mins(1);
/// Runs and approvals that are looked at in one round.
const AT_A_TIME: u32 = 500;
/// Runs under way that are looked at when a worker died, at most.
const MOST: usize = 100_000;

/// What is known of a worker.
struct Known {
    heartbeat: WorkerHeartbeat,
    /// How often in a row nobody answered for it.
    silent_rounds: u32,
}

/// Watches the workers, until `shutdown`, and wakes the runs of those that die, sign off or start anew.
pub async fn watch_workers(fleet: Fleet, shutdown: CancellationToken) {
    let mut known: HashMap<WriterId, Known> = HashMap::new();
    let mut connected_since = tokio::time::Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => {}
            () = shutdown.cancelled() => return,
        }
        if !fleet.is_connected() {
            connected_since = tokio::time::Instant::now();
            continue;
        }
        let listed = match fleet.list_workers().await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::debug!(%error, "the workers could not be listed");
                continue;
            }
        };
        let gone = whose_runs_to_wake(&mut known, listed);
        let asked = known.values_mut().map(|worker| async {
            // That nobody listens is told at once. One that hangs must not keep the others' runs waiting.
            let asked = fleet.ping(&worker.heartbeat.worker_id, "");
            match tokio::time::timeout(ASK_EVERY, asked).await {
                Ok(Presence::Gone) => worker.silent_rounds += 1,
                Ok(Presence::Alive { .. } | Presence::Silent) | Err(_) => worker.silent_rounds = 0,
            }
        });
        futures::future::join_all(asked).await;
        let believed = connected_since.elapsed() > GRACE;
        let dead = known
            .values()
            .filter(|worker| believed && worker.silent_rounds >= SILENT_ROUNDS)
            .map(|worker| worker.heartbeat.clone());
        for worker in gone.into_iter().chain(dead.collect::<Vec<_>>()) {
            match bury_worker(&fleet, &worker).await {
                Ok(()) => {
                    known.remove(&worker.worker_id);
                }
                Err(error) => {
                    tracing::warn!(%error, worker = %worker.worker_id, "a worker's runs could not be woken, trying again");
                    // Silent for long enough already: it is looked at again in the next round.
                    known.insert(
                        worker.worker_id.clone(),
                        Known {
                            heartbeat: worker,
                            silent_rounds: SILENT_ROUNDS,
                        },
                    );
                }
            }
        }
    }
}

/// Takes over the list; answers with those who are not on it any more, or are on it as another process.
fn whose_runs_to_wake(
    known: &mut HashMap<WriterId, Known>,
    listed: Vec<WorkerHeartbeat>,
) -> Vec<WorkerHeartbeat> {
    let mut gone = Vec::new();
    let mut before = std::mem::take(known);
    for heartbeat in listed {
        let silent_rounds = match before.remove(&heartbeat.worker_id) {
            Some(old) if old.heartbeat.started_at == heartbeat.started_at => old.silent_rounds,
            Some(old) => {
                gone.push(old.heartbeat);
                0
            }
            None => 0,
        };
        known.insert(
            heartbeat.worker_id.clone(),
            Known {
                heartbeat,
                silent_rounds,
            },
        );
    }
    gone.extend(before.into_values().map(|old| old.heartbeat));
    gone
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

/// Wakes every run that the worker may have held, and strikes it off the list.
async fn bury_worker(fleet: &Fleet, worker: &WorkerHeartbeat) -> Result<(), MendError> {
    let name = &worker.worker_id;
    tracing::info!(worker.id = %name, "a worker is gone, waking what it held");
    let listed = fleet.list_workers().await?;
    let is_known = |writer: &WriterId| listed.iter().any(|worker| worker.worker_id == *writer);
    let reason = format!("gone-{name}-{}", worker.started_at.as_micros());
    let mut woken = 0_usize;
    for wake in fleet.wakes_under_way(MOST).await? {
        match wake_if_held_by(fleet, name, &is_known, &wake, &reason).await {
            Ok(done) => woken += usize::from(done),
            Err(error) if error.is_transient() => return Err(error.into()),
            // One history that cannot be read must not keep the others from moving on.
            Err(error) => tracing::error!(run.id = %wake.run_id, %error, "a run is left alone"),
        }
    }
    let is_back = fleet
        .list_workers()
        .await?
        .iter()
        .any(|w| w.worker_id == *name && w.started_at != worker.started_at);
    if !is_back {
        fleet.strike_off(name).await?;
    }
    tracing::info!(worker.id = %name, runs = woken, "woke what a worker held");
    Ok(())
}

/// Wakes the run of a wake-up that is under way, if the worker `name` may have held it; answers whether it did.
async fn wake_if_held_by(
    fleet: &Fleet,
    name: &WriterId,
    is_known: impl Fn(&WriterId) -> bool,
    wake: &Wake,
    reason: &str,
) -> Result<bool, LoadError> {
    let Some(last) = fleet.last_commit(&wake.workspace_id, &wake.run_id).await? else {
        return Ok(false);
    };
    let orphaned = match last.status {
        // Of a run that it had taken over and not yet moved, the last writer is one who died before.
        Some(RunStatus::Running) => {
            (last.writer == *name || !is_known(&last.writer)) && is_let_go(fleet, &last).await
        }
        // Taken, perhaps by this worker, and not begun. One that has begun meanwhile ignores the wake-up.
        Some(RunStatus::Queued) => true,
        _ => false,
    };
    if orphaned {
        wake_as_seen(fleet, &last, reason).await?;
    }
    Ok(orphaned)
}

/// Whether the worker that wrote last does not hold the run any more: it is gone, or says so.
async fn is_let_go(fleet: &Fleet, last: &StoredCommit) -> bool {
    let run = format!("{}/{}", last.commit.workspace_id, last.commit.run_id);
    matches!(
        fleet.ping(&last.writer, &run).await,
        Presence::Gone | Presence::Alive { holds: false }
    )
}

/// Wakes the run if it still stands where it was seen.
async fn wake_as_seen(fleet: &Fleet, seen: &StoredCommit, reason: &str) -> Result<(), LoadError> {
    let (workspace_id, run_id) = (seen.commit.workspace_id.clone(), seen.commit.run_id.clone());
    let Loaded { state, fence } = fleet.load(&workspace_id, &run_id).await?;
    let Some(progress) = state.progress.filter(|_| fence == seen.sequence) else {
        return Ok(());
    };
    let wake = Wake {
        workspace_id,
        run_id,
        seen: fence,
        hint: None,
    };
    fleet
        .wake(progress.created.zone, progress.created.lane, &wake, reason)
        .await;
    Ok(())
}

/// Forgets secrets that outlived their run, again and again until `shutdown`.
pub(crate) async fn watch_leftovers(fleet: Fleet, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LEFTOVERS_EVERY) => {}
            () = shutdown.cancelled() => return,
        }
        match forget_leftovers(&fleet).await {
            Ok(0) => {}
            Ok(runs) => tracing::warn!(runs, "forgot secrets that had outlived their run"),
            Err(error) => {
                tracing::warn!(%error, "secrets that outlived their run could not be looked for, trying again");
            }
        }
    }
}

/// Forgets the secrets of runs that have ended; tells of how many.
///
/// Secrets without a run are left: the submission that they belong to is about to be handed out again.
pub async fn forget_leftovers(fleet: &Fleet) -> Result<usize, HandleError> {
    let mut forgotten = 0;
    for kept in fleet.kept_secrets().await? {
        let last = fleet.last_commit(&kept.workspace_id, &kept.run_id).await?;
        let status = last.and_then(|last| last.status);
        if status.is_some_and(RunStatus::is_terminal) {
            fleet.forget_kept(&kept).await;
            forgotten += 1;
        }
    }
    Ok(forgotten)
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
    let before = Timestamp::from_micros(
        now.as_micros() - i64::try_from(STILL.as_micros()).unwrap_or(i64::MAX),
    );
    for run in run::not_moved_since(store, before, now, AT_A_TIME).await? {
        match wake_if_orphaned(fleet, &run.workspace_id, &run.run_id, before, now).await {
            Ok(()) => {}
            Err(MendError::Load(error)) if !error.is_transient() => {
                tracing::error!(run.id = %run.run_id, %error, "a run is left alone");
            }
            Err(error) => return Err(error.into()),
        }
    }
    for lapsed in approval::lapsed(store, now, AT_A_TIME).await? {
        let command = CommandMessage {
            issued_by: ON_ITS_OWN.into(),
            command: Command::ExpireApproval {
                approval_id: lapsed.approval_id.parse()?,
            },
        };
        fleet
            .tell(
                &lapsed.workspace_id.parse()?,
                &lapsed.run_id.parse()?,
                &command,
            )
            .await;
    }
    Ok(())
}

/// Wakes the run if it really stands still and nobody holds it: the read tables lag, the stream tells.
async fn wake_if_orphaned(
    fleet: &Fleet,
    workspace: &WorkspaceId,
    run: &RunId,
    before: Timestamp,
    now: Timestamp,
) -> Result<(), MendError> {
    let Some(last) = fleet.last_commit(workspace, run).await? else {
        return Ok(());
    };
    let orphaned = last.stored_at < before
        && match last.status {
            Some(RunStatus::Running) => is_let_go(fleet, &last).await,
            Some(RunStatus::Queued) => is_out_of_queue(fleet, &last).await?,
            _ => false,
        };
    if orphaned {
        tracing::warn!(run.id = %run, "a run stands still and nobody holds it, waking it");
        let reason = format!("orphan-{}", now.as_micros() / 60_000_000);
        wake_as_seen(fleet, &last, &reason).await?;
    }
    Ok(())
}

/// Whether no wake-up of the run can be in its queue any more.
async fn is_out_of_queue(fleet: &Fleet, last: &StoredCommit) -> Result<bool, MendError> {
    let (workspace, run) = (&last.commit.workspace_id, &last.commit.run_id);
    let Some(progress) = fleet.load(workspace, run).await?.state.progress else {
        return Ok(false);
    };
    let created = &progress.created;
    // A run that was put off is queued only when its time has come.
    let since = created
        .submission
        .not_before
        .map_or(last.stored_at, |due| due.max(last.stored_at));
    Ok(fleet.queue_lost(created.zone, created.lane, since).await?)
}
