//! `gatewright doctor`: looks over a fleet, and says of each fault what to do about it.

mod database;
mod fleet;

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use gatewright_worker::sandbox::memory_bound;
use serde::Serialize;

use crate::{
    context::Context,
    exit::Exit,
    out::{Cell, Form, Table},
    worker::MEMORY_IS_NOT_BOUND,
};

/// Look over servers, streams, tables, clocks and roles, and say what to do about each fault; exits with 1 when there is one.
#[derive(Debug, Args)]
pub struct DoctorArgs {}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Warning,
    Fault,
    /// It could not be made because of another fault.
    Skipped,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
            Self::Skipped => "skipped",
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, Serialize)]
struct Check {
    #[serde(rename = "check")]
    name: &'static str,
    state: State,
    found: String,
    /// What to do about it.
    remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Ok,
            found: found.into(),
            remedy: None,
        }
    }

    fn warning(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Warning,
            found: found.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn fault(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Fault,
            found: found.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn skipped(name: &'static str, because: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Skipped,
            found: because.into(),
            remedy: None,
        }
    }
}

/// How long one question to a server may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether commands can be executed on this machine, which need not be a worker's.
async fn sandbox(context: &Context) -> Check {
    match crate::worker::sandbox(&context.settings).check().await {
        Ok(()) => Check::ok(
            "sandbox",
            match memory_bound() {
                Some(bytes) => format!(
                    "a sandbox for commands can be made on this machine; the memory of all that run here is bounded to {bytes} bytes"
                ),
                None => format!(
                    "a sandbox for commands can be made on this machine; of those that run here {MEMORY_IS_NOT_BOUND}"
                ),
            },
        ),
        Err(unavailable) => Check::warning(
            "sandbox",
            format!("{unavailable}: workers on this machine refuse to execute commands"),
            unavailable.remedy,
        ),
    }
}

/// Looks.
pub async fn run(context: Context, _args: DoctorArgs) -> Result<Exit> {
    let (mut checks, database, sandbox) = tokio::join!(
        fleet::checks(&context),
        database::checks(&context),
        sandbox(&context)
    );
    checks.extend(database);
    checks.push(sandbox);
    let faults = checks
        .iter()
        .filter(|check| check.state == State::Fault)
        .count();
    let out = context.out;
    match out.form {
        Form::Json => {
            #[derive(Serialize)]
            struct Report<'a> {
                ok: bool,
                checks: &'a [Check],
            }
            out.json(&Report {
                ok: faults == 0,
                checks: &checks,
            })?;
        }
        Form::Ids => {
            for check in checks.iter().filter(|check| check.state == State::Fault) {
                out.line(check.name)?;
            }
        }
        Form::Table => {
            let mut table = Table::new(&["CHECK", "STATE", "FOUND"]);
            for check in &checks {
                table.row(vec![
                    check.name.into(),
                    Cell::word(check.state.word()),
                    (&check.found).into(),
                ]);
                if let Some(remedy) = &check.remedy {
                    table.row(vec!["".into(), "".into(), format!("→ {remedy}").into()]);
                }
            }
            out.table(&table)?;
        }
    }
    Ok(if faults == 0 { Exit::Ok } else { Exit::No })
}
