//! The loop: become the active projector, follow the stream, fold, write.

use std::{
    future::Future,
    pin::pin,
    time::{Duration, SystemTime},
};

use gatewright_bus::{EventFeed, FeedError, Fleet, StreamIdentity, clock, retry::Retry, telemetry};
use gatewright_schemas::StoredCommit;
use gatewright_store::{
    Store, StoreError,
    rebuild::{self, RebuildError},
};
use gatewright_traces::{Kind, Place, Span};
use tokio::time::{Instant, MissedTickBehavior};

use crate::{
    ApplyError, Session, Unreadable,
    identity::{self, Mismatch},
    inbox::Inbox,
};

/// How the projector works.
#[derive(Debug, Clone)]
pub struct Options {
    /// At most this many commits are written at once.
    pub batch: usize,
    /// How long a batch waits for more commits after its first. More makes it cheaper, less makes it sooner.
    pub linger: Duration,
    /// The same while much is going on.
    pub linger_busy: Duration,
    /// How often it looks whether the stream is still the same, and shows how far behind it is.
    pub look_every: Duration,
    /// How often a projector that stands by looks whether the active one is gone.
    pub stand_by: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            batch: 3_000,
            linger: Duration::from_millis(10),
            linger_busy: Duration::from_millis(100),
            look_every: Duration::from_secs(2),
            stand_by: Duration::from_millis(500),
        }
    }
}

/// Why the projector stopped. A person has to do something.
#[derive(Debug, thiserror::Error)]
pub enum Halted {
    /// The tables and the stream do not belong together.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// A commit cannot be understood.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The stream of events cannot be followed.
    #[error(transparent)]
    Feed(FeedError),
    /// Postgres refuses, and will refuse again.
    #[error(transparent)]
    Store(ApplyError),
    /// The tables cannot be emptied for a rebuild.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
}

/// Why an attempt at following the stream ended.
enum Broken {
    /// For good.
    Halted(Halted),
    /// Trying again may help.
    Away(String),
}

impl From<Mismatch> for Broken {
    fn from(error: Mismatch) -> Self {
        Self::Halted(error.into())
    }
}

impl From<FeedError> for Broken {
    fn from(error: FeedError) -> Self {
        if error.is_transient() {
            Self::Away(error.to_string())
        } else {
            Self::Halted(Halted::Feed(error))
        }
    }
}

