//! A turn at a run: from a wake-up to its acknowledgement.
//!
//! Load the run, decide what is next, ask the gate, append the intent, execute, append the outcome; again until the run ends or parks;
//! then acknowledge. Whoever is fenced on the way stops where it is: no effect, no acknowledgement.

use std::time::{Duration, Instant};

use gatewright_bus::{
    AppendError, Fate, LoadError, Loaded, clock,
    layout::LayoutError,
    presence::Presence,
    queue::{Delivery, EXTEND_EVERY},
    telemetry,
};
use gatewright_policy::{
    Snapshot,
    redact::{Vault, message},
};
use gatewright_run::{
    Decided, Next, Stamp,
    decide::{self, Turn, Undecided},
    next,
};
use gatewright_schemas::{DeadLetter, ErrorInfo, ReasonCode, RunStatus, Stage, Wake, WorkspaceId};
use tokio::sync::OnceCell;

use crate::{Worker, ask::Way, held::Hold, span};

/// When a run that somebody holds is looked at again.
const LATER: Duration = Duration::from_secs(5);
/// When a run that this worker itself holds is looked at again.
const SHORTLY: Duration = Duration::from_millis(250);
/// How old an answer of the gate may be when the call is executed.
const FRESH: Duration = Duration::from_secs(1);

/// How far a turn went.
enum Went {
    /// The run ended or parked, or had nothing to do for this wake-up: the message can be forgotten.
    AllTheWay,
    /// The worker is to stop: another one goes on at once.
    ToHandBack,
    /// Another worker holds the run; should it die meanwhile, the message comes again.
    NotNow,
}

/// What a wake-up gives a right to.
enum Taken<'a> {
    InHand(Box<AtHand<'a>>),
    NothingToDo,
    HeldElsewhere,
}

/// Why a turn ends before its time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Secrets(#[from] LayoutError),
    #[error(transparent)]
    Undecided(#[from] Undecided),
    #[error("somebody ended the run")]
    Interrupted,
}

impl TurnError {
    /// What it is, for a span: one of a closed set.
    fn name(&self) -> &'static str {
        match self {
            Self::Load(_) => "history_not_read",
            Self::Append(AppendError::Fenced { .. }) => "fenced",
            Self::Append(_) => "not_appended",
            Self::Secrets(_) => "secrets_not_read",
            Self::Undecided(_) => "undecided",
            Self::Interrupted => "interrupted",
        }
    }

    /// What becomes of the wake-up, where the worker that met the error has a say in it.
    fn fate(&self) -> Fate {
        match self {
            Self::Load(error) => error.fate(),
            Self::Append(error) => error.fate(),
            Self::Undecided(Undecided::Impossible(_)) => {
                Fate::DeadLetter(ReasonCode::InternalError)
            }
            // What was decided on another view of the run is decided anew.
            Self::Undecided(_) | Self::Secrets(_) | Self::Interrupted => Fate::Retry,
        }
    }
}

/// A run in this worker's hands.
pub(crate) struct AtHand<'a> {
    pub(crate) run: Loaded,
    /// The turn to begin with the first commit; none once it has begun.
    pub(crate) turn: Option<Turn>,
    pub(crate) hold: &'a Hold,
    /// The run's secrets, once a call asked for them.
    pub(crate) vault: OnceCell<Vault>,
}

impl<'a> AtHand<'a> {
    fn new(run: Loaded, turn: Turn, hold: &'a Hold) -> Self {
        Self {
            run,
            turn: Some(turn),
            hold,
            vault: OnceCell::new(),
        }
    }
}

impl Worker {
    /// Works on a wake-up, and keeps its lease alive meanwhile.
    pub(crate) async fn take_turn(&self, delivery: Delivery) {
        let wake = match &delivery.wake {
            Ok(wake) => wake,
            Err(reason) => {
                return self
                    .bury(&delivery, None, ReasonCode::SubmissionInvalid, reason)
                    .await;
            }
        };
        // Another turn of this worker holds the run, after an outage longer than a lease or under another wake-up.
        // If this is another message, that turn may be at its end: the next delivery finds the run as it left it.
        let Some(hold) = self.0.held.hold(name_of(wake)) else {
            return delivery.give_back(Some(SHORTLY)).await;
        };
        let ended = tokio::select! {
            biased;
            // What was under way is left as it is: whoever takes over sees it in the history.
            () = self.0.cut_off.cancelled() => Ok(Went::ToHandBack),
            ended = self.advance(&delivery, wake, &hold) => ended,
            never = keep_alive(&delivery) => match never {},
        };
        // Whoever gets the message next may ask at once whether this worker still holds the run.
        drop(hold);
        match ended {
            Ok(Went::AllTheWay) => delivery.ack().await,
            Ok(Went::ToHandBack) => delivery.give_back(None).await,
            Ok(Went::NotNow) => delivery.give_back(Some(LATER)).await,
            Err(error) => self.stop(&delivery, wake, error).await,
        }
    }

