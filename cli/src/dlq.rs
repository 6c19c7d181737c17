//! `gatewright dlq`: messages that could not be worked on, kept and sent again.

use anyhow::Result;
use clap::{Args, Subcommand};
use gatewright_bus::dead_letters::{DeadLetterError, StoredDeadLetter};
use gatewright_schemas::{DeadLetter, Reply, RunId, RunStatus, WorkspaceId};
use serde::Serialize;

use crate::{
    context::Context,
    escape::{escaped, escaped_lines, to_json},
    exit::{self, Exit, Failure},
    issue::{self, PATIENCE},
    out::{Cell, Form, Table, time},
    target::expand,
};

/// Look at messages that could not be worked on, and send them again.
#[derive(Debug, Args)]
pub struct DlqArgs {
    #[command(subcommand)]
    verb: DlqVerb,
}

#[derive(Debug, Subcommand)]
enum DlqVerb {
    /// The dead letters, the oldest first
    List {
        /// Only of this workspace; `_fleet` has those that belong to none
        #[arg(long, short)]
        workspace: Option<WorkspaceId>,
        /// At most so many
        #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// Go on behind the page that named this cursor
        #[arg(
            long,
            value_name = "CURSOR",
            default_value_t = 0,
            hide_default_value = true
        )]
        after: u64,
    },
    /// A dead letter, with every violation and the message
    Show {
        /// Its number
        number: u64,
        /// Only the message, to be mended and submitted
        #[arg(long)]
        message: bool,
    },
    /// Publish dead letters again where they were published first; exits with 5 when one is refused again
    Replay {
        /// Their numbers; `-` reads them from standard input
        #[arg(required = true, value_name = "NUMBER")]
        numbers: Vec<String>,
    },
}

/// A dead letter as `--json` shows it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    number: u64,
    workspace_id: &'a WorkspaceId,
    #[serde(flatten)]
    letter: &'a DeadLetter,
}

impl<'a> From<&'a StoredDeadLetter> for Line<'a> {
    fn from(dead: &'a StoredDeadLetter) -> Self {
        Self {
            number: dead.sequence,
            workspace_id: &dead.workspace_id,
            letter: &dead.letter,
        }
    }
}

/// Does what was asked.
pub async fn run(context: Context, args: DlqArgs) -> Result<Exit> {
    match args.verb {
        DlqVerb::List {
            workspace,
            limit,
            after,
        } => list(&context, workspace.as_ref(), after, limit.into()).await,
        DlqVerb::Show { number, message } => show(&context, number, message).await,
        DlqVerb::Replay { numbers } => replay(&context, &expand(&numbers)?).await,
    }
}

async fn list(
    context: &Context,
    workspace: Option<&WorkspaceId>,
    after: u64,
    limit: usize,
) -> Result<Exit> {
    let fleet = context.fleet().await?;
    let found = fleet.dead_letters(workspace, after, limit).await?;
    let lines: Vec<Line<'_>> = found.iter().map(Line::from).collect();
    let next = lines
        .last()
        .filter(|_| lines.len() == limit)
        .map(|last| last.number.to_string());
    context
        .out
        .list(&lines, next, |line| line.number.to_string(), table)?;
    Ok(Exit::Ok)
}

