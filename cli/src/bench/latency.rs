//! Runs one after the other: how long one takes on a fleet that has nothing else to do.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::StreamExt as _;
use gatewright_schemas::{RunId, RunStatus, WorkspaceId};
use serde::Serialize;

use super::{fleet::BenchFleet, percentile};

/// How long a run may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long runs took, in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    pub runs: usize,
    /// From the submission to the terminal commit.
    pub ended_p50_ms: f64,
    pub ended_p99_ms: f64,
    /// From the submission to the row that says so.
    pub projected_p50_ms: f64,
    pub projected_p99_ms: f64,
}

pub async fn measure(
    fleet: &BenchFleet,
    workspace: &WorkspaceId,
    runs: usize,
) -> anyhow::Result<Latency> {
    let mut tail = fleet
        .fleet
        .tail(workspace, Some(RunStatus::Succeeded))
        .await?;
    let (mut ended, mut projected) = (Vec::new(), Vec::new());
    for n in 0..runs {
        let run_id = RunId::new(format!("r{n}"))?;
        let began = Instant::now();
        fleet
            .fleet
            .submit_unanswered(
                workspace,
                format!(r#"{{"run_id":"{run_id}"}}"#).into_bytes(),
            )
            .await?;
        tokio::time::timeout(PATIENCE, tail.next())
            .await
            .context("a run did not end")?;
        ended.push(began.elapsed());
        while !is_projected(fleet, workspace, &run_id).await? {
            anyhow::ensure!(began.elapsed() < PATIENCE, "a run was not projected");
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        projected.push(began.elapsed());
    }
    ended.sort_unstable();
    projected.sort_unstable();
    let milliseconds =
        |sorted: &[Duration], share| percentile(sorted, share).as_secs_f64() * 1_000.0;
    Ok(Latency {
        runs,
        ended_p50_ms: milliseconds(&ended, 0.5),
        ended_p99_ms: milliseconds(&ended, 0.99),
        projected_p50_ms: milliseconds(&projected, 0.5),
        projected_p99_ms: milliseconds(&projected, 0.99),
    })
}

async fn is_projected(
    fleet: &BenchFleet,
    workspace: &WorkspaceId,
    run: &RunId,
) -> anyhow::Result<bool> {
    let run = gatewright_store::run::show(&fleet.store, workspace, run).await?;
    Ok(run.is_some_and(|run| run.status == RunStatus::Succeeded.as_str()))
}