    /// Moves the run as far as it goes.
    async fn advance(
        &self,
        delivery: &Delivery,
        wake: &Wake,
        hold: &Hold,
    ) -> Result<Went, TurnError> {
        let hand = match self.take_in_hand(delivery, wake, hold).await? {
            Taken::InHand(hand) => *hand,
            Taken::NothingToDo => return Ok(Went::AllTheWay),
            Taken::HeldElsewhere => return Ok(Went::NotNow),
        };
        let span = span::of_turn(delivery, &hand.run.state);
        let went = span.place().within(self.go_on(delivery, wake, hand)).await;
        if let Err(error) = &went {
            span.failed(error.name());
        }
        went
    }

    /// Moves the run that is in hand as far as it goes.
    async fn go_on(
        &self,
        delivery: &Delivery,
        wake: &Wake,
        mut hand: AtHand<'_>,
    ) -> Result<Went, TurnError> {
        loop {
            let state = &hand.run.state;
            let decided = match next(state) {
                Next::Nothing => {
                    self.forget_if_ended(&hand.run).await;
                    return Ok(Went::AllTheWay);
                }
                // A worker that is to stop hands the run on between two calls.
                _ if self.0.draining.is_cancelled() => return Ok(Went::ToHandBack),
                _ if self.is_poison(&hand) => {
                    self.bury_run(delivery, wake).await;
                    decide::exhaust(state, hand.turn, self.0.config.max_crashes)?
                }
                Next::Finish => decide::finish(state, hand.turn)?,
                Next::Recover(call, open) if !open.idempotent => {
                    let why = "the worker that made it died or hung before it recorded the outcome";
                    decide::lose(state, hand.turn, call, open, Vec::new(), why, self.terms())?
                }
                Next::Call(call) | Next::Recover(call, _) => {
                    let call = call.clone();
                    match self.ask(&hand, &call).await? {
                        Way::Barred(decided) => *decided,
                        Way::Open(decided, permitted) => {
                            let asked = Instant::now();
                            self.append(&mut hand, *decided).await?;
                            // An intent that took long to store may have outlived the answer that it rests on.
                            let is_fresh = asked.elapsed() < FRESH;
                            self.execute(&hand, &call, *permitted, is_fresh).await?
                        }
                    }
                }
            };
            self.append(&mut hand, decided).await?;
        }
    }

