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

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    time::Duration,
};

use gatewright_bus::{
    Fleet, LoadError, Loaded, clock,
    presence::{LiveWorkers, Presence},
    queue::{LONG_POLL, LongestWaiting},
    telemetry,
};
use gatewright_schemas::{
    Command, CommandMessage, Lane, RunId, RunStatus, StoredCommit, Timestamp, Wake,
    WorkerHeartbeat, WorkspaceId, WriterId, Zone,
};
use gatewright_store::{Store, approval, run};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Dispatcher, HandleError, admission::ON_ITS_OWN, roster::Roster};

/// How often workers are asked whether they live.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How often it is looked again for what a worker that is gone was handed.
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(2);
/// How often orphaned runs are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How often secrets are looked for that outlived their run.
const LEFTOVERS_EVERY: Duration = Duration::from_mins(10);
/// How long a run may stand still before it is looked at.
const STILL: Duration = Duration::from_mins(1);
/// Runs and approvals that are read at a time.
const AT_A_TIME: u32 = 500;
/// Runs under way that are looked at when a worker died, at most.
const MOST: usize = 100_000;

/// Watches the workers, until `shutdown`, and wakes the runs of those that die, sign off or start anew.
pub async fn watch_workers(fleet: Fleet, shutdown: CancellationToken) {
    let workers = LiveWorkers::watch(&fleet);
    let mut roster = Roster::new(Instant::now());
    let mut buried = Buried::default();
    let mut connection = fleet.times_connected();
    loop {
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => {}
            () = shutdown.cancelled() => return,
        }
        let connection_now = fleet.times_connected();
        if !fleet.is_connected() || connection_now != connection {
            connection = connection_now;
            roster.reconnected(Instant::now());
            continue;
        }
        let gone = roster.update(workers.now());
        let names = roster.names();
        let asked = names.iter().map(|name| async {
            // That nobody listens is told at once. One that hangs must not keep the others' runs waiting.
            let asked = fleet.ping(name, "");
            tokio::time::timeout(ASK_EVERY, asked).await != Ok(Presence::Gone)
        });
        let answers = futures::future::join_all(asked).await;
        let now = Instant::now();
        for (name, is_there) in names.iter().zip(answers) {
            roster.heard(name, is_there, now);
        }
        let dead = roster.dead(now);
        for worker in gone.into_iter().chain(dead) {
            match bury_worker(&fleet, &worker).await {
                Ok(()) => {
                    workers.forget(&worker);
                    roster.forget(&worker.worker_id);
                    buried.add(worker, Instant::now());
                }
                Err(error) => {
                    tracing::warn!(%error, worker = %worker.worker_id, "a worker's runs could not be woken, trying again");
                    roster.keep_as_dead(worker, now);
                }
            }
        }
        buried.look_again(&fleet).await;
    }
}

/// Workers that were buried lately. What they had asked the queue for may be handed to them still.
#[derive(Default)]
struct Buried {
    /// Each with when it was buried, and when it was last looked what it was handed.
    workers: Vec<(WorkerHeartbeat, Instant, Instant)>,
}

impl Buried {
    fn add(&mut self, worker: WorkerHeartbeat, now: Instant) {
        self.workers.push((worker, now, now));
    }

    /// Wakes what they were handed since, for as long as a request of theirs may stand.
    async fn look_again(&mut self, fleet: &Fleet) {
        let now = Instant::now();
        for (worker, buried, looked) in &mut self.workers {
            if now - *looked < LOOK_AGAIN_EVERY {
                continue;
            }
            *looked = now;
            // Another reason each time: it may have been handed the run's last wake-up, too.
            let reason = format!("{}-{}", reason(worker), (now - *buried).as_millis());
            match wake_held(fleet, &worker.worker_id, &reason).await {
                Ok(0) => {}
                Ok(runs) => {
                    tracing::info!(worker.id = %worker.worker_id, runs, "woke what was handed to a worker that is gone");
                }
                Err(error) => {
                    tracing::warn!(%error, worker.id = %worker.worker_id, "cannot see what was handed to a worker that is gone");
                }
            }
        }
        let for_long = LONG_POLL + LOOK_AGAIN_EVERY;
        self.workers
            .retain(|(_, buried, _)| now - *buried < for_long);
    }
}

/// Why what a worker held is woken: another worker of its name, later, is another reason.
fn reason(gone: &WorkerHeartbeat) -> String {
    format!("gone-{}-{}", gone.worker_id, gone.started_at.as_micros())
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
    let woken = wake_held(fleet, name, &reason(worker)).await?;
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

/// Wakes every run that the worker may have held; tells of how many.
async fn wake_held(fleet: &Fleet, name: &WriterId, reason: &str) -> Result<usize, MendError> {
    let listed = fleet.list_workers().await?;
    let is_known = |writer: &WriterId| listed.iter().any(|worker| worker.worker_id == *writer);
    let mut woken = 0_usize;
    for wake in fleet.wakes_under_way(MOST).await? {
        match wake_if_held_by(fleet, name, &is_known, &wake, reason).await {
            Ok(done) => woken += usize::from(done),
            Err(error) if error.is_transient() => return Err(error.into()),
            // One history that cannot be read must not keep the others from moving on.
            Err(error) => tracing::error!(run.id = %wake.run_id, %error, "a run is left alone"),
        }
    }
    Ok(woken)
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
    let presence = ask_about(fleet, last).await;
    matches!(presence, Presence::Gone | Presence::Alive { holds: false })
}

/// Asks the worker that wrote last whether it lives and holds the run.
async fn ask_about(fleet: &Fleet, last: &StoredCommit) -> Presence {
    let run = format!("{}/{}", last.commit.workspace_id, last.commit.run_id);
    fleet.ping(&last.writer, &run).await
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
        let round = async {
            let now = clock::now();
            wake_orphans(&dispatcher.fleet, &store, now).await?;
            telemetry::approvals_waiting(approval::count_waiting(&store).await?);
            let_approvals_lapse(&dispatcher.fleet, &store, now).await
        };
        match shutdown.run_until_cancelled(round).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::warn!(%error, "orphaned runs could not be looked for, trying again");
            }
        }
    }
}

