//! `gatewright principal`: registering principals, locking them out and letting them in again.

use anyhow::Result;
use clap::{Args, Subcommand};
use gatewright_bus::Fleet;
use gatewright_schemas::{ActorType, Command, PrincipalId, RunId, WorkspaceId};
use gatewright_store::principal::{self, Principal};

use crate::{
    context::Context,
    exit::{Exit, Failure},
    issue::{self, Issuer},
    out::{Cell, Table, time},
    target::{DEFAULT_WORKSPACE, expand},
};

/// Register principals, quarantine and release them: on whose authority calls are made.
#[derive(Debug, Args)]
pub struct PrincipalArgs {
    /// The workspace
    #[arg(long, short, global = true, default_value = DEFAULT_WORKSPACE)]
    workspace: WorkspaceId,
    #[command(subcommand)]
    verb: PrincipalVerb,
}

#[derive(Debug, Subcommand)]
enum PrincipalVerb {
    /// Make a principal known
    Register {
        /// Its id
        principal: PrincipalId,
        /// What kind of thing it is: service, user or agent
        #[arg(long = "actor-type", alias = "type", value_name = "TYPE")]
        kind: ActorType,
        /// The agent's, user's or service's own id; the principal's when left out
        #[arg(long)]
        actor_id: Option<String>,
        #[command(flatten)]
        issuer: Issuer,
    },
    /// Forbid principals everything, on every worker within a second
    Quarantine {
        /// The principals; `-` reads them from standard input
        #[arg(required = true)]
        principals: Vec<String>,
        /// Why, for people
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        issuer: Issuer,
    },
    /// Lift the quarantine of principals
    Release {
        /// The principals; `-` reads them from standard input
        #[arg(required = true)]
        principals: Vec<String>,
        /// Why, for people
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        issuer: Issuer,
    },
    /// The principals of a workspace, by id
    List {
        /// At most so many
        #[arg(long, short = 'n', default_value_t = 50)]
        limit: u32,
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

/// Does what was asked.
pub async fn run(context: Context, args: PrincipalArgs) -> Result<Exit> {
    let workspace = args.workspace;
    let commands: Vec<(PrincipalId, Command)> = match &args.verb {
        PrincipalVerb::List { limit, after } => {
            return list(&context, &workspace, after, *limit).await;
        }
        PrincipalVerb::Register {
            principal,
            kind,
            actor_id,
            ..
        } => vec![(
            principal.clone(),
            Command::RegisterPrincipal {
                principal_id: principal.clone(),
                principal_type: *kind,
                actor_id: actor_id.clone().unwrap_or_else(|| principal.to_string()),
            },
        )],
        PrincipalVerb::Quarantine {
            principals, reason, ..
        } => each(principals, |principal_id| Command::QuarantinePrincipal {
            principal_id,
            reason: reason.clone(),
        })?,
        PrincipalVerb::Release {
            principals, reason, ..
        } => each(principals, |principal_id| Command::ReleasePrincipal {
            principal_id,
            reason: reason.clone(),
        })?,
    };
    let (by, is_new) = match args.verb {
        PrincipalVerb::Register { issuer, .. } => (issuer.name(), true),
        PrincipalVerb::Quarantine { issuer, .. } | PrincipalVerb::Release { issuer, .. } => {
            (issuer.name(), false)
        }
        PrincipalVerb::List { .. } => return Ok(Exit::Ok),
    };
    let fleet = context.fleet().await?;
    for (id, command) in commands {
        if !is_new && fleet.principal(&workspace, &id).await?.is_none() {
            return Err(Failure::not_found(format!(
                "there is no principal `{id}` in the workspace `{workspace}`; register it first"
            )));
        }
        issue::issue(&fleet, &workspace, &RunId::authority(), by.clone(), command).await?;
        show(&context, &fleet, &workspace, &id).await?;
    }
    Ok(Exit::Ok)
}

fn each(
    principals: &[String],
    command: impl Fn(PrincipalId) -> Command,
) -> Result<Vec<(PrincipalId, Command)>> {
    let ids: Vec<PrincipalId> = expand(principals)?;
    Ok(ids
        .into_iter()
        .map(|id| (id.clone(), command(id)))
        .collect())
}

/// The principal as the gates have it now.
async fn show(
    context: &Context,
    fleet: &Fleet,
    workspace: &WorkspaceId,
    id: &PrincipalId,
) -> Result<()> {
    if context.out.is_json() {
        let principal = fleet.principal(workspace, id).await?;
        context.out.json_line(&principal)
    } else {
        context.out.line(id.as_str())
    }
}

async fn list(context: &Context, workspace: &WorkspaceId, after: &str, limit: u32) -> Result<Exit> {
    let store = context.store().await?;
    let found = principal::list(&store, workspace, after, limit).await?;
    let is_full = found.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = found
        .last()
        .filter(|_| is_full)
        .map(|last| last.principal_id.clone());
    context.out.list(
        &found,
        next,
        |principal| principal.principal_id.clone(),
        table,
    )?;
    Ok(Exit::Ok)
}

fn table(principals: &[Principal]) -> Table {
    let mut table = Table::new(&[
        "PRINCIPAL",
        "STATE",
        "TYPE",
        "ACTOR",
        "SINCE",
        "BY",
        "REASON",
    ]);
    for principal in principals {
        let state = if principal.quarantined_at.is_some() {
            "quarantined"
        } else {
            "ok"
        };
        table.row(vec![
            (&principal.principal_id).into(),
            Cell::word(state),
            Cell::maybe(principal.principal_type.as_deref()),
            Cell::maybe(principal.actor_id.as_deref()),
            Cell::maybe(principal.quarantined_at.map(|at| time(*at))),
            Cell::maybe(principal.quarantined_by.as_deref()),
            Cell::maybe(principal.quarantine_reason.as_deref()),
        ]);
    }
    table
}