    /// The run as it stands, if this wake-up gives a right to it.
    async fn take_in_hand<'a>(
        &self,
        delivery: &Delivery,
        wake: &Wake,
        hold: &'a Hold,
    ) -> Result<Taken<'a>, TurnError> {
        let turn = Turn {
            lease: delivery.sequence,
        };
        // A first delivery may trust the hint: a stale one is fenced at its first append, before any effect.
        // One that makes no sense here only costs a look at the history.
        let hint = wake.hint.as_ref().filter(|_| delivery.delivered == 1);
        if let Some(Ok(run)) = hint.map(|commit| Loaded::from_hint(commit, wake.seen)) {
            if !is_in_zone(delivery, &run) {
                return Ok(Taken::NothingToDo);
            }
            return Ok(Taken::InHand(Box::new(AtHand::new(run, turn, hold))));
        }
        let (workspace, run_id) = (&wake.workspace_id, &wake.run_id);
        let run = self
            .0
            .fleet
            .load_at_least(workspace, run_id, wake.seen)
            .await?;
        let Some(progress) = &run.state.progress else {
            return Ok(Taken::NothingToDo);
        };
        if !is_due(delivery, wake, &run) || !is_in_zone(delivery, &run) {
            // Whoever ended it may have died before this.
            self.forget_if_ended(&run).await;
            return Ok(Taken::NothingToDo);
        }
        // The lease lapsed, or somebody took the last worker for dead. A healthy one that an outage cut off says that it is at it.
        if progress.status == RunStatus::Running && self.is_held_elsewhere(wake).await? {
            return Ok(Taken::HeldElsewhere);
        }
        Ok(Taken::InHand(Box::new(AtHand::new(run, turn, hold))))
    }

    /// Forgets what is kept for a run until it has ended: its secrets, and its directory in the sandbox.
    async fn forget_if_ended(&self, run: &Loaded) {
        self.0.fleet.forget_secrets_if_ended(run).await;
        let state = &run.state;
        let has_ended = state
            .progress
            .as_ref()
            .is_some_and(|p| p.status.is_terminal());
        if let Some(sandbox) = self.0.registry.sandbox().filter(|_| has_ended) {
            sandbox.forget(&state.workspace_id, &state.run_id).await;
        }
    }

    /// Whether the worker that wrote last is alive and holds the run.
    async fn is_held_elsewhere(&self, wake: &Wake) -> Result<bool, TurnError> {
        let last = self
            .0
            .fleet
            .last_commit(&wake.workspace_id, &wake.run_id)
            .await?;
        let Some(last) = last.filter(|last| last.writer != *self.0.fleet.writer()) else {
            return Ok(false);
        };
        let run = name_of(wake);
        let presence = self.0.fleet.ping_peer(&last.writer, &run).await;
        Ok(presence == Presence::Alive { holds: true })
    }

    fn stamp(&self, turn: Option<Turn>) -> Stamp {
        Stamp {
            commit_id: clock::fresh_commit_id(),
            occurred_at: clock::now(),
            writer: self.0.fleet.writer().clone(),
            causation_id: turn.map(|turn| format!("queue-{}", turn.lease)),
        }
    }

    /// Appends what was decided; afterwards the run at hand is where that leaves it.
    async fn append(&self, hand: &mut AtHand<'_>, decided: Decided) -> Result<(), TurnError> {
        let sealed = decided.seal(self.stamp(hand.turn));
        let append = self.0.fleet.append(&sealed, hand.run.fence);
        let fence = tokio::select! {
            biased;
            // The run is over: whether or not this commit is stored, nothing may follow.
            () = hand.hold.interrupted.cancelled() => return Err(TurnError::Interrupted),
            fence = append => fence?,
        };
        hand.run = Loaded {
            state: sealed.state,
            fence,
        };
        hand.turn = None;
        Ok(())
    }

    /// Ends a turn that cannot go on.
    async fn stop(&self, delivery: &Delivery, wake: &Wake, error: TurnError) {
        let run = &wake.run_id;
        match error {
            // Fenced: somebody else moves the run, or ended it. Where it has ended, or goes on under another wake-up,
            // this one has nothing left to say. Otherwise the message is now that somebody's, and what would be said
            // of it here would be said of their turn: giving it back would take the run from them.
            TurnError::Append(AppendError::Fenced { fence, .. }) => {
                let loaded = self
                    .0
                    .fleet
                    .load_at_least(&wake.workspace_id, run, fence + 1)
                    .await;
                let progress = loaded.ok().and_then(|loaded| loaded.state.progress);
                let is_settled = progress.is_some_and(|progress| {
                    progress.status.is_terminal() || progress.lease != Some(delivery.sequence)
                });
                telemetry::lease_lost();
                tracing::info!(run.id = %run, is_settled, "fenced, stopping");
                if is_settled {
                    delivery.ack().await;
                }
            }
            // Somebody ended the run; the next delivery sees it and forgets the message.
            TurnError::Interrupted => {
                tracing::info!(run.id = %run, "interrupted, stopping");
                delivery.give_back(None).await;
            }
            error => {
                if let Some(code) = error.fate().given_up(delivery.stored_at) {
                    return self.give_up(delivery, wake, code, &error).await;
                }
                tracing::error!(run.id = %run, %error, "a turn failed, handing the run back");
                delivery.give_back(Some(LATER)).await;
            }
        }
    }

    /// No repetition helps: the run fails, if its history can still be written, and the wake-up is kept as a dead letter.
    async fn give_up(&self, delivery: &Delivery, wake: &Wake, code: ReasonCode, error: &TurnError) {
        let run = &wake.run_id;
        tracing::error!(run.id = %run, %error, "no repetition helps, giving the run up");
        let reason = error.to_string();
        match self.fail(delivery, wake, code, &reason).await {
            Ok(()) => {}
            Err(TurnError::Append(AppendError::Fenced { .. })) => {
                tracing::info!(run.id = %run, "fenced, stopping");
                return;
            }
            Err(again) if again.fate().given_up(delivery.stored_at).is_none() => {
                tracing::error!(run.id = %run, error = %again, "a run could not be failed, handing it back");
                return delivery.give_back(Some(LATER)).await;
            }
            Err(again) => {
                tracing::error!(run.id = %run, error = %again, "a run stands where it is for good");
            }
        }
        self.bury(delivery, Some(wake), code, &reason).await;
    }

    /// Ends the run as failed, unless it ended or went on meanwhile.
    async fn fail(
        &self,
        delivery: &Delivery,
        wake: &Wake,
        code: ReasonCode,
        reason: &str,
    ) -> Result<(), TurnError> {
        let (workspace, run_id) = (&wake.workspace_id, &wake.run_id);
        let fleet = &self.0.fleet;
        let run = fleet.load_at_least(workspace, run_id, wake.seen).await?;
        if !is_due(delivery, wake, &run) {
            return Ok(());
        }
        let is_begun = run.state.progress.as_ref().and_then(|p| p.lease) == Some(delivery.sequence);
        let turn = Turn {
            lease: delivery.sequence,
        };
        let decided = decide::give_up(
            &run.state,
            (!is_begun).then_some(turn),
            ErrorInfo::new(Stage::Lifecycle, code, reason),
            "its outcome could not be recorded",
        )?;
        let sealed = decided.seal(self.stamp(Some(turn)));
        let fence = fleet.append(&sealed, run.fence).await?;
        let ended = Loaded {
            state: sealed.state,
            fence,
        };
        fleet.forget_secrets_if_ended(&ended).await;
        Ok(())
    }

    /// Whether workers keep dying on what the run is at.
    fn is_poison(&self, hand: &AtHand<'_>) -> bool {
        let takes_over = hand.turn.is_some();
        takes_over
            && hand.run.state.progress.as_ref().is_some_and(|p| {
                p.status == RunStatus::Running && p.crashes + 1 >= self.0.config.max_crashes
            })
    }

    async fn bury_run(&self, delivery: &Delivery, wake: &Wake) {
        let reason = format!(
            "{} workers in a row died or hung on the run",
            self.0.config.max_crashes
        );
        self.keep(delivery, Some(wake), ReasonCode::AttemptsExhausted, &reason)
            .await;
    }

    /// Keeps a wake-up that cannot be worked on as a dead letter, and drops it from the queue.
    async fn bury(&self, delivery: &Delivery, wake: Option<&Wake>, code: ReasonCode, reason: &str) {
        self.keep(delivery, wake, code, reason).await;
        delivery.discard().await;
    }

    async fn keep(&self, delivery: &Delivery, wake: Option<&Wake>, code: ReasonCode, reason: &str) {
        let marks = self.0.authority.read(Snapshot::marks);
        let kept = message(delivery.payload(), &marks);
        let workspace = wake.map_or_else(WorkspaceId::fleet, |wake| wake.workspace_id.clone());
        let letter = DeadLetter {
            reason_code: code,
            reason: reason.to_owned(),
            violations: Vec::new(),
            died_at: clock::now(),
            by: self.0.fleet.writer().clone(),
            run_id: wake.map(|wake| wake.run_id.clone()),
            subject: delivery.subject().to_owned(),
            sequence: delivery.sequence,
            json: kept.json,
            text: kept.text,
            redacted: kept.redacted,
        };
        let id = format!("queue-{}-{code}", delivery.sequence);
        self.0.fleet.bury(&workspace, &letter, &id).await;
    }
}

