//! The dispatcher: turns submissions into runs, carries out commands, wakes runs, and mends what crashes left behind.
//!
//! It keeps no state: everything it does for a message it does before it acknowledges the message, in an order in which
//! a crash at any point is mended by the redelivery. Any number of replicas share the work.
//!
//! Read on in [`admission`] (a submission's way), [`secrets`] (what is taken out of it before), [`command`], [`approval`], [`authority`] (policy, capabilities, principals) and
//! [`reconciler`] (dead workers, orphaned runs).
//! What it serves to those who speak HTTP is in [`http`].
//! Not here: whether a call may happen (`policy`), what a run does next (`run`), and any tool.

pub mod admission;
pub mod approval;
pub mod authority;
pub mod command;
mod dead_letter;
mod external;
pub mod http;
mod pulse;
pub mod reconciler;
mod roster;
pub mod secrets;

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt as _};
use gatewright_bus::{
    AppendError, Fate, Fleet, LoadError,
    authority::{LiveSnapshot, TICK_EVERY},
    intake::{Intake, IntakeKind},
    layout::LayoutError,
    retry::Retry,
};
use gatewright_run::decide::Undecided;
use gatewright_schemas::{ReasonCode, Timestamp, event::UnreadableEvent};
use gatewright_store::Store;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Messages worked on at once.
const AT_ONCE: usize = 512;

/// How old the copy of the policy may be by which secrets are told when the work begins.
const FRESH: Duration = Duration::from_secs(30);
/// After how long another gets what a dispatcher that stops gives back: by then this one asks for messages no more.
const HAND_ON_AFTER: Duration = Duration::from_millis(500);
/// When nothing came for so long, nothing is on its way.
const QUIET: Duration = Duration::from_millis(100);
/// How often the queues are measured.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// How long to wait for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A dispatcher at work.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    fleet: Fleet,
    /// When the stream of submissions was made, by which messages without a run id get one.
    epoch: Timestamp,
    /// By which secrets are told.
    authority: LiveSnapshot,
    /// When the loops last came round.
    pulse: pulse::Pulse,
}

/// Why a message could not be worked on.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// A history could not be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A commit could not be appended.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The authority, or a run's secrets, could not be read or written.
    #[error(transparent)]
    Authority(#[from] LayoutError),
    /// An event of the authority cannot be read by this version.
    #[error(transparent)]
    Unreadable(#[from] UnreadableEvent),
    /// What an event says was written is not there: a replica lags.
    #[error("what was written of the authority before cannot be seen yet")]
    NotVisibleYet,
    /// It cannot be decided yet; or it is impossible, which is a fault of this program.
    #[error(transparent)]
    Undecided(#[from] Undecided),
}

impl HandleError {
    /// What becomes of the message.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Load(error) => error.fate(),
            Self::Append(error) => error.fate(),
            Self::Unreadable(_) => Fate::Outwait(ReasonCode::HistoryUnreadable),
            Self::Undecided(Undecided::Impossible(_)) => {
                Fate::DeadLetter(ReasonCode::InternalError)
            }
            // What cannot be done yet may be done later.
            Self::Undecided(_) | Self::Authority(_) | Self::NotVisibleYet => Fate::Retry,
        }
    }
}

impl Dispatcher {
    /// Joins the fleet's dispatchers. The fleet must be provisioned.
    pub async fn join(fleet: Fleet) -> Result<Self, LayoutError> {
        let epoch = fleet.intake_epoch().await?;
        Ok(Self {
            authority: LiveSnapshot::watch(&fleet),
            fleet,
            epoch,
            pulse: pulse::Pulse::default(),
        })
    }

    /// Works until `shutdown`, then finishes what it has begun. Without a store, orphaned runs are not looked for.
    pub async fn run(self, store: Option<Store>, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        tasks.spawn(tick(self.fleet.clone(), shutdown.clone()));
        tasks.spawn(reconciler::watch_workers(
            self.fleet.clone(),
            shutdown.clone(),
        ));
        tasks.spawn(reconciler::watch_leftovers(
            self.fleet.clone(),
            shutdown.clone(),
        ));
        tasks.spawn(measure(self.fleet.clone(), shutdown.clone()));
        if let Some(store) = store {
            tasks.spawn(reconciler::find_orphans(
                self.clone(),
                store,
                shutdown.clone(),
            ));
        }
        // What the policy marks as secret is to be known before the first submission is looked at.
        let is_known = self.authority.fresh(FRESH, PATIENCE);
        if shutdown.run_until_cancelled(is_known).await == Some(false) {
            tracing::warn!("the policy is not known yet: secrets are told by its last known marks");
        }
        let names = self.fleet.names();
        tokio::join!(
            self.serve(names.submissions_consumer(), &tasks, &shutdown),
            self.serve(names.commands_consumer(), &tasks, &shutdown),
            self.time_approvals(&shutdown),
        );
        tasks.close();
        tasks.wait().await;
        // What was acknowledged and given back last is still to be sent.
        self.fleet.flush().await;
    }

