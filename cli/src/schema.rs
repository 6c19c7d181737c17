//! `gatewright schema`: the JSON Schemas of what goes over the wire.

use anyhow::Result;
use clap::{Args, Subcommand};
use gatewright_policy::PolicyDocument;
use gatewright_schemas::{Commit, Event, EventBody, Submission, command, message};
use schemars::schema_for;
use serde::Serialize;
use serde_json::Value;

use crate::{
    context::Context,
    exit::{Exit, Failure},
    out::Table,
    settings::Settings,
    worker::registry,
};

/// Print the JSON Schemas of submissions, events, the policy document and tools' inputs.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    #[command(subcommand)]
    verb: SchemaVerb,
}

#[derive(Debug, Subcommand)]
enum SchemaVerb {
    /// What there is a schema of
    List,
    /// One schema
    Show {
        /// Its name, as `schema list` shows it
        name: String,
    },
}

#[derive(Debug, Serialize)]
struct Named {
    name: String,
    schema: Value,
}

/// Does what was asked.
pub fn run(context: &Context, args: &SchemaArgs) -> Result<Exit> {
    let schemas = all(&context.settings)?;
    match &args.verb {
        SchemaVerb::List => context
            .out
            .list(&schemas, None, |one| one.name.clone(), table)?,
        SchemaVerb::Show { name } => match schemas.iter().find(|one| one.name == *name) {
            Some(found) => context.out.json(&found.schema)?,
            None => {
                return Err(Failure::not_found(format!(
                    "there is no schema `{name}`; `gatewright schema list` shows which there are"
                )));
            }
        },
    }
    Ok(Exit::Ok)
}

fn all(settings: &Settings) -> Result<Vec<Named>> {
    let named = |name: &str, schema: Value| Named {
        name: name.to_owned(),
        schema,
    };
    let mut all = vec![
        named("submission", schema_for!(Submission).to_value()),
        named("command", schema_for!(command::CommandMessage).to_value()),
        named("reply", schema_for!(command::Reply).to_value()),
        named("commit", schema_for!(Commit).to_value()),
        named("event", schema_for!(Event).to_value()),
        named("dead_letter", schema_for!(message::DeadLetter).to_value()),
        named(
            "worker_heartbeat",
            schema_for!(message::WorkerHeartbeat).to_value(),
        ),
        named("policy", PolicyDocument::json_schema()),
    ];
    for (event_type, schema) in EventBody::schemas() {
        all.push(named(&format!("event.{event_type}"), schema.to_value()));
    }
    for tool in registry(settings)?.definitions() {
        all.push(named(
            &format!("tool.{}", tool.name),
            tool.input_schema.clone(),
        ));
    }
    Ok(all)
}

fn table(schemas: &[Named]) -> Table {
    let mut table = Table::new(&["SCHEMA", "OF"]);
    for one in schemas {
        let of = one
            .schema
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default();
        table.row(vec![(&one.name).into(), crate::out::Cell::cut(of, 90)]);
    }
    table
}
