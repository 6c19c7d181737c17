//! `run events`: a run's history, from the stream.

use anyhow::Result;
use clap::Args;
use gatewright_bus::Fleet;
use gatewright_schemas::{Event, StoredCommit, Timestamp, WriterId};
use serde::Serialize;

use super::describe;
use crate::{
    context::Context,
    escape::escaped,
    exit::{Exit, Failure},
    out::{Cell, Form, Out, Table, time},
    target::RunRef,
};

/// A run's events, as the stream has them
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// The run
    #[arg(value_name = "[WORKSPACE/]RUN")]
    run: RunRef,
    /// Go on showing events as they happen, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
}

/// An event as `--json` shows it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    stream_sequence: u64,
    stored_at: Timestamp,
    writer: &'a WriterId,
    attempt: u32,
    event: &'a Event,
}

/// Shows them.
pub async fn run(context: Context, args: EventsArgs) -> Result<Exit> {
    let fleet = context.fleet().await?;
    must_exist(&fleet, &args.run).await?;
    if args.follow {
        let mut following = fleet.follow(&args.run.workspace, &args.run.run, 0).await?;
        loop {
            for stored in following.next().await? {
                show(context.out, &stored)?;
            }
        }
    }
    for stored in fleet.history(&args.run.workspace, &args.run.run).await? {
        show(context.out, &stored)?;
    }
    Ok(Exit::Ok)
}

/// An error when nothing is stored of the run.
pub async fn must_exist(fleet: &Fleet, run: &RunRef) -> Result<()> {
    match fleet.last_commit(&run.workspace, &run.run).await? {
        Some(_) => Ok(()),
        None => Err(not_found(run)),
    }
}

/// What is said of a run that does not exist.
pub fn not_found(run: &RunRef) -> anyhow::Error {
    Failure::not_found(format!(
        "there is no run `{}` in the workspace `{}`; `gatewright run list` shows which there are",
        run.run, run.workspace
    ))
}

/// Prints the events of a commit.
pub fn show(out: Out, stored: &StoredCommit) -> Result<()> {
    for event in &stored.commit.events {
        match out.form {
            Form::Json => out.json_line(&Line {
                stream_sequence: stored.sequence,
                stored_at: stored.stored_at,
                writer: &stored.writer,
                attempt: stored.commit.attempt,
                event,
            })?,
            Form::Ids => out.line(escaped(event.event_id.as_str()))?,
            Form::Table => out.table(&line(event))?,
        }
    }
    Ok(())
}

/// One event in words. The columns are wide enough to line up from one call to the next.
fn line(event: &Event) -> Table {
    let mut table = Table::new(&[]);
    table.row(vec![
        format!("{:>3}", event.seq).into(),
        time(event.occurred_at).into(),
        format!("{:<24}", event.event_type.as_str()).into(),
        Cell::text(describe::event(event)),
    ]);
    table
}
