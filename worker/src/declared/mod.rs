//! Tools of the user's own: declared in a TOML file, run by the same runner, judged by the same gate.
//!
//! - `kind = "command"`: a program in the sandbox, JSON on its standard input, JSON on its standard output ([`CommandTool`]).
//! - `kind = "nats"`: a service on a subject, JSON in the request, JSON in the reply ([`ServiceTool`]).
//!
//! `file` says what the file looks like and what can be wrong with it. An example is `worker/examples/tools/tools.toml`.
//!
//! A tool's digest covers everything that decides what runs: command line, program, subject, schemas, limits. So an approval
//! of yesterday's program is none of today's; and all workers of a fleet must have the same file and the same programs.

mod answer;
mod command;
mod file;
mod service;

use std::{path::Path, sync::Arc};

use gatewright_bus::Fleet;
use gatewright_policy::DocumentFaults;

pub use command::CommandTool;
pub use service::ServiceTool;

use crate::{
    declared::file::{Declaration, Runs},
    sandbox::{Program, Sandbox},
    tool::{Definition, Tool},
};

pub use file::subject_fault;

/// The tools of a file, checked.
#[derive(Debug)]
pub struct DeclaredTools(Vec<Declaration>);

impl DeclaredTools {
    /// Reads a file's text. All its faults are told, each with its place.
    ///
    /// - `beside`: the folder in which it stands, where schemas are looked for that it names.
    /// - `taken`: names that tools have already.
    /// - `prefix`: the fleet's prefix of subjects, where no service can be.
    pub fn read(
        text: &str,
        beside: &Path,
        taken: &[&str],
        prefix: &str,
    ) -> Result<Self, DocumentFaults> {
        file::read(text, beside, taken, prefix).map(Self)
    }

    /// What the fleet knows of each.
    pub fn definitions(&self) -> impl Iterator<Item = &Definition> {
        self.0.iter().map(|declaration| &*declaration.definition)
    }

    /// The subjects of those that are services.
    pub fn subjects(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter_map(|declaration| match &declaration.runs {
                Runs::Service(service) => Some(service.subject.as_str()),
                Runs::Command(_) => None,
            })
    }

    /// The files of those that are programs.
    pub fn programs(&self) -> impl Iterator<Item = &Path> {
        self.0
            .iter()
            .filter_map(|declaration| match &declaration.runs {
                Runs::Command(command) => Some(command.programs.iter().map(Program::path)),
                Runs::Service(_) => None,
            })
            .flatten()
    }

    /// The tools, to be added to a registry. Without a connection to a fleet services cannot be called, only shown.
    pub fn tools(&self, sandbox: &Arc<Sandbox>, fleet: Option<&Fleet>) -> Vec<Arc<dyn Tool>> {
        let made = self.0.iter().map(|declaration| -> Arc<dyn Tool> {
            let Declaration {
                definition,
                answer,
                runs,
            } = declaration;
            let (definition, answer) = (Arc::clone(definition), Arc::clone(answer));
            match runs {
                Runs::Command(command) => Arc::new(CommandTool::new(
                    definition,
                    answer,
                    command.clone(),
                    Arc::clone(sandbox),
                )),
                Runs::Service(service) => Arc::new(ServiceTool::new(
                    definition,
                    answer,
                    service.clone(),
                    fleet.cloned(),
                )),
            }
        });
        made.collect()
    }
}
