//! `run cancel` and `run retry`: commands to runs.

use anyhow::Result;
use clap::Args;
use futures::{StreamExt as _, stream};
use gatewright_bus::Fleet;
use gatewright_schemas::{Command, Reply, RunId, RunStatus, WorkspaceId};
use serde::Serialize;

use super::events;
use crate::{
    context::Context,
    escape::escaped_lines,
    exit::{Exit, told},
    issue::{self, Issuer},
    out::{Cell, Form, Table},
    target::{RunRef, expand},
};

/// Commands that are under way at once.
const AT_ONCE: usize = 32;

/// End runs now
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The runs; `-` reads them from standard input
    #[arg(value_name = "[WORKSPACE/]RUN", required = true)]
    runs: Vec<String>,
    /// Why, for people
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    issuer: Issuer,
}

/// Begin failed or cancelled runs anew, each under a new id
#[derive(Debug, Args)]
pub struct RetryArgs {
    /// The runs; `-` reads them from standard input
    #[arg(value_name = "[WORKSPACE/]RUN", required = true)]
    runs: Vec<String>,
    /// The new run's id, where one run is retried; made up when left out
    #[arg(long, value_name = "RUN")]
    new_id: Option<RunId>,
    #[command(flatten)]
    issuer: Issuer,
}

/// Where a run stands after a command.
#[derive(Debug, Serialize)]
struct Done {
    workspace_id: WorkspaceId,
    run_id: RunId,
    status: Option<RunStatus>,
}

/// Cancels.
pub async fn cancel(context: Context, args: CancelArgs) -> Result<Exit> {
    let command = Command::Cancel {
        reason: args.reason,
    };
    order(&context, &args.runs, args.issuer.name(), command).await
}

/// Retries.
pub async fn retry(context: Context, args: RetryArgs) -> Result<Exit> {
    let command = Command::Retry {
        new_run_id: args.new_id,
    };
    order(&context, &args.runs, args.issuer.name(), command).await
}

/// Gives the command to each run; goes on past those that refuse it, and ends with the first refusal's exit code.
async fn order(context: &Context, runs: &[String], by: String, command: Command) -> Result<Exit> {
    let runs: Vec<RunRef> = expand(runs)?;
    let fleet = context.fleet().await?;
    let (fleet, by, command) = (&fleet, &by, &command);
    let mut done = stream::iter(runs)
        .map(|run| async move { give(fleet, run, by.clone(), command.clone()).await })
        .buffered(AT_ONCE);
    let mut exit = Exit::Ok;
    while let Some(done) = done.next().await {
        match done {
            Ok(done) => show(context, &done)?,
            Err(error) => {
                let this = crate::exit::exit_of(&error);
                eprintln!("gatewright: {}", escaped_lines(&told(&error)));
                if matches!(this, Exit::Unreachable | Exit::NoAnswer) {
                    return Ok(this);
                }
                if exit == Exit::Ok {
                    exit = this;
                }
            }
        }
    }
    Ok(exit)
}

async fn give(fleet: &Fleet, run: RunRef, by: String, command: Command) -> Result<Done> {
    events::must_exist(fleet, &run).await?;
    let message = gatewright_schemas::CommandMessage {
        issued_by: by,
        command,
    };
    let reply: Reply = fleet
        .command(&run.workspace, &run.run, &message, issue::PATIENCE)
        .await?;
    let accepted = issue::accepted(reply).map_err(|error| error.context(format!("{run}")))?;
    Ok(Done {
        workspace_id: run.workspace,
        run_id: accepted.run_id,
        status: accepted.status,
    })
}

fn show(context: &Context, done: &Done) -> Result<()> {
    let named = format!("{}/{}", done.workspace_id, done.run_id);
    match context.out.form {
        Form::Json => context.out.json_line(done),
        Form::Ids => context.out.line(named),
        Form::Table => {
            let mut table = Table::new(&[]);
            let status = done.status.map_or("-", RunStatus::as_str);
            table.row(vec![named.into(), Cell::word(status)]);
            context.out.table(&table)
        }
    }
}
