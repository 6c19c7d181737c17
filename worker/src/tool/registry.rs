//! Which tools there are, and whether a call fits one of them.

use std::{collections::BTreeMap, sync::Arc};

use gatewright_policy::ToolFacts;
use gatewright_schemas::{
    ErrorInfo, ReasonCode, Stage, Violation,
    validate::{self, Invalid},
};
use jsonschema::Validator;
use serde_json::Value;

use super::{CallFacts, Definition, Echo, EgressRequestTool, ExecCommand, Noop, Tool};
use crate::{egress::Gateway, sandbox::Sandbox};

/// At most this many violations are told of one input.
const MAX_VIOLATIONS: usize = 50;
/// At most this many characters of a violation's message.
const MAX_MESSAGE: usize = 300;

/// The tools of this program by name.
pub struct Registry {
    tools: BTreeMap<String, Entry>,
    sandbox: Option<Arc<Sandbox>>,
}

struct Entry {
    tool: Arc<dyn Tool>,
    input: Validator,
}

/// Why a tool cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum UnusableTool {
    /// Calls could never name it.
    #[error("`{0}` cannot be a tool's name: it must not be empty or have white space around it")]
    Name(String),
    /// Two tools would answer to one name.
    #[error("there are two tools named `{0}`")]
    Twice(String),
    /// Its input schema is not one.
    #[error("the input schema of tool `{name}` cannot be used")]
    Schema {
        /// The tool.
        name: String,
        /// What is wrong with it.
        #[source]
        source: Invalid,
    },
}

/// A call that names a tool and fits its input schema: what the gate is asked about.
#[derive(Clone)]
pub struct ResolvedCall {
    /// The tool.
    pub tool: Arc<dyn Tool>,
    /// What the call does to the world.
    pub facts: CallFacts,
}

impl ResolvedCall {
    /// The tool's definition.
    pub fn definition(&self) -> &Definition {
        self.tool.definition()
    }

    /// What the gate is told of the tool.
    pub fn policy_facts(&self) -> ToolFacts {
        let definition = self.definition();
        ToolFacts {
            name: definition.name.clone(),
            definition_digest: definition.digest().clone(),
            effect: self.facts.effect,
            action_type: self.facts.action_type.clone(),
            requires_token: definition.requires_token,
            data: definition.data.clone(),
            through_gateway: definition.through_gateway,
            sandboxed: definition.sandboxed,
        }
    }
}

impl Registry {
    /// A registry of these tools. Their schemas are compiled here, once.
    pub fn new(tools: Vec<Arc<dyn Tool>>) -> Result<Self, UnusableTool> {
        let mut registry = Self {
            tools: BTreeMap::new(),
            sandbox: None,
        };
        for tool in tools {
            registry.add(tool)?;
        }
        Ok(registry)
    }

    /// The tools that every fleet has; requests to the outside go through `gateway`.
    pub fn standard(gateway: Arc<Gateway>) -> Result<Self, UnusableTool> {
        Self::standard_in(gateway, Arc::default())
    }

    /// The same, with a sandbox of the worker's own settings.
    pub fn standard_in(gateway: Arc<Gateway>, sandbox: Arc<Sandbox>) -> Result<Self, UnusableTool> {
        let mut registry = Self::new(vec![
            Arc::new(Noop::default()),
            Arc::new(Echo::default()),
            Arc::new(EgressRequestTool::new(gateway)),
            Arc::new(ExecCommand::new(Arc::clone(&sandbox))),
        ])?;
        registry.sandbox = Some(sandbox);
        Ok(registry)
    }

    /// The sandbox that the tools use which run commands.
    pub fn sandbox(&self) -> Option<&Arc<Sandbox>> {
        self.sandbox.as_ref()
    }

    /// Adds a tool.
    pub fn add(&mut self, tool: Arc<dyn Tool>) -> Result<(), UnusableTool> {
        let definition = tool.definition();
        let name = definition.name.clone();
        if name.is_empty() || name.trim() != name {
            return Err(UnusableTool::Name(name));
        }
        if self.tools.contains_key(&name) {
            return Err(UnusableTool::Twice(name));
        }
        let input =
            validate::compile(&definition.input_schema).map_err(|source| UnusableTool::Schema {
                name: name.clone(),
                source,
            })?;
        self.tools.insert(name, Entry { tool, input });
        Ok(())
    }

    /// Every tool's definition, by name.
    pub fn definitions(&self) -> impl Iterator<Item = &Definition> {
        self.tools.values().map(|entry| entry.tool.definition())
    }

    /// Finds the tool `name` (white space around it is ignored, nothing else) and validates its input.
    ///
    /// Errors: `tool_not_found` at stage `registry`; `tool_input_invalid` at stage `input`, with every violation.
    pub fn resolve(&self, name: &str, input: &Value) -> Result<ResolvedCall, ErrorInfo> {
        let name = name.trim();
        let Some(entry) = self.tools.get(name) else {
            return Err(self.not_found(name));
        };
        let mut violations = violations(&entry.input, input);
        if violations.is_empty() {
            violations = entry.tool.check(input);
        }
        if !violations.is_empty() {
            let reason = format!("the input does not fit the tool `{name}`");
            let mut error = ErrorInfo::new(Stage::Input, ReasonCode::ToolInputInvalid, reason);
            error.violations = violations;
            return Err(error.of_tool(name));
        }
        Ok(ResolvedCall {
            tool: Arc::clone(&entry.tool),
            facts: entry.tool.facts(input),
        })
    }

    fn not_found(&self, name: &str) -> ErrorInfo {
        let shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
        let known: Vec<&str> = self.tools.keys().map(String::as_str).collect();
        let reason = format!("no tool is named `{shown}`; known: {}", known.join(", "));
        ErrorInfo::new(Stage::Registry, ReasonCode::ToolNotFound, reason).of_tool(&shown)
    }
}

/// Every way in which `input` misses the schema.
///
/// Unlike [`validate::violations`] the messages do not quote the values that miss it:
/// they end up in events, and an input may hold secrets.
fn violations(schema: &Validator, input: &Value) -> Vec<Violation> {
    schema
        .iter_errors(input)
        .take(MAX_VIOLATIONS)
        .map(|error| {
            let message = error.masked().to_string();
            Violation::new(error.instance_path().as_str(), printable(&message))
        })
        .collect()
}

/// Cut to [`MAX_MESSAGE`], control characters escaped: the message may name what the caller wrote.
fn printable(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(MAX_MESSAGE) {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}
