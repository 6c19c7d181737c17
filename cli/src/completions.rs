//! `gatewright completions`: completions for a shell.

#![expect(
    clippy::doc_markdown,
    reason = "doc comments of arguments are their help texts, which show backticks as they are"
)]

use anyhow::Result;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::{args::Cli, exit::Exit};

/// Print completions for a shell, for example into /etc/bash_completion.d/gatewright.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    shell: Shell,
}

/// Prints them.
pub fn run(args: &CompletionsArgs) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "gatewright", &mut script);
    std::io::Write::write_all(&mut std::io::stdout().lock(), &script)?;
    Ok(Exit::Ok)
}
