//! `gatewright quota`: how much of each limit is leased, and who has leases open.

use anyhow::Result;
use clap::{Args, Subcommand};
use gatewright_bus::{
    clock,
    quota::{Lease, Ledger},
};
use gatewright_policy::{QuotaWindow, Snapshot};
use gatewright_schemas::Timestamp;
use serde::Serialize;

use crate::{
    context::Context,
    exit::Exit,
    out::{Cell, Table, time},
};

/// Look at the counters of the policy's limits.
#[derive(Debug, Args)]
pub struct QuotaArgs {
    #[command(subcommand)]
    verb: QuotaVerb,
}

#[derive(Debug, Subcommand)]
enum QuotaVerb {
    /// The counters of which something is leased in the windows that are open now
    List {
        /// Those of the last days as well
        #[arg(long)]
        all: bool,
        /// At most so many
        #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// Go on behind the page that named this cursor
        #[arg(
            long,
            value_name = "CURSOR",
            default_value = "",
            hide_default_value = true
        )]
        after: String,
    },
}

/// A counter in one window, as `--json` shows it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// The counter and the window.
    id: String,
    counter: &'a str,
    window: QuotaWindow,
    starts_at: Timestamp,
    resets_at: Timestamp,
    /// By the active policy; none when it sets no such limit.
    limit: Option<u64>,
    /// Units leased out in all, used or not.
    leased: u64,
    /// Of which so many may be unused, since their leases are open. How many are, only the holders know.
    open: u64,
    leases: &'a [Lease],
}

impl<'a> Line<'a> {
    fn new(ledger: &'a Ledger, snapshot: &Snapshot) -> Self {
        let counter = &ledger.counter;
        Self {
            id: counter.key(),
            counter: &counter.name,
            window: counter.window,
            starts_at: counter.starts_at,
            resets_at: counter.resets_at(),
            limit: snapshot
                .policy()
                .and_then(|policy| policy.limit_of(&counter.name)),
            leased: ledger.leased,
            open: ledger.leases.iter().map(|lease| lease.units).sum(),
            leases: &ledger.leases,
        }
    }
}

/// Does what was asked.
pub async fn run(context: Context, args: QuotaArgs) -> Result<Exit> {
    match args.verb {
        QuotaVerb::List { all, limit, after } => list(&context, all, &after, limit.into()).await,
    }
}

async fn list(context: &Context, all: bool, after: &str, limit: usize) -> Result<Exit> {
    let fleet = context.fleet().await?;
    let snapshot = fleet.authority_now().await?;
    let found = fleet.quotas(all, after, limit, clock::now()).await?;
    let lines: Vec<Line<'_>> = found
        .iter()
        .map(|ledger| Line::new(ledger, &snapshot))
        .collect();
    let next = lines
        .last()
        .filter(|_| lines.len() == limit)
        .map(|last| last.id.clone());
    context
        .out
        .list(&lines, next, |line| line.id.clone(), table)?;
    Ok(Exit::Ok)
}

fn table(lines: &[Line<'_>]) -> Table {
    let mut table = Table::new(&[
        "COUNTER",
        "WINDOW",
        "BEGAN",
        "RESETS",
        "LIMIT",
        "LEASED",
        "OPEN LEASES",
    ]);
    for line in lines {
        let leases: Vec<String> = line
            .leases
            .iter()
            .map(|lease| format!("{} {}", lease.holder, lease.units))
            .collect();
        table.row(vec![
            Cell::cut(line.counter, 60),
            line.window.as_str().into(),
            time(line.starts_at).into(),
            time(line.resets_at).into(),
            Cell::maybe(line.limit.map(|limit| limit.to_string())),
            line.leased.to_string().into(),
            if leases.is_empty() {
                "-".into()
            } else {
                Cell::cut(leases.join(", "), 60)
            },
        ]);
    }
    table
}
