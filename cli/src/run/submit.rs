//! `run submit`: one run, or one a line, from a file or standard input.

use std::{
    fs::File,
    io::{BufRead, BufReader, IsTerminal as _, Read as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use clap::Args;
use futures::{StreamExt as _, stream};
use gatewright_bus::Fleet;
use gatewright_schemas::{ReasonCode, Reply, RunId, RunStatus, Violation, WorkspaceId};
use serde::Serialize;
use serde_json::Value;

use super::watch;
use crate::{
    context::Context,
    escape::escaped_lines,
    exit::{Exit, Failure},
    issue::{self, PATIENCE},
    out::{Cell, Form, Out, Table},
    period::Period,
    progress,
    target::{DEFAULT_WORKSPACE, RunRef},
};

/// Submissions that are under way at once.
const AT_ONCE: usize = 256;

/// Submit a run, or many as JSON lines; exits with 5 when one is refused
///
/// The file holds one JSON object, or one on each line. An empty object is a run of one `runtime.noop` call.
/// The fleet checks a submission and answers with every violation; what it refuses it keeps as a dead letter.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The file; `-`, or nothing, is standard input
    #[arg(default_value = "-", hide_default_value = true)]
    file: PathBuf,
    /// The workspace to submit to
    #[arg(long, short, default_value = DEFAULT_WORKSPACE)]
    workspace: WorkspaceId,
    /// Wait until the runs have ended; exits with 1 when one does not succeed
    #[arg(long)]
    wait: bool,
    /// How long to wait for that; exits with 6 when it is over
    #[arg(long, value_name = "PERIOD", requires = "wait")]
    timeout: Option<Period>,
}

/// What came of one submission.
#[derive(Debug, Serialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
enum Outcome {
    /// The run exists.
    Accepted {
        workspace_id: WorkspaceId,
        run_id: RunId,
        status: RunStatus,
    },
    /// It is refused.
    Refused {
        workspace_id: WorkspaceId,
        /// The run that records the refusal.
        run_id: Option<RunId>,
        reason_code: Option<ReasonCode>,
        reason: String,
        violations: Vec<Violation>,
    },
}

/// Submits, and waits where that is wished.
pub async fn run(context: Context, args: SubmitArgs) -> Result<Exit> {
    let mut payloads = Payloads::open(&args.file)?;
    let fleet = context.fleet().await?;
    let many = payloads.are_many;
    let bar = progress::counter("submitting");
    if !many {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let deadline = args
        .timeout
        .map(|timeout| tokio::time::Instant::now() + timeout.0);
    let submitted = stream::iter(std::iter::from_fn(|| payloads.next()))
        .map(|payload| submit(&fleet, &args, payload, deadline))
        .buffered(AT_ONCE);
    let mut submitted = std::pin::pin!(submitted);
    let mut exit = Exit::Ok;
    while let Some(outcome) = submitted.next().await {
        let outcome = outcome?;
        bar.inc(1);
        let shown = bar.suspend(|| show(context.out, &outcome));
        shown?;
        let this = match &outcome {
            Outcome::Refused { .. } => Exit::Refused,
            Outcome::Accepted { status, .. } if args.wait && *status != RunStatus::Succeeded => {
                Exit::No
            }
            Outcome::Accepted { .. } => Exit::Ok,
        };
        // A refusal outweighs a failure.
        if exit != Exit::Refused && this != Exit::Ok {
            exit = this;
        }
    }
    bar.finish_and_clear();
    Ok(exit)
}

async fn submit(
    fleet: &Fleet,
    args: &SubmitArgs,
    payload: Result<Vec<u8>>,
    deadline: Option<tokio::time::Instant>,
) -> Result<Outcome> {
    let workspace_id = args.workspace.clone();
    let reply = fleet.submit(&workspace_id, payload?, PATIENCE).await?;
    let (run_id, status) = match reply {
        Reply::Accepted { run_id, status, .. } => (run_id, status.unwrap_or(RunStatus::Queued)),
        Reply::Refused {
            run_id,
            reason_code,
            reason,
            violations,
        } => {
            return Ok(Outcome::Refused {
                workspace_id,
                run_id,
                reason_code,
                reason,
                violations,
            });
        }
    };
    let status = if args.wait && !status.is_terminal() {
        let run = RunRef {
            workspace: workspace_id.clone(),
            run: run_id.clone(),
        };
        watch::until_ended(fleet, &run, deadline).await?
    } else {
        status
    };
    Ok(Outcome::Accepted {
        workspace_id,
        run_id,
        status,
    })
}

fn show(out: Out, outcome: &Outcome) -> Result<()> {
    if let (
        Outcome::Refused {
            reason_code,
            reason,
            violations,
            ..
        },
        false,
    ) = (outcome, out.is_json())
    {
        let told = issue::told(*reason_code, reason, violations);
        eprintln!("gatewright: {}", escaped_lines(&told));
    }
    match (outcome, out.form) {
        (outcome, Form::Json) => out.json_line(outcome),
        (
            Outcome::Accepted {
                workspace_id,
                run_id,
                ..
            },
            Form::Ids,
        ) => out.line(format!("{workspace_id}/{run_id}")),
        (
            Outcome::Accepted {
                workspace_id,
                run_id,
                status,
            },
            Form::Table,
        ) => {
            let mut table = Table::new(&[]);
            table.row(vec![
                format!("{workspace_id}/{run_id}").into(),
                Cell::word(status.as_str()),
            ]);
            out.table(&table)
        }
        (Outcome::Refused { .. }, _) => Ok(()),
    }
}

/// The submissions of a file, read as they are needed.
struct Payloads {
    lines: Box<dyn BufRead + Send>,
    /// What was read to find out what the file holds.
    first: Option<Vec<u8>>,
    are_many: bool,
}

impl Payloads {
    fn open(path: &std::path::Path) -> Result<Self> {
        let mut lines: Box<dyn BufRead + Send> = if path.as_os_str() == "-" {
            if std::io::stdin().is_terminal() {
                return Err(Failure::usage(
                    "there is nothing to submit: name a file, or pipe a run into it, such as: echo '{}' | gatewright run submit",
                ));
            }
            Box::new(BufReader::new(std::io::stdin()))
        } else {
            let file = File::open(path).map_err(|error| {
                Failure::usage(format!("cannot read `{}`: {error}", path.display()))
            })?;
            Box::new(BufReader::new(file))
        };
        let mut first = Vec::new();
        while first.iter().all(u8::is_ascii_whitespace) {
            first.clear();
            if lines.read_until(b'\n', &mut first)? == 0 {
                return Err(Failure::usage(
                    "there is nothing to submit: the input is empty",
                ));
            }
        }
        // A line that is a whole JSON value is the first of many, or all there is; else the file is one value over many lines.
        let is_line = serde_json::from_slice::<Value>(&first).is_ok();
        if !is_line {
            lines.read_to_end(&mut first)?;
        }
        let are_many = is_line && !lines.fill_buf()?.is_empty();
        Ok(Self {
            lines,
            first: Some(first),
            are_many,
        })
    }

    fn next(&mut self) -> Option<Result<Vec<u8>>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        loop {
            let mut line = Vec::new();
            match self.lines.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) if line.iter().all(u8::is_ascii_whitespace) => {}
                Ok(_) => return Some(Ok(line)),
                Err(error) => return Some(Err(error).context("cannot read the next submission")),
            }
        }
    }
}
