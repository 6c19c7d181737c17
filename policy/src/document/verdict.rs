//! What is said of a document that is checked and not applied.

use gatewright_schemas::{Digest, EnforcementMode};
use schemars::JsonSchema;
use serde::Serialize;

use super::{DocumentFault, PolicyDocument, Position, ToolName};

/// What is said of a document.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Verdict {
    /// Whether it can be applied.
    pub valid: bool,
    /// Of a valid one.
    pub digest: Option<Digest>,
    /// Of a valid one.
    pub mode: Option<EnforcementMode>,
    /// Of a valid one: the tools that have a mode of their own.
    pub tool_modes: Vec<(ToolName, EnforcementMode)>,
    /// Why it cannot be applied.
    pub faults: Vec<DocumentFault>,
    /// Rules of a valid one that can never match, and the like.
    pub warnings: Vec<DocumentFault>,
}

impl Verdict {
    /// Checks a document, TOML.
    pub fn of(text: &str) -> Self {
        match PolicyDocument::parse(text) {
            Ok(document) => Self {
                valid: true,
                digest: Some(document.digest()),
                mode: Some(document.mode),
                faults: Vec::new(),
                warnings: document.placed_warnings(text),
                tool_modes: document.tool_modes.into_iter().collect(),
            },
            Err(faults) => Self {
                valid: false,
                digest: None,
                mode: None,
                tool_modes: Vec::new(),
                faults: faults.0,
                warnings: Vec::new(),
            },
        }
    }
}

impl PolicyDocument {
    /// The warnings, each with its place in the `text` that the document was read from.
    pub fn placed_warnings(&self, text: &str) -> Vec<DocumentFault> {
        let placed = self.warnings().into_iter().map(|warning| DocumentFault {
            position: Position::of(text, &warning.pointer),
            pointer: warning.pointer,
            message: warning.message,
        });
        placed.collect()
    }
}
