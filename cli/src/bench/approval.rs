//! Parked runs: how soon an approved call is made, and what a great many runs that wait for a person cost.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::{StreamExt as _, stream};
use gatewright_schemas::{
    ApprovalId, Command, CommandMessage, RunId, RunStatus, ToolCallId, WorkspaceId,
};
use serde::Serialize;

use super::{
    fleet::{BenchFleet, Memory},
    percentile,
    throughput::{submit, wait_until_projected},
};

/// Runs that are approved one after the other.
const ONE_BY_ONE: usize = 200;
/// Runs that are woken at once.
const WOKEN: usize = 1_000;
/// Messages whose storing is waited for at once.
const IN_FLIGHT: usize = 256;
/// How long nothing may happen before the measurement is given up.
const PATIENCE: Duration = Duration::from_mins(1);

/// What parked runs cost.
#[derive(Debug, Clone, Serialize)]
pub struct Parked {
    /// From a yes to the intent of the call being stored, one run after the other.
    pub decided_to_executed_p50_ms: f64,
    pub decided_to_executed_p99_ms: f64,
    /// The great many.
    pub runs: usize,
    /// From the first submission to the last run parked.
    pub all_in_s: f64,
    /// Wake-ups that are held or wait once all have parked; what it should be is none.
    pub acknowledgements_pending: u64,
    /// Memory of each process before and after, in megabytes.
    pub memory: Vec<MemoryGrowth>,
    /// Runs that are approved at once.
    pub woken: usize,
    /// From the first yes to the last of them having ended.
    pub woken_in_s: f64,
}

/// What a process has in use.
#[derive(Debug, Clone, Serialize)]
pub struct MemoryGrowth {
    pub process: String,
    pub before_mb: f64,
    pub after_mb: f64,
}

pub async fn measure(
    fleet: &BenchFleet,
    workspace: &WorkspaceId,
    runs: usize,
    progress: impl Fn(usize),
) -> anyhow::Result<Parked> {
    fleet.apply_policy(&asking()).await?;
    park(fleet, workspace, "one-", ONE_BY_ONE, |_| ()).await?;
    let mut decided = decide_one_by_one(fleet, workspace).await?;
    decided.sort();
    let before = fleet.memory();
    let began = Instant::now();
    park(fleet, workspace, "many-", runs, progress).await?;
    let parked_in = began.elapsed();
    wait_until_projected(fleet).await?;
    let depths = fleet.fleet.lane_depths().await?;
    let depths = depths
        .iter()
        .map(|(.., depth)| depth.waiting + depth.under_way);
    let memory = growth(before, fleet.memory());
    let woken = WOKEN.min(runs);
    let woken_in = wake(fleet, workspace, woken).await?;
    let milliseconds = |share| percentile(&decided, share).as_secs_f64() * 1_000.0;
    Ok(Parked {
        decided_to_executed_p50_ms: milliseconds(0.5),
        decided_to_executed_p99_ms: milliseconds(0.99),
        runs,
        all_in_s: parked_in.as_secs_f64(),
        acknowledgements_pending: depths.sum(),
        memory,
        woken,
        woken_in_s: woken_in.as_secs_f64(),
    })
}

/// The policy under which each call waits for a person.
fn asking() -> String {
    super::fleet::POLICY.replace(
        "require_approval = []",
        "require_approval = [\"runtime.noop\"]",
    )
}

/// Submits runs of one no-op each, and waits until all have parked.
async fn park(
    fleet: &BenchFleet,
    workspace: &WorkspaceId,
    name: &str,
    runs: usize,
    progress: impl Fn(usize),
) -> anyhow::Result<()> {
    let status = Some(RunStatus::WaitingApproval);
    let mut tail = fleet.fleet.tail(workspace, status).await?;
    let submitting = submit(fleet, workspace, name, runs);
    let parking = async {
        for done in 1..=runs {
            let parked = tokio::time::timeout(PATIENCE, tail.next()).await;
            parked.with_context(|| format!("only {} of {runs} runs parked", done - 1))?;
            if done % (runs / 10).max(1) == 0 {
                progress(done);
            }
        }
        anyhow::Ok(())
    };
    tokio::try_join!(submitting, parking)?;
    Ok(())
}

async fn decide_one_by_one(
    fleet: &BenchFleet,
    workspace: &WorkspaceId,
) -> anyhow::Result<Vec<Duration>> {
    let status = Some(RunStatus::Running);
    let mut tail = fleet.fleet.tail(workspace, status).await?;
    let mut took = Vec::with_capacity(ONE_BY_ONE);
    for n in 0..ONE_BY_ONE {
        let run = RunId::new(format!("one-{n}"))?;
        let began = Instant::now();
        approve(fleet, workspace, &run).await;
        let invoked = tokio::time::timeout(PATIENCE, tail.next()).await;
        invoked.context("an approved call was not made")?;
        took.push(began.elapsed());
    }
    Ok(took)
}

/// Approves so many runs at once; answers how long it took until all of them had ended.
async fn wake(
    fleet: &BenchFleet,
    workspace: &WorkspaceId,
    runs: usize,
) -> anyhow::Result<Duration> {
    let status = Some(RunStatus::Succeeded);
    let mut tail = fleet.fleet.tail(workspace, status).await?;
    let ids: Vec<RunId> = (0..runs)
        .map(|n| RunId::new(format!("many-{n}")))
        .collect::<Result<_, _>>()?;
    let began = Instant::now();
    let approving = async {
        let mut approvals = stream::iter(&ids)
            .map(|run| approve(fleet, workspace, run))
            .buffer_unordered(IN_FLIGHT);
        while approvals.next().await.is_some() {}
        anyhow::Ok(())
    };
    let ending = async {
        for done in 0..runs {
            let ended = tokio::time::timeout(PATIENCE, tail.next()).await;
            ended.with_context(|| format!("only {done} of {runs} approved runs ended"))?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(approving, ending)?;
    Ok(began.elapsed())
}

async fn approve(fleet: &BenchFleet, workspace: &WorkspaceId, run: &RunId) {
    let message = CommandMessage {
        issued_by: "bench".into(),
        command: Command::DecideApproval {
            approval_id: ApprovalId::of(&ToolCallId::of(workspace, run, 1, 1), 1),
            approve: true,
            reason: None,
            remember_s: None,
        },
    };
    fleet.fleet.tell(workspace, run, &message).await;
}

fn growth(before: Vec<Memory>, after: Vec<Memory>) -> Vec<MemoryGrowth> {
    before
        .into_iter()
        .zip(after)
        .map(|(before, after)| MemoryGrowth {
            process: before.process,
            before_mb: before.mb,
            after_mb: after.mb,
        })
        .collect()
}
