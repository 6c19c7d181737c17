//! `gatewright tool`: the tools of this program.

use anyhow::Result;
use clap::{Args, Subcommand};
use gatewright_schemas::Digest;
use gatewright_worker::tool::Definition;
use serde::Serialize;

use crate::{
    context::Context,
    escape::to_json,
    exit::{Exit, Failure},
    out::{Cell, Form, Table, span},
    worker::registry,
};

/// Look at the tools that runs can call.
#[derive(Debug, Args)]
pub struct ToolArgs {
    #[command(subcommand)]
    verb: ToolVerb,
}

#[derive(Debug, Subcommand)]
enum ToolVerb {
    /// Every tool
    List,
    /// A tool with the JSON Schema of its input
    Show {
        /// Its name
        name: String,
    },
}

/// A tool as `--json` shows it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    definition: &'a Definition,
    digest: &'a Digest,
}

impl<'a> From<&'a Definition> for Shown<'a> {
    fn from(definition: &'a Definition) -> Self {
        Self {
            definition,
            digest: definition.digest(),
        }
    }
}

/// Does what was asked.
pub fn run(context: &Context, args: &ToolArgs) -> Result<Exit> {
    let registry = registry()?;
    let out = context.out;
    match &args.verb {
        ToolVerb::List => {
            let tools: Vec<Shown<'_>> = registry.definitions().map(Shown::from).collect();
            out.list(&tools, None, |tool| tool.definition.name.clone(), table)?;
        }
        ToolVerb::Show { name } => {
            let Some(tool) = registry.definitions().find(|tool| tool.name == *name) else {
                let known: Vec<&str> = registry
                    .definitions()
                    .map(|tool| tool.name.as_str())
                    .collect();
                return Err(Failure::not_found(format!(
                    "there is no tool `{name}`; known are {}",
                    known.join(", ")
                )));
            };
            match out.form {
                Form::Json => out.json(&Shown::from(tool))?,
                Form::Ids => out.line(&tool.name)?,
                Form::Table => {
                    let mut facts = Table::new(&[]);
                    let mut fact = |name: &str, value: Cell| facts.row(vec![name.into(), value]);
                    fact("tool", (&tool.name).into());
                    fact("does", (&tool.description).into());
                    fact("effect", tool.effect.as_str().into());
                    fact("may be repeated", yes(tool.idempotent));
                    fact("action type", Cell::maybe(tool.action_type.as_deref()));
                    fact("needs a token", yes(tool.requires_token));
                    fact("through the egress gateway", yes(tool.through_gateway));
                    fact("timeout", span(tool.timeout).into());
                    fact("most output", format!("{} bytes", tool.max_output).into());
                    fact("executions at most", tool.max_executions.to_string().into());
                    fact("digest", tool.digest().as_str().into());
                    out.table(&facts)?;
                    out.line("input")?;
                    out.line(to_json(&tool.input_schema, true)?)?;
                }
            }
        }
    }
    Ok(Exit::Ok)
}

fn yes(is: bool) -> Cell {
    Cell::text(if is { "yes" } else { "no" })
}

fn table(tools: &[Shown<'_>]) -> Table {
    let mut table = Table::new(&["TOOL", "EFFECT", "REPEATABLE", "ACTION", "DOES"]);
    for Shown { definition, .. } in tools {
        table.row(vec![
            (&definition.name).into(),
            definition.effect.as_str().into(),
            yes(definition.idempotent),
            Cell::maybe(definition.action_type.as_deref()),
            (&definition.description).into(),
        ]);
    }
    table
}
