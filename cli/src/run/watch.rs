//! `run watch`: a run as it goes on, until it ends.

use anyhow::Result;
use clap::Args;
use gatewright_bus::Fleet;
use gatewright_schemas::{RunStatus, StoredCommit};
use tokio::time::Instant;

use super::{describe, events};
use crate::{
    context::Context,
    exit::{Exit, Failure},
    period::Period,
    target::RunRef,
};

/// Show a run's events as they happen, until it has ended; exits with 1 when it did not succeed
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The run
    #[arg(value_name = "[WORKSPACE/]RUN")]
    run: RunRef,
    /// How long to watch; exits with 6 when it is over
    #[arg(long, value_name = "PERIOD")]
    timeout: Option<Period>,
}

/// Watches it.
pub async fn run(context: Context, args: WatchArgs) -> Result<Exit> {
    let fleet = context.fleet().await?;
    events::must_exist(&fleet, &args.run).await?;
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout.0);
    let status = follow(&fleet, &args.run, deadline, |stored| {
        events::show(context.out, stored)
    })
    .await?;
    if !context.out.is_json() {
        eprintln!("{} {}", args.run, describe::ended(status));
    }
    Ok(if status == RunStatus::Succeeded {
        Exit::Ok
    } else {
        Exit::No
    })
}

/// Waits until the run has ended, and tells people when it waits for somebody.
pub async fn until_ended(
    fleet: &Fleet,
    run: &RunRef,
    deadline: Option<Instant>,
) -> Result<RunStatus> {
    follow(fleet, run, deadline, |stored| {
        if stored.status == Some(RunStatus::WaitingApproval) {
            eprintln!("{run} waits for an approval: gatewright approval list");
        }
        Ok(())
    })
    .await
}

/// Waits until the run has ended, whatever it waits for meanwhile.
pub async fn until_ended_quietly(
    fleet: &Fleet,
    run: &RunRef,
    deadline: Instant,
) -> Result<RunStatus> {
    follow(fleet, run, Some(deadline), |_| Ok(())).await
}

/// Gives every commit of the run to `each` until it has ended.
async fn follow(
    fleet: &Fleet,
    run: &RunRef,
    deadline: Option<Instant>,
    mut each: impl FnMut(&StoredCommit) -> Result<()>,
) -> Result<RunStatus> {
    let mut following = fleet.follow(&run.workspace, &run.run, 0).await?;
    loop {
        let commits = match deadline {
            None => following.next().await?,
            Some(deadline) => tokio::time::timeout_at(deadline, following.next())
                .await
                .map_err(|_| {
                    Failure::of(
                        Exit::NoAnswer,
                        format!("{run} has not ended in the time given"),
                    )
                })??,
        };
        for stored in &commits {
            each(stored)?;
            if let Some(status) = stored.status.filter(|status| status.is_terminal()) {
                return Ok(status);
            }
        }
    }
}
