//! `gatewright tool`: the tools of this program, and those of the user's own.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use gatewright_policy::DocumentFault;
use gatewright_schemas::Digest;
use gatewright_worker::tool::Definition;
use serde::Serialize;

use crate::{
    context::Context,
    escape::to_json,
    exit::{Exit, Failure},
    out::{Cell, Form, Table, span},
    policy::document::line,
    settings::ToolFlags,
    worker::{read_tools, registry},
};

/// Look at the tools that runs can call.
#[derive(Debug, Args)]
pub struct ToolArgs {
    #[command(subcommand)]
    verb: ToolVerb,
}

impl ToolArgs {
    /// The setting of the verbs that look at tools.
    pub(crate) fn tools(&self) -> ToolFlags {
        match &self.verb {
            ToolVerb::List { tools } | ToolVerb::Show { tools, .. } => tools.clone(),
            ToolVerb::Validate { .. } => ToolFlags::default(),
        }
    }
}

#[derive(Debug, Subcommand)]
enum ToolVerb {
    /// Every tool
    List {
        #[command(flatten)]
        tools: ToolFlags,
    },
    /// A tool with the JSON Schema of its input
    Show {
        /// Its name
        name: String,
        #[command(flatten)]
        tools: ToolFlags,
    },
    /// Tell every fault of a file that declares tools of your own, with its line; exits with 1 when there is one
    Validate {
        /// The file, TOML; the one of the settings when left out
        file: Option<PathBuf>,
    },
}

/// What is said of a file of tools.
#[derive(Debug, Serialize)]
struct Verdict<'a> {
    valid: bool,
    /// Of a valid one.
    tools: Vec<Shown<'a>>,
    faults: &'a [DocumentFault],
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
    if let ToolVerb::Validate { file } = &args.verb {
        return validate(context, file.as_ref());
    }
    let registry = registry(&context.settings)?;
    let out = context.out;
    match &args.verb {
        ToolVerb::Validate { .. } => {}
        ToolVerb::List { .. } => {
            let tools: Vec<Shown<'_>> = registry.definitions().map(Shown::from).collect();
            out.list(&tools, None, |tool| tool.definition.name.clone(), table)?;
        }
        ToolVerb::Show { name, .. } => {
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
                    fact("in the sandbox", yes(tool.sandboxed));
                    fact("timeout", span(tool.timeout).into());
                    fact("most output", format!("{} bytes", tool.max_output).into());
                    fact("executions at most", tool.max_executions.to_string().into());
                    fact("digest", tool.digest().as_str().into());
                    out.table(&facts)?;
                    if let Some(runs) = &tool.runs {
                        out.line("runs")?;
                        out.line(to_json(runs, true)?)?;
                    }
                    out.line("input")?;
                    out.line(to_json(&tool.input_schema, true)?)?;
                }
            }
        }
    }
    Ok(Exit::Ok)
}

fn validate(context: &Context, file: Option<&PathBuf>) -> Result<Exit> {
    let Some(file) = file.or(context.settings.worker.tools.as_ref()) else {
        return Err(Failure::usage("name a file of tools"));
    };
    let read = read_tools(file, &context.settings)?;
    let (tools, faults) = match &read {
        Ok(tools) => (tools.definitions().map(Shown::from).collect(), &[][..]),
        Err(faults) => (Vec::new(), &faults.0[..]),
    };
    let out = context.out;
    match out.form {
        Form::Json => out.json(&Verdict {
            valid: faults.is_empty(),
            tools,
            faults,
        })?,
        Form::Ids | Form::Table => {
            for fault in faults {
                out.line(line(file, "fault", fault))?;
            }
            if faults.is_empty() {
                eprintln!("valid, {} tools", tools.len());
            } else {
                eprintln!("not valid: {} faults", faults.len());
            }
        }
    }
    Ok(if faults.is_empty() {
        Exit::Ok
    } else {
        Exit::No
    })
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
