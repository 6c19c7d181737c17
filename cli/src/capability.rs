//! `gatewright capability`: granting, revoking and looking at capability tokens.

use anyhow::Result;
use clap::{Args, Subcommand};
use gatewright_bus::{Fleet, clock};
use gatewright_policy::{DomainPattern, snapshot::MAX_DELEGATIONS};
use gatewright_schemas::{
    CapabilityTokenId, Command, DataAccess, PrincipalId, RunId, Scopes, Timestamp, WorkspaceId,
};
use gatewright_store::{
    Store,
    capability::{self, Capability},
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    context::Context,
    exit::{Exit, Failure},
    issue::{self, Issuer},
    out::{Cell, Form, Table, time},
    period::Period,
    target::{DEFAULT_WORKSPACE, expand},
};

/// Grant, revoke and list capability tokens: scoped authority of principals.
#[derive(Debug, Args)]
pub struct CapabilityArgs {
    /// The workspace
    #[arg(long, short, global = true, default_value = DEFAULT_WORKSPACE)]
    workspace: WorkspaceId,
    #[command(subcommand)]
    verb: CapabilityVerb,
}

#[derive(Debug, Subcommand)]
enum CapabilityVerb {
    Grant(Box<GrantArgs>),
    /// Revoke tokens, and with them all that were delegated from them
    Revoke {
        /// The tokens; `-` reads them from standard input
        #[arg(required = true)]
        tokens: Vec<String>,
        /// Why, for people
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        issuer: Issuer,
    },
    /// The tokens of a workspace, by id
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
    /// A token as the gates have it
    Show {
        /// The token
        token: CapabilityTokenId,
    },
}

/// Grant a token; what no flag names, it does not allow
#[derive(Debug, Args)]
struct GrantArgs {
    /// Its holder
    #[arg(long)]
    to: PrincipalId,
    /// Who grants it; with a parent that must be the parent's holder
    #[arg(long)]
    by: PrincipalId,
    /// Its id; made up when left out
    #[arg(long)]
    id: Option<CapabilityTokenId>,
    /// The token it is delegated from, whose scopes it cannot exceed
    #[arg(long, value_name = "TOKEN")]
    parent: Option<CapabilityTokenId>,
    /// Tools that it covers; `*` is all
    #[arg(
        long = "tools",
        alias = "tool",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    tools: Vec<String>,
    /// Rooms that it covers; `*` is all, and calls in no room
    #[arg(
        long = "rooms",
        alias = "room",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    rooms: Vec<String>,
    /// Action types that it covers; `*` is all
    #[arg(
        long = "actions",
        alias = "action",
        value_delimiter = ',',
        value_name = "TYPE"
    )]
    actions: Vec<String>,
    /// Hosts that it covers: a name, `*.example.com`, or `*`
    #[arg(
        long = "domains",
        alias = "domain",
        value_delimiter = ',',
        value_name = "PATTERN"
    )]
    domains: Vec<String>,
    /// Data that may be read; `*` is all
    #[arg(
        long = "reads",
        alias = "read",
        value_delimiter = ',',
        value_name = "LABEL"
    )]
    reads: Vec<String>,
    /// Data that may be written; `*` is all
    #[arg(
        long = "writes",
        alias = "write",
        value_delimiter = ',',
        value_name = "LABEL"
    )]
    writes: Vec<String>,
    /// How long it holds; for ever when left out
    #[arg(long, value_name = "PERIOD", conflicts_with = "valid_until")]
    valid_for: Option<Period>,
    /// Until when it holds
    #[arg(long, value_name = "TIME")]
    valid_until: Option<Timestamp>,
    #[command(flatten)]
    issuer: Issuer,
}