fn table(lines: &[Line<'_>]) -> Table {
    let mut table = Table::new(&["NUMBER", "DIED", "WORKSPACE", "CODE", "RUN", "REASON"]);
    for line in lines {
        table.row(vec![
            line.number.to_string().into(),
            time(line.letter.died_at).into(),
            line.workspace_id.as_str().into(),
            line.letter.reason_code.as_str().into(),
            Cell::maybe(line.letter.run_id.as_ref()),
            Cell::cut(&line.letter.reason, 80),
        ]);
    }
    table
}

fn not_found(number: u64) -> anyhow::Error {
    Failure::not_found(format!(
        "there is no dead letter {number}; `gatewright dlq list` shows which there are"
    ))
}

async fn show(context: &Context, number: u64, only_message: bool) -> Result<Exit> {
    let fleet = context.fleet().await?;
    let Some(dead) = fleet.dead_letter(number).await? else {
        return Err(not_found(number));
    };
    let letter = &dead.letter;
    let message = match (&letter.json, &letter.text) {
        (Some(json), _) => to_json(json, true)?,
        (None, Some(text)) => escaped_lines(text),
        (None, None) => String::new(),
    };
    if only_message {
        context.out.line(message)?;
        return Ok(Exit::Ok);
    }
    match context.out.form {
        Form::Json => context.out.json(&Line::from(&dead))?,
        Form::Ids => context.out.line(number.to_string())?,
        Form::Table => {
            let mut table = Table::new(&[]);
            let mut fact = |name: &str, value: Cell| table.row(vec![name.into(), value]);
            fact("number", number.to_string().into());
            fact("published to", (&letter.subject).into());
            fact("died", time(letter.died_at).into());
            fact("put aside by", letter.by.as_str().into());
            fact("run", Cell::maybe(letter.run_id.as_ref()));
            fact("code", letter.reason_code.as_str().into());
            fact("reason", Cell::cut(&letter.reason, 400));
            context.out.table(&table)?;
            let mut violations = Table::new(&["AT", "VIOLATION"]).indented(2);
            for violation in &letter.violations {
                let at = if violation.pointer.is_empty() {
                    "(the whole)"
                } else {
                    &violation.pointer
                };
                violations.row(vec![at.into(), (&violation.message).into()]);
            }
            if !violations.is_empty() {
                context.out.table(&violations)?;
            }
            context.out.line("message")?;
            context.out.line(message)?;
        }
    }
    Ok(Exit::Ok)
}

/// What came of sending one again.
#[derive(Debug, Serialize)]
struct Replayed {
    number: u64,
    workspace_id: WorkspaceId,
    run_id: RunId,
    status: Option<RunStatus>,
}

async fn replay(context: &Context, numbers: &[u64]) -> Result<Exit> {
    let fleet = context.fleet().await?;
    let mut ends = Exit::Ok;
    for number in numbers {
        let Some(dead) = fleet.dead_letter(*number).await? else {
            return Err(not_found(*number));
        };
        let reply = match fleet.replay(&dead, PATIENCE).await {
            Ok(reply) => reply,
            Err(error @ DeadLetterError::NotReplayable { .. }) => {
                let run = dead.letter.run_id.as_ref();
                let advice = run.map_or(String::new(), |run| {
                    format!(
                        "; to begin its run anew: gatewright run retry {}/{run}",
                        dead.workspace_id
                    )
                });
                return Err(Failure::of(Exit::Refused, format!("{error}{advice}")));
            }
            Err(error) => return Err(error.into()),
        };
        if let Reply::Refused {
            reason_code,
            reason,
            violations,
            ..
        } = &reply
        {
            let told = issue::told(*reason_code, reason, violations);
            eprintln!("gatewright: dead letter {number}: {}", escaped_lines(&told));
            ends = Exit::Refused;
            continue;
        }
        let accepted = issue::accepted(reply)?;
        let done = Replayed {
            number: *number,
            workspace_id: dead.workspace_id,
            run_id: accepted.run_id,
            status: accepted.status,
        };
        let run = format!("{}/{}", done.workspace_id, done.run_id);
        match context.out.form {
            Form::Json => context.out.json_line(&done)?,
            Form::Ids => context.out.line(run)?,
            Form::Table => {
                let status = done.status.map_or("-", RunStatus::as_str);
                let mut table = Table::new(&[]);
                table.row(vec![
                    number.to_string().into(),
                    escaped(&run).into(),
                    Cell::word(status),
                ]);
                context.out.table(&table)?;
            }
        }
    }
    Ok(ends)
}

/// What an error about dead letters means for the exit code.
pub fn exit_of(error: &DeadLetterError) -> Exit {
    match error {
        DeadLetterError::Unavailable { .. } => Exit::Unreachable,
        DeadLetterError::Unreadable { .. } => Exit::No,
        DeadLetterError::NotReplayable { .. } | DeadLetterError::Redacted { .. } => Exit::Refused,
        DeadLetterError::Request(error) => exit::of_request(error),
    }
}