    /// Works on the messages of one consumer until `shutdown`.
    async fn serve(&self, consumer: &str, tasks: &TaskTracker, shutdown: &CancellationToken) {
        let mut retry = Retry::for_servers();
        while !shutdown.is_cancelled() {
            if let Err(error) = self.take_in(consumer, tasks, shutdown).await {
                tracing::warn!(%error, consumer, "the intake broke off, joining it again");
                retry.wait().await;
            }
        }
    }

    async fn take_in(
        &self,
        consumer: &str,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Result<(), LayoutError> {
        let intake = self.fleet.intake(consumer, AT_ONCE).await?;
        let mut intake = pin!(intake);
        let places = Arc::new(Semaphore::new(AT_ONCE));
        tracing::info!(consumer, "taking messages");
        loop {
            self.pulse.beat(consumer);
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return Ok(());
            };
            let message = tokio::select! {
                message = intake.next() => message,
                () = tokio::time::sleep(pulse::BEAT_EVERY) => continue,
                () = shutdown.cancelled() => {
                    hand_on(intake).await;
                    return Ok(());
                }
            };
            match message {
                Some(Ok(message)) => {
                    let dispatcher = self.clone();
                    tasks.spawn(async move {
                        dispatcher.handle(&message).await;
                        drop(place);
                    });
                }
                Some(Err(error)) => tracing::warn!(%error, "the intake stumbled"),
                None => return Ok(()),
            }
        }
    }

    /// Works on one message. What fails is handed out again after a while, or kept as a dead letter where no repetition helps.
    async fn handle(&self, message: &Intake) {
        let done = match &message.kind {
            IntakeKind::Submission { workspace_id } => self.submission(message, workspace_id).await,
            IntakeKind::Command {
                workspace_id,
                run_id,
            } => self.command(message, workspace_id, run_id).await,
            IntakeKind::Unreadable => {
                let reason = "its subject is not one of a submission or command";
                self.bury_unaddressed(message, ReasonCode::SubmissionInvalid, reason)
                    .await;
                Ok(())
            }
        };
        let Err(error) = done else {
            return message.ack().await;
        };
        if let Some(code) = error.fate().given_up(message.stored_at) {
            tracing::error!(%error, subject = message.subject(), "no repetition helps, giving a message up");
            self.give_up(message, code, &error).await;
            return message.ack().await;
        }
        let delay = Duration::from_secs(u64::try_from(message.delivered).unwrap_or(1).clamp(1, 30));
        tracing::error!(%error, subject = message.subject(), retry_in_s = delay.as_secs(), "a message could not be worked on");
        message.give_back(delay).await;
    }

    /// A name for what comes of a message: the same however often the message is handed out.
    fn name_of(&self, message: &Intake, what: &str) -> String {
        format!(
            "{what}-{:x}-{}",
            self.epoch.as_micros() / 1_000_000,
            message.sequence
        )
    }
}

/// Gives back what was handed out and not begun, so that another dispatcher has it soon and not when its lease has lapsed.
async fn hand_on(mut intake: Pin<&mut impl Stream<Item = Result<Intake, String>>>) {
    // Some may be on their way. And this dispatcher asks for messages until the stream is dropped, so it may get new ones.
    for _ in 0..2 * AT_ONCE {
        match tokio::time::timeout(QUIET, intake.next()).await {
            Ok(Some(Ok(message))) => message.give_back(HAND_ON_AFTER).await,
            Ok(Some(Err(_))) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

/// Measures the queues, for whoever reads this process's metrics.
async fn measure(fleet: Fleet, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        if let Err(error) = fleet.measure_queues().await {
            tracing::warn!(%error, "the queues were not measured");
        }
        tokio::select! {
            () = tokio::time::sleep(MEASURE_EVERY) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// Refreshes the clock that every gate goes by.
async fn tick(fleet: Fleet, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        if let Err(error) = fleet.tick().await {
            tracing::warn!(%error, "the clock of the authority was not refreshed");
        }
        tokio::select! {
            () = tokio::time::sleep(TICK_EVERY) => {}
            () = shutdown.cancelled() => {}
        }
    }
}
