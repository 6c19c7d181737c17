//! `run list`: runs, the youngest first, from the read tables.

use anyhow::Result;
use clap::Args;
use gatewright_schemas::{RunStatus, WorkspaceId};
use gatewright_store::run::{self, Filter, Run};

use crate::{
    context::Context,
    exit::Exit,
    out::{Cell, Table, time},
    period::Since,
};

/// Runs asked for in one statement.
const PAGE: u32 = 500;

/// Runs, the youngest first
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only runs of this workspace
    #[arg(long, short)]
    workspace: Option<WorkspaceId>,
    /// Only runs that stand so; several words separated by commas
    #[arg(long, short, value_delimiter = ',', value_name = "STATUS")]
    status: Vec<RunStatus>,
    /// Only runs created since: a span such as 15m, or a time
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// At most so many
    #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Go on behind the page that named this cursor
    #[arg(long, value_name = "CURSOR")]
    after: Option<i64>,
}

/// Lists them.
pub async fn run(context: Context, args: ListArgs) -> Result<Exit> {
    let store = context.store().await?;
    let mut runs: Vec<Run> = Vec::new();
    let mut before = args.after;
    let mut more = true;
    while more {
        let have = u32::try_from(runs.len()).unwrap_or(u32::MAX);
        let left = args.limit.saturating_sub(have);
        if left == 0 {
            break;
        }
        let limit = left.min(PAGE);
        let filter = Filter {
            workspace: args.workspace.clone(),
            statuses: args.status.clone(),
            before,
            limit,
            ..Filter::default()
        };
        let page = run::list(&store, &filter).await?;
        more = page.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        before = page.last().map(|run| run.created_sequence).or(before);
        for run in page {
            if args.since.is_some_and(|since| *run.created_at < since.0) {
                // They come by age, so all that follow are older still.
                more = false;
                break;
            }
            runs.push(run);
        }
    }
    let next = runs
        .last()
        .filter(|_| more)
        .map(|run| run.created_sequence.to_string());
    context.out.list(
        &runs,
        next,
        |run| format!("{}/{}", run.workspace_id, run.run_id),
        table,
    )?;
    Ok(Exit::Ok)
}

/// Runs as a table.
pub fn table(runs: &[Run]) -> Table {
    let mut table = Table::new(&[
        "RUN", "STATUS", "CREATED", "CALLS", "WORKER", "WHY", "TITLE",
    ]);
    for run in runs {
        table.row(vec![
            format!("{}/{}", run.workspace_id, run.run_id).into(),
            Cell::word(&run.status),
            time(*run.created_at).into(),
            calls(run).into(),
            Cell::maybe(run.worker.as_deref()),
            Cell::maybe(why(run)),
            Cell::cut(run.title.as_deref().unwrap_or_default(), 40),
        ]);
    }
    table
}

/// Calls that succeeded, and where there are any those that failed and were denied.
fn calls(run: &Run) -> String {
    match (run.succeeded_calls, run.failed_calls, run.denied_calls) {
        (succeeded, 0, 0) => format!("{succeeded}"),
        (succeeded, failed, 0) => format!("{succeeded} ({failed} failed)"),
        (succeeded, failed, denied) => format!("{succeeded} ({failed} failed, {denied} denied)"),
    }
}

fn why(run: &Run) -> Option<String> {
    let code = run.error.as_ref()?.get("reason_code")?.as_str()?;
    Some(code.to_owned())
}