/// `<workspace>/<run>`
fn name_of(wake: &Wake) -> String {
    format!("{}/{}", wake.workspace_id, wake.run_id)
}

/// Whether the wake-up has something to say of the run. It has not if the run went on under another one.
fn is_due(delivery: &Delivery, wake: &Wake, run: &Loaded) -> bool {
    run.state.progress.as_ref().is_some_and(|progress| {
        let is_as_seen = run.fence == wake.seen;
        let is_ours = progress.lease == Some(delivery.sequence);
        (is_as_seen || is_ours) && !progress.status.is_terminal()
    })
}

/// A run comes through its own zone's queue or not at all, whatever a message says.
fn is_in_zone(delivery: &Delivery, run: &Loaded) -> bool {
    let zone = run.state.progress.as_ref().map(|p| p.created.zone);
    let is_in_zone = zone == Some(delivery.zone);
    if !is_in_zone {
        tracing::error!(run.id = %run.state.run_id, queue.zone = %delivery.zone, "a wake-up came through another zone's queue and is dropped");
    }
    is_in_zone
}

/// Extends the lease for as long as the turn lasts.
async fn keep_alive(delivery: &Delivery) -> std::convert::Infallible {
    loop {
        tokio::time::sleep(EXTEND_EVERY).await;
        delivery.extend().await;
    }
}
