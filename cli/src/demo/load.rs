//! Many runs at once, and a worker that dies in the middle.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use futures::{StreamExt as _, stream};
use gatewright_bus::clock;
use gatewright_schemas::{EventType, Reply, RunStatus, Timestamp, WorkspaceId};
use serde_json::json;

use super::stage::Stage;
use crate::{
    issue,
    out::{Cell, Table, span},
    target::RunRef,
};

/// How many runs are submitted at once.
const MANY: usize = 200;
/// How many runs are under way when a worker dies.
const UNDER_WAY: usize = 12;
/// How long each of their calls takes.
const CALL_TAKES: Duration = Duration::from_millis(1_500);
const PATIENCE: Duration = Duration::from_secs(40);

pub(super) async fn many_at_once(stage: &mut Stage) -> Result<()> {
    stage.scene(&format!("{MANY} runs at once"))?;
    let workspace = WorkspaceId::new("acme-load")?;
    let fleet = &stage.private.fleet;
    let mut tail = fleet.tail(&workspace, None).await?;
    let began = Instant::now();
    let submitting = async {
        stream::iter(0..MANY)
            .map(|_| fleet.submit(&workspace, b"{}".to_vec(), issue::PATIENCE))
            .buffer_unordered(64)
            .filter(|reply| std::future::ready(matches!(reply, Ok(Reply::Accepted { .. }))))
            .count()
            .await
    };
    let ending = async {
        let mut ended = 0;
        while ended < MANY {
            match tail.next().await {
                Some(subject) if subject.status.is_some_and(RunStatus::is_terminal) => ended += 1,
                Some(_) => {}
                None => break,
            }
        }
        ended
    };
    let both = async { tokio::join!(submitting, ending) };
    let Ok((accepted, ended)) = tokio::time::timeout(PATIENCE, both).await else {
        bail!("{MANY} runs did not end within {}s", PATIENCE.as_secs());
    };
    let took = began.elapsed();
    let is_projected = stage.private.caught_up(PATIENCE).await;
    let projected = began.elapsed();
    stage.claim(accepted == MANY && ended == MANY, &format!(
        "all {MANY} were admitted and ended within {}: {} runs a second with this build, one answer awaited for each",
        span(took),
        per_second(MANY, took)
    ))?;
    stage.claim(
        is_projected,
        &format!(
            "all of them are in Postgres {} after the first was submitted",
            span(projected)
        ),
    )
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate for a person, of a few hundred things"
)]
fn per_second(count: usize, took: Duration) -> u64 {
    (count as f64 / took.as_secs_f64().max(0.001)) as u64
}

pub(super) async fn a_worker_dies(stage: &mut Stage) -> Result<()> {
    stage.scene("A worker is killed while it holds runs")?;
    let call = json!({ "tool": "runtime.echo", "input": { "delay_ms": CALL_TAKES.as_millis() } });
    let mut runs = Vec::new();
    for number in 1..=UNDER_WAY {
        let run = json!({
            "title": "slow",
            "input": { "runtime": { "steps": [ { "tool_calls": [ call ] } ] } },
        });
        runs.push(stage.submit(&format!("slow-{number}"), run).await?);
    }
    let victim = busiest(stage, &runs).await?;
    let Some((victim, holds)) = victim else {
        return stage.claim(false, "a worker holds a run that is under way");
    };
    let killed_at = clock::now();
    stage.private.kill(&victim).await?;
    stage.say(&format!(
        "SIGKILL for {victim}, which held {holds} of {UNDER_WAY} runs."
    ))?;

    let mut succeeded = 0;
    let mut takeovers = 0;
    let mut first: Option<Timestamp> = None;
    let mut table = Table::new(&["RUN", "STATUS", "ATTEMPTS", "BY"]);
    for run in &runs {
        let status = stage.ended(run).await?;
        succeeded += usize::from(status == RunStatus::Succeeded);
        let events = stage.events(run).await?;
        let resumed = events.iter().find(|event| {
            event.event_type == EventType::RunResumed && event.data["takeover"] == true
        });
        if let Some(resumed) = resumed {
            takeovers += 1;
            first = Some(first.map_or(resumed.occurred_at, |first| first.min(resumed.occurred_at)));
        }
        let writers: Vec<&str> = events
            .iter()
            .filter(|event| {
                matches!(
                    event.event_type,
                    EventType::RunStarted | EventType::RunResumed
                )
            })
            .map(|event| event.actor.actor_id.as_str())
            .collect();
        table.row(vec![
            run.run.as_str().into(),
            Cell::word(status.as_str()),
            writers.len().to_string().into(),
            writers.join(", then ").into(),
        ]);
    }
    stage.table(table)?;
    let soon = first.map(|first| first.since(killed_at));
    let after = soon.map_or_else(|| "never".into(), span);
    stage.claim(
        takeovers > 0,
        &format!("{takeovers} runs were taken over, the first {after} after the kill"),
    )?;
    stage.claim(
        succeeded == UNDER_WAY,
        &format!(
            "all {UNDER_WAY} succeeded; a call that may be repeated was repeated under its own id"
        ),
    )
}

/// The worker that holds most of the runs, once all of them are under way, and how many.
async fn busiest(stage: &Stage, runs: &[RunRef]) -> Result<Option<(String, usize)>> {
    let deadline = Instant::now() + CALL_TAKES / 2;
    loop {
        let mut held: HashMap<String, usize> = HashMap::new();
        for run in runs {
            let last = stage
                .private
                .fleet
                .last_commit(&run.workspace, &run.run)
                .await?;
            if let Some(last) = last.filter(|last| last.status == Some(RunStatus::Running)) {
                *held.entry(last.writer.to_string()).or_default() += 1;
            }
        }
        let under_way: usize = held.values().sum();
        if under_way == runs.len() || Instant::now() > deadline {
            return Ok(held.into_iter().max_by_key(|(_, count)| *count));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