/// Why a round of looking broke off.
type LookError = Box<dyn std::error::Error + Send + Sync>;

/// Wakes every run that stood still for a minute before `now` although nobody holds it.
pub async fn wake_orphans(fleet: &Fleet, store: &Store, now: Timestamp) -> Result<(), LookError> {
    let before = now.minus(STILL);
    let listed = fleet.list_workers().await?;
    let listed: HashSet<WriterId> = listed.into_iter().map(|w| w.worker_id).collect();
    let mut still = StandingStill {
        fleet,
        listed,
        waiting: HashMap::new(),
        before,
        now,
    };
    let mut last = None;
    loop {
        let page = run::not_moved_since(store, before, now, last.as_ref(), AT_A_TIME).await?;
        for run in &page {
            match still.wake(&run.workspace_id, &run.run_id).await {
                Ok(()) => {}
                Err(MendError::Load(error)) if !error.is_transient() => {
                    tracing::error!(run.id = %run.run_id, %error, "a run is left alone");
                }
                Err(error) => return Err(error.into()),
            }
        }
        last = match page.into_iter().next_back() {
            Some(run) => Some(run),
            None => return Ok(()),
        };
    }
}

/// Has every approval expire whose time has come by `now`.
async fn let_approvals_lapse(
    fleet: &Fleet,
    store: &Store,
    now: Timestamp,
) -> Result<(), LookError> {
    let mut last = None;
    loop {
        let page = approval::lapsed(store, now, last.as_ref(), AT_A_TIME).await?;
        for lapsed in &page {
            let command = CommandMessage {
                issued_by: ON_ITS_OWN.into(),
                command: Command::ExpireApproval {
                    approval_id: lapsed.approval_id.parse()?,
                },
            };
            let (workspace, run) = (lapsed.workspace_id.parse()?, lapsed.run_id.parse()?);
            fleet.tell(&workspace, &run, &command).await;
        }
        last = match page.into_iter().next_back() {
            Some(lapsed) => Some(lapsed),
            None => return Ok(()),
        };
    }
}

/// How runs are looked at that seem to stand still: the read tables lag, the stream tells.
struct StandingStill<'a> {
    fleet: &'a Fleet,
    /// The workers that [`watch_workers`] has not struck off.
    listed: HashSet<WriterId>,
    /// The queues as they were when the first run was looked for in each.
    waiting: HashMap<(Zone, Lane), LongestWaiting>,
    before: Timestamp,
    now: Timestamp,
}

impl StandingStill<'_> {
    /// Wakes the run if it really stands still and nobody holds it.
    async fn wake(&mut self, workspace: &WorkspaceId, run: &RunId) -> Result<(), MendError> {
        let Some(last) = self.fleet.last_commit(workspace, run).await? else {
            return Ok(());
        };
        let orphaned = last.stored_at < self.before
            && match last.status {
                Some(RunStatus::Running) => self.is_let_go(&last).await,
                Some(RunStatus::Queued) => self.is_out_of_queue(&last).await?,
                _ => false,
            };
        if orphaned {
            tracing::warn!(run.id = %run, "a run stands still and nobody holds it, waking it");
            let reason = format!("orphan-{}", self.now.as_micros() / 60_000_000);
            wake_as_seen(self.fleet, &last, &reason).await?;
        }
        Ok(())
    }

    /// Whether the worker that wrote last does not hold the run any more. One that nobody answers for and that is still on
    /// the list may be reconnecting; whether it is dead, the watch over the workers tells.
    async fn is_let_go(&self, last: &StoredCommit) -> bool {
        match ask_about(self.fleet, last).await {
            Presence::Alive { holds } => !holds,
            Presence::Gone => !self.listed.contains(&last.writer),
            Presence::Silent => false,
        }
    }

    /// Whether no wake-up of the run is in its queue any more.
    async fn is_out_of_queue(&mut self, last: &StoredCommit) -> Result<bool, MendError> {
        let (workspace, run) = (&last.commit.workspace_id, &last.commit.run_id);
        let Some(progress) = self.fleet.load(workspace, run).await?.state.progress else {
            return Ok(false);
        };
        let created = &progress.created;
        // A run that was put off is queued only when its time has come.
        let since = created
            .submission
            .not_before
            .map_or(last.stored_at, |due| due.max(last.stored_at));
        let waiting = match self.waiting.entry((created.zone, created.lane)) {
            Entry::Occupied(waiting) => waiting.into_mut(),
            Entry::Vacant(unknown) => {
                let waiting = self.fleet.longest_waiting(created.zone, created.lane).await;
                unknown.insert(waiting?)
            }
        };
        Ok(waiting.lack(workspace, run, since))
    }
}