/// Does what was asked.
pub async fn run(context: Context, args: CapabilityArgs) -> Result<Exit> {
    let workspace = args.workspace;
    match args.verb {
        CapabilityVerb::Grant(args) => grant(&context, &workspace, *args).await,
        CapabilityVerb::Revoke {
            tokens,
            reason,
            issuer,
        } => revoke(&context, &workspace, &expand(&tokens)?, reason, &issuer).await,
        CapabilityVerb::List { limit, after } => list(&context, &workspace, &after, limit).await,
        CapabilityVerb::Show { token } => show(&context, &workspace, &token).await,
    }
}

async fn grant(context: &Context, workspace: &WorkspaceId, args: GrantArgs) -> Result<Exit> {
    // A pattern that cannot be read would allow nothing, silently.
    let faults: Vec<String> = args
        .domains
        .iter()
        .filter_map(|pattern| {
            pattern
                .parse::<DomainPattern>()
                .err()
                .map(|error| error.to_string())
        })
        .collect();
    if !faults.is_empty() {
        return Err(Failure::usage(format!(
            "`--domains`: {}",
            faults.join("; ")
        )));
    }
    let command = Command::GrantCapability {
        token_id: args.id,
        to: args.to,
        by: args.by,
        parent: args.parent,
        scopes: Scopes {
            tools: args.tools,
            rooms: args.rooms,
            action_types: args.actions,
            egress_domains: args.domains,
            data_access: DataAccess {
                read: args.reads,
                write: args.writes,
            },
        },
        valid_until: args
            .valid_until
            .or(args.valid_for.map(|period| clock::now().plus(period.0))),
    };
    let fleet = context.fleet().await?;
    let accepted = issue::issue(
        &fleet,
        workspace,
        &RunId::authority(),
        args.issuer.name(),
        command,
    )
    .await?;
    let token = accepted.created.unwrap_or_default();
    match context.out.form {
        Form::Json => context
            .out
            .json(&granted(&fleet, workspace, &token).await?)?,
        Form::Ids | Form::Table => context.out.line(token)?,
    }
    Ok(Exit::Ok)
}

/// The token as it was granted, which after a delegation may be less than was asked for.
async fn granted(fleet: &Fleet, workspace: &WorkspaceId, token: &str) -> Result<Value> {
    let found = fleet.capability(workspace, &token.parse()?).await?;
    Ok(serde_json::to_value(found)?)
}

async fn revoke(
    context: &Context,
    workspace: &WorkspaceId,
    tokens: &[CapabilityTokenId],
    reason: Option<String>,
    issuer: &Issuer,
) -> Result<Exit> {
    let fleet = context.fleet().await?;
    for token in tokens {
        if fleet.capability(workspace, token).await?.is_none() {
            return Err(not_found(workspace, token));
        }
        let command = Command::RevokeCapability {
            token_id: token.clone(),
            reason: reason.clone(),
        };
        issue::issue(
            &fleet,
            workspace,
            &RunId::authority(),
            issuer.name(),
            command,
        )
        .await?;
        if context.out.is_json() {
            context
                .out
                .json_line(&granted(&fleet, workspace, token.as_str()).await?)?;
        } else {
            context.out.line(token.as_str())?;
        }
    }
    Ok(Exit::Ok)
}

fn not_found(workspace: &WorkspaceId, token: &CapabilityTokenId) -> anyhow::Error {
    Failure::not_found(format!(
        "there is no capability token `{token}` in the workspace `{workspace}`"
    ))
}

async fn list(context: &Context, workspace: &WorkspaceId, after: &str, limit: u32) -> Result<Exit> {
    let store = context.store().await?;
    let found = capability::list(&store, workspace, after, limit).await?;
    let is_full = found.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = found
        .last()
        .filter(|_| is_full)
        .map(|last| last.token_id.clone());
    let mut listed = Vec::with_capacity(found.len());
    for token in found {
        listed.push(Listed {
            state: state_of(&store, workspace, &token).await?,
            token,
        });
    }
    context
        .out
        .list(&listed, next, |one| one.token.token_id.clone(), table)?;
    Ok(Exit::Ok)
}