impl From<ApplyError> for Broken {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Unreadable(unreadable) => Self::Halted(unreadable.into()),
            error if error.is_transient() => Self::Away(with_sources(&error)),
            error => Self::Halted(Halted::Store(error)),
        }
    }
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        ApplyError::Read(error).into()
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Projects until `shutdown` is done, or until something is wrong that waiting does not mend.
///
/// Of several projectors on one database one is active; the others stand by and take over.
/// While NATS or Postgres are away it waits and says so; nothing is lost, for the stream and the checkpoint keep their place.
pub async fn run(
    fleet: &Fleet,
    store: &Store,
    options: &Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Halted> {
    let mut shutdown = pin!(shutdown);
    let mut retry = Retry::for_servers();
    loop {
        let began = Instant::now();
        let broken = tokio::select! {
            // What was begun and not written is folded again by whoever comes next.
            () = &mut shutdown => return Ok(()),
            result = active(fleet, store, options) => match result {
                Ok(never) => match never {},
                Err(broken) => broken,
            },
        };
        match broken {
            Broken::Halted(halted) => return Err(halted),
            Broken::Away(reason) => {
                if began.elapsed() > Duration::from_secs(30) {
                    retry = Retry::for_servers();
                }
                let wait = retry.next_wait();
                tracing::warn!(%reason, retry_in_ms = wait.as_millis(), "projection is interrupted, trying again");
                tokio::select! {
                    () = &mut shutdown => return Ok(()),
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
}

/// Empties the read tables and folds the stream from its beginning to where it ends now.
///
/// `progress` is told the sequence that was reached and the last one. No projector may be running.
pub async fn rebuild(
    fleet: &Fleet,
    store: &Store,
    options: &Options,
    mut progress: impl FnMut(u64, u64),
) -> Result<(), Halted> {
    let mut session = Session::with(rebuild::begin(store).await?);
    let result = async {
        let stream = fleet.stream_identity().await?;
        let mut feed = EventFeed::open(fleet, 0).await?;
        while session.applied() < stream.last_sequence {
            let commits = feed.next_batch(options.batch, options.linger).await?;
            session
                .apply(&commits, stream.created_at, stream.last_sequence)
                .await?;
            progress(
                session.applied(),
                stream.last_sequence.max(session.applied()),
            );
        }
        Ok::<(), RebuildBroken>(())
    }
    .await;
    match result {
        Ok(()) => {
            // The lock goes with the connection in any case.
            let _ = session.end().await;
            Ok(())
        }
        Err(RebuildBroken::Feed(error)) => Err(Halted::Feed(error)),
        Err(RebuildBroken::Apply(ApplyError::Unreadable(unreadable))) => Err(unreadable.into()),
        Err(RebuildBroken::Apply(error)) => Err(Halted::Store(error)),
    }
}

#[derive(Debug, thiserror::Error)]
enum RebuildBroken {
    #[error(transparent)]
    Feed(#[from] FeedError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

enum Never {}

async fn active(fleet: &Fleet, store: &Store, options: &Options) -> Result<Never, Broken> {
    let session = become_active(store, options.stand_by).await?;
    let stream = fleet.stream_identity().await?;
    if let Some(checkpoint) = session.checkpoint() {
        identity::check(checkpoint, &stream)?;
        let there = fleet.commit_at(checkpoint.last_sequence).await?;
        identity::check_commit(checkpoint, there.as_ref())?;
    }
    tracing::info!(
        from = session.applied() + 1,
        stream_ends_at = stream.last_sequence,
        "projecting"
    );
    let feed = EventFeed::open(fleet, session.applied()).await?;
    follow(fleet, session, feed, stream, options).await
}

async fn become_active(store: &Store, stand_by: Duration) -> Result<Session, Broken> {
    let mut told = false;
    loop {
        if let Some(session) = Session::begin(store).await? {
            return Ok(session);
        }
        if !told {
            tracing::info!("another projector is active, standing by");
            told = true;
        }
        tokio::time::sleep(stand_by).await;
    }
}

async fn follow(
    fleet: &Fleet,
    mut session: Session,
    feed: EventFeed,
    mut stream: StreamIdentity,
    options: &Options,
) -> Result<Never, Broken> {
    let mut look = tokio::time::interval(options.look_every);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut inbox = Inbox::of(feed);
    loop {
        tokio::select! {
            taken = inbox.take(options) => taken?,
            _ = look.tick() => {
                stream = look_at(fleet, &session).await?;
                session.observe(stream.last_sequence).await?;
                let behind = stream.last_sequence.saturating_sub(session.applied());
                telemetry::projector_is_behind(behind, clock::now());
                continue;
            }
        }
        let began = SystemTime::now();
        session
            .apply(&inbox.commits, stream.created_at, stream.last_sequence)
            .await?;
        trace(&inbox.commits, began);
        if let Some(first) = inbox.commits.first() {
            telemetry::projected(clock::now().since(first.stored_at));
        }
        tracing::debug!(
            commits = inbox.commits.len(),
            applied = session.applied(),
            "projected"
        );
        inbox.applied();
    }
}

/// Each commit of a batch was worked on since `began`, as far as its run's trace is concerned. A batch holds many runs' commits,
/// and a trace shows one run.
fn trace(commits: &[StoredCommit], began: SystemTime) {
    if !gatewright_traces::is_on() {
        return;
    }
    for stored in commits {
        let Some(parent) = stored.trace else { continue };
        let place = Place::below(parent);
        let span = Span::begin_at(&place, Kind::Consumer, "process EVENTS", began);
        span.set("messaging.system", "nats");
        span.set("messaging.operation.type", "process");
        span.set("messaging.message.id", stored.commit.commit_id.to_string());
        span.set(
            "messaging.batch.message_count",
            i64::try_from(commits.len()).unwrap_or(i64::MAX),
        );
    }
}

/// The stream as it is now, which must still be the one that was folded.
async fn look_at(fleet: &Fleet, session: &Session) -> Result<StreamIdentity, Broken> {
    let stream = fleet.stream_identity().await?;
    if let Some(checkpoint) = session.checkpoint() {
        identity::check(checkpoint, &stream)?;
    }
    Ok(stream)
}
