//! `gatewright bench`: what this fleet does on this machine. Figures, never a verdict.

mod approval;
mod fleet;
mod gate;
mod latency;
mod projection;
mod quota;
mod report;
mod sandbox;
mod takeover;
mod throughput;

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use gatewright_schemas::WorkspaceId;

use crate::{context::Context, exit::Exit};

use fleet::{BenchFleet, Durability};
use report::Report;

/// Measure what a fleet does on this machine: figures, never a verdict
///
/// Starts private servers and the roles as processes of their own, and ends them. Build with --release before you quote its figures.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Runs of one no-op each for the throughput
    #[arg(long, default_value_t = 20_000)]
    pub runs: usize,
    /// Runs one after the other for the latency
    #[arg(long, default_value_t = 500)]
    pub latency_runs: usize,
    /// Runs that wait for a person at once; 0 leaves them out
    #[arg(long, default_value_t = 100_000)]
    pub parked_runs: usize,
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
    /// Measure the fleet that runs already, at --nats-url and --database-url, with its dispatchers, workers and projector
    #[arg(long)]
    pub running: bool,
}

/// Measures, and prints what it measured.
pub async fn run(context: Context, args: BenchArgs) -> Result<Exit> {
    let out = context.out;
    let say = |text: &str| eprintln!("{text}");
    let mut report = Report::of_this_machine();
    if !args.no_gate {
        say("the gate's decision time");
        report.gate = gate::measure();
        say("a command in the sandbox");
        report.sandbox = sandbox::measure(&crate::worker::sandbox(&context.settings)).await?;
    }
    let durabilities = if args.running {
        vec![Durability::Given]
    } else {
        args.durability.clone()
    };
    for durability in durabilities {
        say(&format!("{durability}: starting"));
        let fleet = match durability {
            Durability::Given => BenchFleet::running(&context).await?,
            _ => BenchFleet::start(&args, durability).await?,
        };
        report
            .fleets
            .push(measure(fleet, &args, durability, &say).await?);
    }
    if out.is_json() {
        out.json(&report)?;
    } else {
        println!("{report}");
    }
    Ok(Exit::Ok)
}

async fn measure(
    mut fleet: BenchFleet,
    args: &BenchArgs,
    durability: Durability,
    say: &impl Fn(&str),
) -> Result<report::Figures> {
    let mut figures = report::Figures::new(durability);
    // Caches and connections warm up before anything is measured.
    throughput::submit_and_wait(&fleet, &workspace("bench-warm-up")?, 500, |_| ()).await?;
    say(&format!(
        "{durability}: latency of {} runs, one after the other",
        args.latency_runs
    ));
    let latency = latency::measure(&fleet, &workspace("bench-latency")?, args.latency_runs).await?;
    figures.latency = Some(latency);
    say(&format!("{durability}: throughput of {} runs", args.runs));
    let progress = |done| say(&format!("{durability}: {done} of {} runs ended", args.runs));
    let throughput =
        throughput::measure(&fleet, &workspace("bench-load")?, args.runs, progress).await?;
    figures.throughput = Some(throughput);
    figures.worker_resident_mb = fleet.worker_resident_mb();
    if durability == Durability::Given {
        return Ok(figures);
    }
    say(&format!("{durability}: reservations of a limit"));
    figures.quota = Some(quota::measure(&fleet.fleet).await?);
    if !args.no_takeover {
        say(&format!("{durability}: a worker is killed"));
        figures.takeover =
            Some(takeover::measure(&mut fleet, &workspace("bench-takeover")?).await?);
    }
    if durability == Durability::Interval {
        say(&format!("{durability}: projecting the stream anew"));
        figures.projection = Some(projection::measure(&mut fleet).await?);
    }
    if durability == Durability::Interval && args.parked_runs > 0 {
        say(&format!("{durability}: parking {} runs", args.parked_runs));
        let progress = |done| say(&format!("{durability}: {done} runs parked"));
        let workspace = workspace("bench-parked")?;
        figures.parked =
            Some(approval::measure(&fleet, &workspace, args.parked_runs, progress).await?);
    }
    fleet.stop().await;
    Ok(figures)
}

fn workspace(name: &str) -> Result<WorkspaceId> {
    // A name of its own each time, so that a fleet can be measured again and again.
    let stamp = gatewright_bus::clock::now().as_micros() / 1_000_000;
    Ok(WorkspaceId::new(format!("{name}-{stamp}"))?)
}

/// The value below which `share` (0 to 1) of `sorted` lies.
fn percentile(sorted: &[Duration], share: f64) -> Duration {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of a short list"
    )]
    let index = ((sorted.len() as f64 - 1.0) * share).round() as usize;
    sorted.get(index).copied().unwrap_or_default()
}
