//! Runs of one no-op each: from the first submission to the last row projected.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::{StreamExt as _, stream};
use gatewright_schemas::{RunStatus, WorkspaceId};
use serde::Serialize;

use super::fleet::BenchFleet;

/// Submissions whose storing is waited for at once.
const IN_FLIGHT: usize = 256;

/// How long nothing may happen before the measurement is given up.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the fleet got through.
#[derive(Debug, Clone, Serialize)]
pub struct Throughput {
    pub runs: usize,
    /// From the first submission to the last terminal commit.
    pub ended_in_s: f64,
    /// From the first submission to the last row projected.
    pub projected_in_s: f64,
    /// Runs that ended, per second.
    pub ended_per_s: f64,
    /// Runs that were projected, per second.
    pub projected_per_s: f64,
    /// Processor time of all processes together for 1,000 runs, in seconds; the bench's own is not counted.
    pub processor_s_per_1000: Option<f64>,
}

pub async fn measure(
    fleet: &BenchFleet,
    workspace: &WorkspaceId,
    runs: usize,
    progress: impl Fn(usize),
) -> anyhow::Result<Throughput> {
    let used_before = fleet.processor_time();
    let (ended, projected) = submit_and_wait(fleet, workspace, runs, progress).await?;
    let used = fleet
        .processor_time()
        .zip(used_before)
        .map(|(after, before)| after.saturating_sub(before));
    #[expect(clippy::cast_precision_loss, reason = "counts of runs are small")]
    let count = runs as f64;
    Ok(Throughput {
        runs,
        ended_in_s: ended.as_secs_f64(),
        projected_in_s: projected.as_secs_f64(),
        ended_per_s: count / ended.as_secs_f64(),
        projected_per_s: count / projected.as_secs_f64(),
        processor_s_per_1000: used.map(|used| used.as_secs_f64() * 1_000.0 / count),
    })
}

/// Submits `runs` runs and answers when the last had ended and when its rows were there.
pub async fn submit_and_wait(
    fleet: &BenchFleet,
    workspace: &WorkspaceId,
    runs: usize,
    progress: impl Fn(usize),
) -> anyhow::Result<(Duration, Duration)> {
    let mut tail = fleet
        .fleet
        .tail(workspace, Some(RunStatus::Succeeded))
        .await?;
    let began = Instant::now();
    let submitting = submit(fleet, workspace, "r", runs);
    let ending = async {
        for done in 1..=runs {
            let ended = tokio::time::timeout(PATIENCE, tail.next()).await;
            ended.with_context(|| format!("only {} of {runs} runs ended", done - 1))?;
            if done % (runs / 10).max(1) == 0 {
                progress(done);
            }
        }
        anyhow::Ok(began.elapsed())
    };
    let ((), ended) = tokio::try_join!(submitting, ending)?;
    wait_until_projected(fleet).await?;
    Ok((ended, began.elapsed()))
}

/// Submits runs of one no-op each, called `name` and their number.
pub async fn submit(
    fleet: &BenchFleet,
    workspace: &WorkspaceId,
    name: &str,
    runs: usize,
) -> anyhow::Result<()> {
    let mut submissions = stream::iter(0..runs)
        .map(|n| {
            let submission = format!(r#"{{"run_id":"{name}{n}"}}"#);
            fleet
                .fleet
                .submit_unanswered(workspace, submission.into_bytes())
        })
        .buffer_unordered(IN_FLIGHT);
    while let Some(submitted) = submissions.next().await {
        submitted?;
    }
    Ok(())
}

/// Waits until everything that is in the stream now stands in the read tables.
pub async fn wait_until_projected(fleet: &BenchFleet) -> anyhow::Result<()> {
    let last = fleet.fleet.stream_identity().await?.last_sequence;
    let began = Instant::now();
    loop {
        let checkpoint = gatewright_store::checkpoint::load(&fleet.store).await?;
        let reached = checkpoint.map_or(0, |checkpoint| checkpoint.last_sequence);
        if reached >= last {
            return Ok(());
        }
        anyhow::ensure!(
            began.elapsed() < PATIENCE,
            "the projector stands at {reached} of {last}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
