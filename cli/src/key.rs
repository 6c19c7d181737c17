//! `gatewright key`: the keys to the HTTP API.

use anyhow::Result;
use clap::{Args, Subcommand};
use gatewright_bus::keys::{Key, NewKey};
use gatewright_schemas::{KeyRole, Timestamp, WorkspaceId};
use serde::Serialize;

use crate::{
    context::Context,
    exit::{Exit, Failure},
    issue::Issuer,
    out::{Cell, Form, Table, time},
};

/// Characters of a key's name at most.
const MOST_NAME: usize = 200;

/// Make, list and revoke keys to the HTTP API.
#[derive(Debug, Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    verb: KeyVerb,
}

#[derive(Debug, Subcommand)]
enum KeyVerb {
    Create(CreateArgs),
    /// Every key, revoked ones too; never their secrets
    List,
    /// Revoke a key: no request that carries it is answered from now on
    Revoke {
        /// Its id: what stands between the `_` of the key
        id: String,
    },
}

/// Make a key, and show it this once
#[derive(Debug, Args)]
struct CreateArgs {
    /// What it is good for; several words separated by commas. Every key may read
    #[arg(long, required = true, value_delimiter = ',', value_name = "ROLE")]
    role: Vec<KeyRole>,
    /// The workspace that it is good for; `*` is all, for keys with the role `admin` only
    #[arg(long, short)]
    workspace: String,
    /// In whose name it acts: recorded with all that is done by it; the key's maker when left out
    #[arg(long = "for", value_name = "NAME")]
    for_name: Option<String>,
    #[command(flatten)]
    issuer: Issuer,
}

/// A key, as `--json` shows it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    id: &'a str,
    name: &'a str,
    roles: &'a [KeyRole],
    /// `*` for all.
    workspace: &'a str,
    created_at: Timestamp,
    created_by: &'a str,
    revoked_at: Option<Timestamp>,
    /// The key itself, where it was made now.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn new(key: &'a Key) -> Self {
        Self {
            id: &key.id,
            name: &key.name,
            roles: &key.roles,
            workspace: key.workspace_id.as_ref().map_or("*", AsRef::as_ref),
            created_at: key.created_at,
            created_by: &key.created_by,
            revoked_at: key.revoked_at,
            key: None,
        }
    }
}

/// Does what was asked.
pub async fn run(context: Context, args: KeyArgs) -> Result<Exit> {
    match args.verb {
        KeyVerb::Create(args) => create(&context, args).await,
        KeyVerb::List => {
            let keys = context.fleet().await?.keys().await?;
            show(&context, &keys)?;
            Ok(Exit::Ok)
        }
        KeyVerb::Revoke { id } => {
            let revoked = context.fleet().await?.revoke_key(&id).await?;
            let Some(key) = revoked else {
                return Err(Failure::not_found(format!(
                    "there is no key `{id}`; `gatewright key list` shows which there are"
                )));
            };
            show(&context, &[key])?;
            Ok(Exit::Ok)
        }
    }
}

async fn create(context: &Context, args: CreateArgs) -> Result<Exit> {
    let has = |role: KeyRole| args.role.contains(&role);
    let workspace_id: Option<WorkspaceId> = match args.workspace.as_str() {
        "*" if !has(KeyRole::Admin) => {
            return Err(Failure::usage(
                "`--workspace '*'` is for keys with the role `admin` only",
            ));
        }
        "*" => None,
        workspace => Some(
            workspace
                .parse()
                .map_err(|error| Failure::usage(format!("--workspace `{workspace}`: {error}")))?,
        ),
    };
    if has(KeyRole::Approver) && (has(KeyRole::Submitter) || has(KeyRole::Actor)) {
        return Err(Failure::usage(
            "who asks for calls may not approve them: make two keys, in two names",
        ));
    }
    let by = args.issuer.name();
    let name = args.for_name.unwrap_or_else(|| by.clone());
    if name.trim().is_empty()
        || name.chars().count() > MOST_NAME
        || name.chars().any(char::is_control)
    {
        return Err(Failure::usage(format!(
            "--for: from 1 to {MOST_NAME} characters, none of them a control character"
        )));
    }
    let new = NewKey {
        name,
        roles: args.role,
        workspace_id,
        created_by: by,
    };
    let (key, text) = context.fleet().await?.create_key(new).await?;
    if context.out.form == Form::Json {
        context.out.json(&Line {
            key: Some(&text),
            ..Line::new(&key)
        })?;
    } else {
        context.out.line(&text)?;
        eprintln!("this is shown once: keep it where nobody else reads it");
    }
    Ok(Exit::Ok)
}

fn show(context: &Context, keys: &[Key]) -> Result<()> {
    let lines: Vec<Line<'_>> = keys.iter().map(Line::new).collect();
    context
        .out
        .list(&lines, None, |line| line.id.to_owned(), table)
}

fn table(lines: &[Line<'_>]) -> Table {
    let mut table = Table::new(&[
        "ID",
        "NAME",
        "ROLES",
        "WORKSPACE",
        "CREATED",
        "BY",
        "REVOKED",
    ]);
    for line in lines {
        let roles: Vec<&str> = line.roles.iter().map(|role| role.as_str()).collect();
        table.row(vec![
            line.id.into(),
            Cell::cut(line.name, 40),
            roles.join(",").into(),
            line.workspace.into(),
            time(line.created_at).into(),
            Cell::cut(line.created_by, 40),
            line.revoked_at.map_or_else(|| "-".into(), time).into(),
        ]);
    }
    table
}
