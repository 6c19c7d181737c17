//! `gatewright bench`: what this fleet does on this machine. Figures, never a verdict.

mod fleet;
mod gate;
mod latency;
mod projection;
mod report;
mod takeover;
mod throughput;

use std::time::Duration;

use clap::Args;
use gatewright_schemas::WorkspaceId;

pub use report::Report;

use fleet::{BenchFleet, Durability};

/// What to measure, and on what.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Runs of one no-op each for the throughput
    #[arg(long, default_value_t = 20_000)]
    pub runs: usize,
    /// Runs one after the other for the latency
    #[arg(long, default_value_t = 500)]
    pub latency_runs: usize,
    /// Worker processes
    #[arg(long, default_value_t = 2)]
    pub workers: usize,
    /// Runs that each worker moves at once
    #[arg(long, default_value_t = 128)]
    pub concurrency: usize,
    /// How messages reach the disk: one node every 100 ms, one node at once, three nodes at once
    #[arg(long, value_enum, default_values_t = [Durability::Interval])]
    pub durability: Vec<Durability>,
    /// Leave out what needs no servers
    #[arg(long)]
    pub no_gate: bool,
    /// Leave out the takeover
    #[arg(long)]
    pub no_takeover: bool,
    /// Servers that run already, dispatcher, workers and projector among them (NATS); needs --database-url, too
    #[arg(long, env = "NATS_URL", requires = "database_url")]
    pub nats_url: Option<String>,
    /// Servers that run already (Postgres)
    #[arg(long, env = "DATABASE_URL", requires = "nats_url")]
    pub database_url: Option<String>,
}

/// Measures everything that `args` asks for.
pub async fn run(args: &BenchArgs, say: impl Fn(&str)) -> anyhow::Result<Report> {
    let mut report = Report::of_this_machine();
    if !args.no_gate {
        say("the gate's decision time");
        report.gate = gate::measure();
    }
    let external = args.nats_url.clone().zip(args.database_url.clone());
    let durabilities = if external.is_some() { vec![Durability::Given] } else { args.durability.clone() };
    for durability in durabilities {
        say(&format!("{durability}: starting"));
        let mut fleet = BenchFleet::start(args, durability, external.clone()).await?;
        let mut figures = report::Figures::new(durability);
        // Caches and connections warm up before anything is measured.
        throughput::submit_and_wait(&fleet, &workspace("bench-warm-up")?, 500, |_| ()).await?;
        say(&format!("{durability}: latency of {} runs, one after the other", args.latency_runs));
        figures.latency = Some(latency::measure(&fleet, &workspace("bench-latency")?, args.latency_runs).await?);
        say(&format!("{durability}: throughput of {} runs", args.runs));
        figures.throughput = Some(
            throughput::measure(&fleet, &workspace("bench-load")?, args.runs, |done| {
                say(&format!("{durability}: {done} of {} runs ended", args.runs));
            })
            .await?,
        );
        figures.worker_resident_mb = fleet.worker_resident_mb();
        if durability == Durability::Interval {
            say(&format!("{durability}: projecting the stream anew"));
            figures.projection = Some(projection::measure(&mut fleet).await?);
        }
        if !args.no_takeover && durability != Durability::Given {
            say(&format!("{durability}: a worker is killed"));
            figures.takeover = Some(takeover::measure(&mut fleet, &workspace("bench-takeover")?).await?);
        }
        fleet.stop().await;
        report.fleets.push(figures);
    }
    Ok(report)
}

fn workspace(name: &str) -> anyhow::Result<WorkspaceId> {
    // A name of its own each time, so that a fleet can be measured again and again.
    let stamp = gatewright_bus::clock::now().as_micros() / 1_000_000;
    Ok(WorkspaceId::new(format!("{name}-{stamp}"))?)
}

/// The value below which `share` (0 to 1) of `sorted` lies.
fn percentile(sorted: &[Duration], share: f64) -> Duration {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index of a short list")]
    let index = ((sorted.len() as f64 - 1.0) * share).round() as usize;
    sorted.get(index).copied().unwrap_or_default()
}