/// A token as it is listed.
#[derive(Debug, Serialize)]
struct Listed {
    #[serde(flatten)]
    token: Capability,
    /// `holds`, `revoked` or `expired`; for a delegated token that of its line of descent.
    state: &'static str,
}

/// What becomes of a token, or of any that it descends from.
async fn state_of(
    store: &Store,
    workspace: &WorkspaceId,
    token: &Capability,
) -> Result<&'static str> {
    let now = clock::now();
    let mut one = token.clone();
    for _ in 0..=MAX_DELEGATIONS {
        if one.revoked_at.is_some() {
            return Ok("revoked");
        }
        if one.valid_until.is_some_and(|until| *until <= now) {
            return Ok("expired");
        }
        let Some(parent) = &one.parent_token_id else {
            return Ok("holds");
        };
        match capability::show(store, workspace, &parent.parse()?).await? {
            Some(parent) => one = parent,
            None => break,
        }
    }
    Ok("broken")
}

fn table(tokens: &[Listed]) -> Table {
    let mut table = Table::new(&[
        "TOKEN", "STATE", "HOLDER", "PARENT", "TOOLS", "DOMAINS", "ACTIONS", "UNTIL",
    ]);
    for Listed { token, state } in tokens {
        let scope = |name: &str| Cell::cut(words(token.scopes.get(name)), 40);
        table.row(vec![
            (&token.token_id).into(),
            Cell::word(state),
            (&token.issued_to_principal_id).into(),
            Cell::maybe(token.parent_token_id.as_deref()),
            scope("tools"),
            scope("egress_domains"),
            scope("action_types"),
            Cell::maybe(token.valid_until.map(|until| time(*until))),
        ]);
    }
    table
}

fn words(list: Option<&Value>) -> String {
    let list = list.and_then(Value::as_array);
    let words: Vec<&str> = list
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if words.is_empty() {
        "-".into()
    } else {
        words.join(",")
    }
}

async fn show(context: &Context, workspace: &WorkspaceId, id: &CapabilityTokenId) -> Result<Exit> {
    let fleet = context.fleet().await?;
    let Some(token) = fleet.capability(workspace, id).await? else {
        return Err(not_found(workspace, id));
    };
    match context.out.form {
        Form::Json => context.out.json(&token)?,
        Form::Ids => context.out.line(id.as_str())?,
        Form::Table => {
            let scopes = &token.scopes;
            let all = |list: &[String]| {
                Cell::text(if list.is_empty() {
                    "nothing".into()
                } else {
                    list.join(", ")
                })
            };
            let mut table = Table::new(&[]);
            table.row(vec!["token".into(), id.as_str().into()]);
            table.row(vec![
                "holder".into(),
                token.issued_to_principal_id.as_str().into(),
            ]);
            table.row(vec![
                "granted by".into(),
                token.granted_by_principal_id.as_str().into(),
            ]);
            table.row(vec!["granted at".into(), time(token.granted_at).into()]);
            table.row(vec![
                "parent".into(),
                Cell::maybe(token.parent_token_id.as_ref()),
            ]);
            table.row(vec![
                "valid until".into(),
                Cell::maybe(token.valid_until.map(time)),
            ]);
            table.row(vec![
                "revoked at".into(),
                Cell::maybe(token.revoked_at.map(time)),
            ]);
            table.row(vec!["tools".into(), all(&scopes.tools)]);
            table.row(vec!["rooms".into(), all(&scopes.rooms)]);
            table.row(vec!["action types".into(), all(&scopes.action_types)]);
            table.row(vec!["egress domains".into(), all(&scopes.egress_domains)]);
            table.row(vec!["data read".into(), all(&scopes.data_access.read)]);
            table.row(vec!["data written".into(), all(&scopes.data_access.write)]);
            context.out.table(&table)?;
        }
    }
    Ok(Exit::Ok)
}
