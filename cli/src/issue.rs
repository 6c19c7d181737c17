//! Giving commands to the dispatcher, and what its answers mean.

use std::{fmt::Write as _, time::Duration};

use anyhow::Result;
use clap::Args;
use gatewright_bus::Fleet;
use gatewright_schemas::{
    Command, CommandMessage, ReasonCode, Reply, RunId, RunStatus, Violation, WorkspaceId,
};

use crate::exit::{Exit, Failure};

/// How long a dispatcher's answer is waited for.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Who gives a command.
#[derive(Debug, Clone, Args)]
pub struct Issuer {
    /// In whose name; the user of this machine when left out
    #[arg(id = "issuer", long = "as", value_name = "NAME")]
    name: Option<String>,
}

impl Issuer {
    /// The name that is recorded with what comes of the command.
    pub fn name(&self) -> String {
        let of_system = || {
            ["USER", "LOGNAME"]
                .iter()
                .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
                .unwrap_or_else(|| format!("uid-{}", rustix::process::getuid().as_raw()))
        };
        self.name.clone().unwrap_or_else(of_system)
    }
}

/// What the dispatcher accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The run that it concerns.
    pub run_id: RunId,
    /// Where the run stands.
    pub status: Option<RunStatus>,
    /// What came into being.
    pub created: Option<String>,
}

/// Gives a command and waits for its answer; a refusal is an error.
pub async fn issue(
    fleet: &Fleet,
    workspace: &WorkspaceId,
    run: &RunId,
    by: String,
    command: Command,
) -> Result<Accepted> {
    let message = CommandMessage {
        issued_by: by,
        command,
    };
    let reply = fleet.command(workspace, run, &message, PATIENCE).await?;
    accepted(reply)
}

/// What was accepted; a refusal is an error.
pub fn accepted(reply: Reply) -> Result<Accepted> {
    match reply {
        Reply::Accepted {
            run_id,
            status,
            created,
        } => Ok(Accepted {
            run_id,
            status,
            created,
        }),
        Reply::Refused {
            reason_code,
            reason,
            violations,
            ..
        } => Err(Failure::of(
            Exit::Refused,
            told(reason_code, &reason, &violations),
        )),
    }
}

/// A refusal in words, a line for each violation.
pub fn told(code: Option<ReasonCode>, reason: &str, violations: &[Violation]) -> String {
    let mut text = String::from("refused");
    // Writing to a string cannot fail.
    let _ = match code {
        Some(code) => write!(text, " ({code})"),
        None => Ok(()),
    };
    // A reason that lists the violations itself would say everything twice.
    let reason = if violations.is_empty() {
        reason
    } else {
        reason.split(": ").next().unwrap_or(reason)
    };
    let _ = write!(text, ": {reason}");
    for violation in violations {
        let pointer = match violation.pointer.as_str() {
            "" => "(the whole)",
            pointer => pointer,
        };
        let _ = write!(text, "\n  {pointer}: {}", violation.message);
    }
    text
}
