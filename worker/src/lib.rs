//! The worker: takes runs from the queue, asks the gate about every tool call, executes what it allows, records what happened.
//!
//! Start at `turn`: one wake-up, from the history to the acknowledgement, in a screen.
//!
//! - `pull` takes as many wake-ups as there are free slots, interactive ones first.
//! - `ask` puts a call before the gate (`gatewright_policy::authorize_tool_call`), the only source of the permit that a tool's `execute` consumes.
//! - `purse` has what a call consumes of the fleet's limits, until it is made.
//! - `execute` executes an allowed call, again where it may be repeated.
//! - [`tool`] has the tools, [`declared`] those of the user's own, [`egress`] the gateway to the outside, [`sandbox`] the place where commands run.
//!
//! Not here: whether a call may happen (`policy`), what a run does next (`run`), how a commit is fenced (`bus`).

mod ask;
pub mod declared;
pub mod egress;
mod execute;
pub mod explain;
mod held;
mod pull;
mod purse;
mod recorded;
mod rota;
pub mod sandbox;
mod span;
pub mod tool;
mod turn;

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use gatewright_bus::{
    Fleet, authority::LiveSnapshot, clock, layout::LayoutError, presence::HEARTBEAT_EVERY,
    queue::Queue, quota::QuotaLeases, retry::Retry, telemetry,
};
use gatewright_schemas::{Lane, Timestamp, WorkerHeartbeat, Zone};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{held::Held, pull::Slots, tool::Registry};

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The zones whose runs it takes.
    pub zones: Vec<Zone>,
    /// Runs that it moves at once.
    pub concurrency: usize,
    /// How long it goes on with what it holds when it is to stop. What is then left is cut off, and taken over by others.
    pub drain_patience: Duration,
    /// How many workers in a row may die or hang at one point of a run before the run is given up.
    pub max_crashes: u32,
}

/// How long a worker that goes may take over what it has still to tell a server, which may be gone itself.
const LAST_WORDS: Duration = Duration::from_secs(3);

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            zones: Zone::ALL.to_vec(),
            concurrency: 64,
            drain_patience: Duration::from_secs(25),
            max_crashes: 5,
        }
    }
}

/// A worker. Cheap to clone; clones share its slots.
#[derive(Clone)]
pub struct Worker(Arc<Inner>);

struct Inner {
    fleet: Fleet,
    authority: LiveSnapshot,
    quotas: QuotaLeases,
    registry: Registry,
    queues: Vec<Queue>,
    config: WorkerConfig,
    slots: Slots,
    held: Held,
    /// It is to stop: runs are handed back between two calls.
    draining: CancellationToken,
    /// Its patience is over: turns end where they are.
    cut_off: CancellationToken,
    started_at: Timestamp,
}

impl Worker {
    /// Joins the workers of its zones. Fails when the fleet is not provisioned.
    pub async fn join(
        fleet: Fleet,
        registry: Registry,
        config: WorkerConfig,
    ) -> Result<Self, LayoutError> {
        let mut queues = Vec::new();
        // Every zone's interactive runs go before anybody's background ones.
        for lane in [Lane::Interactive, Lane::Background] {
            for zone in &config.zones {
                queues.push(fleet.queue(*zone, lane).await?);
            }
        }
        Ok(Self(Arc::new(Inner {
            authority: LiveSnapshot::watch(&fleet),
            quotas: QuotaLeases::new(&fleet),
            registry,
            queues,
            slots: Slots::new(config.concurrency),
            config,
            held: Held::default(),
            draining: CancellationToken::new(),
            cut_off: CancellationToken::new(),
            started_at: clock::now(),
            fleet,
        })))
    }

    /// Whether it is connected and its loop that takes runs comes round.
    pub fn is_alive(&self) -> bool {
        self.0.fleet.is_connected() && self.0.slots.pulled_lately()
    }

    /// Works until `shutdown`. Then it takes no more runs, finishes or hands back those that it holds, and signs off.
    ///
    /// What is not finished after [`WorkerConfig::drain_patience`] is cut off. It ends within seconds after that, with or without a server.
    pub async fn run(self, shutdown: CancellationToken) {
        let turns = TaskTracker::new();
        let alive = CancellationToken::new();
        let company = TaskTracker::new();
        company.spawn(
            alive
                .clone()
                .run_until_cancelled_owned(answer_pings(self.clone())),
        );
        company.spawn(
            alive
                .clone()
                .run_until_cancelled_owned(hear_interrupts(self.clone())),
        );
        company.spawn(alive.clone().run_until_cancelled_owned(beat(self.clone())));

        shutdown
            .run_until_cancelled(pull::pull(&self, &turns))
            .await;

        self.0.draining.cancel();
        turns.close();
        tracing::info!(runs = self.0.held.count(), "draining");
        let patience = self.0.config.drain_patience;
        let mut is_done = tokio::time::timeout(patience, turns.wait()).await.is_ok();
        if !is_done {
            tracing::warn!(
                runs = self.0.held.count(),
                "cutting off runs, which other workers take over"
            );
            self.0.cut_off.cancel();
            is_done = tokio::time::timeout(LAST_WORDS, turns.wait()).await.is_ok();
        }
        alive.cancel();
        company.close();
        company.wait().await;
        if is_done {
            let signed_off = tokio::time::timeout(LAST_WORDS, self.sign_off()).await;
            if signed_off.is_err() {
                tracing::warn!("could not sign off in time");
            }
        } else {
            // Signed off it would say that it does nothing any more. That its connection is gone will be noticed.
            tracing::warn!("a turn does not end, going without signing off");
        }
    }

    async fn sign_off(&self) {
        self.0.quotas.close().await;
        if let Err(error) = self.0.fleet.strike_off(self.0.fleet.writer()).await {
            tracing::warn!(%error, "could not sign off");
        }
        self.0.fleet.flush().await;
    }
}

async fn answer_pings(worker: Worker) {
    let mut retry = Retry::for_servers();
    loop {
        if let Err(error) = worker
            .0
            .fleet
            .answer_pings(|run| worker.0.held.holds(run))
            .await
        {
            tracing::warn!(%error, "pings are not answered, trying again");
        }
        retry.wait().await;
    }
}

async fn hear_interrupts(worker: Worker) {
    let mut retry = Retry::for_servers();
    loop {
        match worker.0.fleet.interrupts().await {
            Ok(mut interrupts) => {
                while let Some((workspace, run)) = interrupts.next().await {
                    worker.0.held.interrupt(&format!("{workspace}/{run}"));
                }
            }
            Err(error) => tracing::warn!(%error, "interrupts are not heard, trying again"),
        }
        retry.wait().await;
    }
}

/// Says every second that the worker is there, and how busy it is. It stops when the loop that takes runs stops.
async fn beat(worker: Worker) {
    let inner = &worker.0;
    loop {
        let held = inner.held.count();
        telemetry::runs_held(held);
        let heartbeat = WorkerHeartbeat {
            worker_id: inner.fleet.writer().clone(),
            zones: inner.config.zones.clone(),
            slots: u32::try_from(inner.config.concurrency).unwrap_or(u32::MAX),
            busy: u32::try_from(held).unwrap_or(u32::MAX),
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: inner.started_at,
            seen_at: clock::now(),
            draining: inner.draining.is_cancelled(),
        };
        if inner.slots.pulled_lately()
            && let Err(error) = inner.fleet.beat(&heartbeat).await
        {
            tracing::warn!(%error, "a heartbeat was not sent");
        }
        tokio::time::sleep(HEARTBEAT_EVERY).await;
    }
}
