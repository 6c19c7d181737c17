//! Which runs a command is about: `[WORKSPACE/]RUN`, or `-` for one a line on standard input.

use std::{
    fmt,
    io::{BufRead as _, IsTerminal as _},
    str::FromStr,
};

use anyhow::Result;
use gatewright_schemas::{InvalidId, RunId, WorkspaceId};

use crate::exit::Failure;

/// The workspace of what names none.
pub const DEFAULT_WORKSPACE: &str = "default";

/// A run of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunRef {
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// The run.
    pub run: RunId,
}

impl FromStr for RunRef {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (workspace, run) = text.split_once('/').unwrap_or((DEFAULT_WORKSPACE, text));
        Ok(Self {
            workspace: workspace.parse()?,
            run: run.parse()?,
        })
    }
}

impl fmt::Display for RunRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.workspace, self.run)
    }
}

/// The arguments, with `-` replaced by the lines of standard input. All that cannot be read is told at once.
pub fn expand<T>(arguments: &[String]) -> Result<Vec<T>>
where
    T: FromStr<Err: fmt::Display>,
{
    let mut texts = Vec::new();
    for argument in arguments {
        if argument == "-" {
            if std::io::stdin().is_terminal() {
                return Err(Failure::usage(
                    "`-` reads ids from standard input, and that is a terminal; pipe some into it",
                ));
            }
            for line in std::io::stdin().lock().lines() {
                let line = line?;
                if !line.trim().is_empty() {
                    texts.push(line.trim().to_owned());
                }
            }
        } else {
            texts.push(argument.clone());
        }
    }
    let mut read = Vec::with_capacity(texts.len());
    let mut faults = Vec::new();
    for text in texts {
        match text.parse() {
            Ok(value) => read.push(value),
            Err(error) => faults.push(format!("{error}")),
        }
    }
    if faults.is_empty() {
        Ok(read)
    } else {
        Err(Failure::usage(faults.join("\n  ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_with_or_without_its_workspace() {
        let named = |text: &str| text.parse::<RunRef>().map(|run| run.to_string());
        assert_eq!(named("r1").unwrap(), "default/r1");
        assert_eq!(named("acme/r1").unwrap(), "acme/r1");
        assert!(named("a/b/c").is_err());
    }
}
