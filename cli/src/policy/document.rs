//! `policy validate|apply|show|list`: documents and their revisions.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use gatewright_policy::{
    DocumentFault, PolicyDocument,
    document::{Position, Verdict},
};
use gatewright_schemas::{Command, Digest, RunId, WorkspaceId};
use gatewright_store::policy_revision::{self, PolicyRevision};
use serde::Serialize;

use crate::{
    context::Context,
    escape::{escaped, escaped_lines},
    exit::{Exit, Failure},
    input,
    issue::{self, Issuer},
    out::{Cell, Form, Table, time},
};

/// Tell every fault of a policy document, with its line, and warn of rules that can never match
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// The document, TOML; `-` is standard input
    file: PathBuf,
}

/// Make a policy document the active one
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The document, TOML; `-` is standard input
    file: PathBuf,
    #[command(flatten)]
    issuer: Issuer,
}

/// Print the active policy document, or an earlier one
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A revision, from the read tables; the active one when left out
    #[arg(long, value_name = "N")]
    revision: Option<i64>,
}

/// The policy's revisions, the latest first
#[derive(Debug, Args)]
pub struct ListArgs {
    /// At most so many
    #[arg(long, short = 'n', default_value_t = 20)]
    limit: u32,
    /// Go on behind the page that named this cursor
    #[arg(long, value_name = "CURSOR")]
    after: Option<i64>,
}

/// `FILE:LINE:COLUMN: kind: pointer: message`, which editors can follow.
pub(crate) fn line(file: &Path, kind: &str, fault: &DocumentFault) -> String {
    let Position { line, column } = fault.position;
    let pointer = match fault.pointer.as_str() {
        "" => String::new(),
        pointer => format!("{pointer}: "),
    };
    let told = format!(
        "{}:{line}:{column}: {kind}: {pointer}{}",
        file.display(),
        fault.message
    );
    escaped(&told)
}

/// Reads a document that is asked about, not applied.
pub fn candidate(file: &Path) -> Result<PolicyDocument> {
    PolicyDocument::parse(&input::read(file)?).map_err(|faults| {
        let file = file.display();
        Failure::usage(format!(
            "the policy document `{file}` is not valid:\n{faults}"
        ))
    })
}

/// Checks a document.
pub fn validate(context: &Context, args: &ValidateArgs) -> Result<Exit> {
    let text = input::read(&args.file)?;
    let verdict = Verdict::of(&text);
    if context.out.is_json() {
        context.out.json(&verdict)?;
    } else {
        for fault in &verdict.faults {
            context.out.line(line(&args.file, "fault", fault))?;
        }
        for warning in &verdict.warnings {
            context.out.line(line(&args.file, "warning", warning))?;
        }
        match &verdict.digest {
            Some(digest) => eprintln!(
                "valid, {} warnings, digest {digest}",
                verdict.warnings.len()
            ),
            None => eprintln!("not valid: {} faults", verdict.faults.len()),
        }
    }
    Ok(if verdict.valid { Exit::Ok } else { Exit::No })
}

/// What came of applying.
#[derive(Debug, Serialize)]
struct Applied {
    revision: u64,
    digest: Digest,
    /// Whether it was not the active one before.
    changed: bool,
    warnings: Vec<DocumentFault>,
}

/// Applies a document.
pub async fn apply(context: &Context, args: ApplyArgs) -> Result<Exit> {
    let text = input::read(&args.file)?;
    let document = PolicyDocument::parse(&text).map_err(|faults| {
        let told: Vec<String> = faults
            .0
            .iter()
            .map(|fault| line(&args.file, "fault", fault))
            .collect();
        let told = told.join("\n  ");
        Failure::of(
            Exit::No,
            format!("the document is not valid, and the active policy stays:\n  {told}"),
        )
    })?;
    let warnings = document.placed_warnings(&text);
    let fleet = context.fleet().await?;
    let before = fleet.active_policy().await?;
    let command = Command::ApplyPolicy { document: text };
    let (workspace, run) = (WorkspaceId::fleet(), RunId::authority());
    let accepted = issue::issue(&fleet, &workspace, &run, args.issuer.name(), command).await?;
    let revision = accepted
        .created
        .and_then(|created| created.parse().ok())
        .unwrap_or(0);
    let applied = Applied {
        revision,
        digest: document.digest(),
        changed: before.is_none_or(|before| before.revision != revision),
        warnings,
    };
    match context.out.form {
        Form::Json => context.out.json(&applied)?,
        Form::Ids => context.out.line(revision.to_string())?,
        Form::Table => {
            for warning in &applied.warnings {
                eprintln!("{}", line(&args.file, "warning", warning));
            }
            let what = if applied.changed {
                "is active now"
            } else {
                "was the active one already"
            };
            context.out.line(format!(
                "revision {revision} {what}, in mode {}",
                document.mode
            ))?;
        }
    }
    Ok(Exit::Ok)
}

/// Prints a document.
pub async fn show(context: &Context, args: &ShowArgs) -> Result<Exit> {
    if let Some(revision) = args.revision {
        let store = context.store().await?;
        let found =
            policy_revision::list(&store, &WorkspaceId::fleet(), revision.saturating_add(1), 1)
                .await?;
        let Some(found) = found.into_iter().find(|found| found.revision == revision) else {
            return Err(Failure::not_found(format!(
                "there is no revision {revision}; `gatewright policy list` shows which there are"
            )));
        };
        if context.out.is_json() {
            context.out.json(&found)?;
        } else {
            eprintln!(
                "# revision {revision}, activated at {} by {}",
                time(*found.activated_at),
                escaped(&found.activated_by)
            );
            context.out.line(escaped_lines(found.document.trim_end()))?;
        }
        return Ok(Exit::Ok);
    }
    let Some(active) = context.fleet().await?.active_policy().await? else {
        return Err(Failure::not_found(
            "no policy is active, so every call is denied; activate one with `gatewright policy apply FILE`",
        ));
    };
    match context.out.form {
        Form::Json => context.out.json(&active)?,
        Form::Ids => context.out.line(active.revision.to_string())?,
        Form::Table => {
            eprintln!(
                "# revision {}, activated at {} by {}",
                active.revision,
                time(active.activated_at),
                escaped(&active.by)
            );
            context
                .out
                .line(escaped_lines(active.document.trim_end()))?;
        }
    }
    Ok(Exit::Ok)
}

/// Lists the revisions.
pub async fn list(context: &Context, args: &ListArgs) -> Result<Exit> {
    let store = context.store().await?;
    let before = args.after.unwrap_or(i64::MAX);
    let found = policy_revision::list(&store, &WorkspaceId::fleet(), before, args.limit).await?;
    let is_full = found.len() >= usize::try_from(args.limit).unwrap_or(usize::MAX);
    let next = found
        .last()
        .filter(|last| is_full && last.revision > 1)
        .map(|last| last.revision.to_string());
    context
        .out
        .list(&found, next, |one| one.revision.to_string(), table)?;
    Ok(Exit::Ok)
}

fn table(revisions: &[PolicyRevision]) -> Table {
    let mut table = Table::new(&[
        "REVISION",
        "ACTIVATED",
        "BY",
        "MODE",
        "MODE BEFORE",
        "DIGEST",
    ]);
    for one in revisions {
        table.row(vec![
            one.revision.to_string().into(),
            time(*one.activated_at).into(),
            (&one.activated_by).into(),
            (&one.enforcement_mode).into(),
            Cell::maybe(one.previous_mode.as_deref()),
            Cell::cut(&one.digest, 13),
        ]);
    }
    table
}
