//! `gatewright approval remembered`: approvals that hold for like calls.

use anyhow::Result;
use clap::{Args, Subcommand};
use gatewright_bus::{Fleet, clock};
use gatewright_schemas::{Command, RememberedApprovalId, RunId, WorkspaceId};
use gatewright_store::remembered_approval::{self, Standing, State};

use super::{joined, strings};
use crate::{
    context::Context,
    exit::{self, Exit, Failure},
    issue::{self, Issuer},
    out::{Cell, Table, span},
    target::{DEFAULT_WORKSPACE, expand},
};

/// List the approvals that hold for like calls, and take them back.
#[derive(Debug, Args)]
pub struct RememberedArgs {
    /// The workspace
    #[arg(long, short, global = true, default_value = DEFAULT_WORKSPACE)]
    workspace: WorkspaceId,
    #[command(subcommand)]
    verb: RememberedVerb,
}

#[derive(Debug, Subcommand)]
enum RememberedVerb {
    /// The remembered approvals of a workspace
    List {
        /// At most so many
        #[arg(long, short = 'n', default_value_t = 50)]
        limit: u32,
        /// Those after this id
        #[arg(long, default_value = "", hide_default_value = true)]
        after: String,
    },
    /// Ask about each call again
    Revoke {
        /// The remembered approvals; `-` reads them from standard input
        #[arg(required = true)]
        remembered: Vec<String>,
        /// Why, for people
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        issuer: Issuer,
    },
}

pub(super) async fn run(context: &Context, args: RememberedArgs) -> Result<Exit> {
    let workspace = &args.workspace;
    match args.verb {
        RememberedVerb::List { limit, after } => list(context, workspace, &after, limit).await,
        RememberedVerb::Revoke {
            remembered,
            reason,
            issuer,
        } => revoke(context, workspace, &expand(&remembered)?, reason, &issuer).await,
    }
}

async fn list(context: &Context, workspace: &WorkspaceId, after: &str, limit: u32) -> Result<Exit> {
    let store = context.store().await?;
    let found = remembered_approval::list(&store, workspace, after, limit).await?;
    let is_full = found.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let now = clock::now();
    let listed: Vec<Standing> = found
        .into_iter()
        .map(|remembered| Standing::at(now, remembered))
        .collect();
    let next = listed
        .last()
        .filter(|_| is_full)
        .map(|last| last.remembered.remembered_id.clone());
    context.out.list(
        &listed,
        next,
        |one| one.remembered.remembered_id.clone(),
        table,
    )?;
    Ok(Exit::Ok)
}

fn table(listed: &[Standing]) -> Table {
    let mut table = Table::new(&[
        "REMEMBERED",
        "STATE",
        "PRINCIPAL",
        "TOOL",
        "MAY",
        "FOR",
        "APPROVED BY",
        "LEFT",
    ]);
    let now = clock::now();
    for Standing { remembered, state } in listed {
        let hosts = joined(&strings(Some(&remembered.hosts)));
        let bound = match (&remembered.input_digest, hosts) {
            (Some(digest), _) => format!("input {}", digest.chars().take(12).collect::<String>()),
            (None, hosts) => hosts.unwrap_or_default(),
        };
        let left = match state {
            State::Holds => span(remembered.expires_at.since(now)),
            State::Revoked | State::Expired => "-".into(),
        };
        table.row(vec![
            (&remembered.remembered_id).into(),
            Cell::word(state.as_str()),
            (&remembered.principal_id).into(),
            (&remembered.tool_name).into(),
            (&remembered.effect).into(),
            Cell::cut(bound, 40),
            Cell::maybe(joined(&strings(Some(&remembered.approved_by)))),
            left.into(),
        ]);
    }
    table
}

async fn revoke(
    context: &Context,
    workspace: &WorkspaceId,
    remembered: &[RememberedApprovalId],
    reason: Option<String>,
    issuer: &Issuer,
) -> Result<Exit> {
    let fleet = context.fleet().await?;
    let mut ended = Exit::Ok;
    for id in remembered {
        match revoke_one(context, &fleet, workspace, id, reason.clone(), issuer).await {
            Ok(()) => {}
            Err(error) if remembered.len() == 1 => return Err(error),
            // One that is not there does not leave the others in force.
            Err(error) => ended = exit::report(&error),
        }
    }
    Ok(ended)
}

async fn revoke_one(
    context: &Context,
    fleet: &Fleet,
    workspace: &WorkspaceId,
    id: &RememberedApprovalId,
    reason: Option<String>,
    issuer: &Issuer,
) -> Result<()> {
    if fleet.remembered_approval(workspace, id).await?.is_none() {
        return Err(Failure::not_found(format!(
            "there is no remembered approval `{id}` in the workspace `{workspace}`"
        )));
    }
    let command = Command::ForgetApproval {
        remembered_id: id.clone(),
        reason,
    };
    let run = RunId::authority();
    issue::issue(fleet, workspace, &run, issuer.name(), command).await?;
    if context.out.is_json() {
        let revoked = fleet.remembered_approval(workspace, id).await?;
        context.out.json_line(&revoked)
    } else {
        context.out.line(id.as_str())
    }
}
