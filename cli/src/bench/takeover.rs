//! A worker is killed: how soon the runs that it held move on.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::StreamExt as _;
use gatewright_schemas::{RunStatus, WorkspaceId};
use serde::Serialize;

use super::fleet::BenchFleet;

/// Runs that are under way when the worker is killed.
const RUNS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(45);

/// How soon the runs of a killed worker move on.
#[derive(Debug, Clone, Serialize)]
pub struct Takeover {
    /// Runs that the killed worker held.
    pub held: usize,
    /// From the kill to the first of them being taken over.
    pub first_resumed_ms: f64,
    /// From the kill to the last of them being taken over.
    pub last_resumed_ms: f64,
}

pub async fn measure(fleet: &mut BenchFleet, workspace: &WorkspaceId) -> anyhow::Result<Takeover> {
    // Long enough that every run is still under way at the kill and nobody's lease lapses.
    let submission = r#"{"input":{"runtime":{"steps":[{"tool_calls":[{"tool":"runtime.echo","input":{"delay_ms":4000}}]}]}}}"#;
    let mut tail = fleet
        .fleet
        .tail(workspace, Some(RunStatus::Running))
        .await?;
    for _ in 0..RUNS {
        fleet
            .fleet
            .submit_unanswered(workspace, submission.into())
            .await?;
    }
    let (victim, mut child) = fleet.workers.pop().context("no worker to kill")?;
    let mut held = 0;
    for _ in 0..RUNS {
        let begun = tokio::time::timeout(PATIENCE, tail.next())
            .await
            .context("a run did not begin")?;
        held += usize::from(begun.is_some_and(|subject| subject.writer == victim));
    }
    anyhow::ensure!(held > 0, "the worker to be killed held nothing");
    // A dispatcher that has just connected believes in no deaths for a few seconds.
    child.kill().await?;
    let killed = Instant::now();
    let mut resumed = Vec::new();
    while resumed.len() < held {
        tokio::time::timeout(PATIENCE, tail.next())
            .await
            .with_context(|| format!("only {} of {held} runs were taken over", resumed.len()))?;
        resumed.push(killed.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(Takeover {
        held,
        first_resumed_ms: resumed.first().copied().unwrap_or_default(),
        last_resumed_ms: resumed.last().copied().unwrap_or_default(),
    })
}
