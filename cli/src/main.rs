//! `gatewright`: one binary for every role of a fleet and every verb of its operators.

use std::process::ExitCode;

use clap::Parser as _;
use gatewright_cli::{args::Cli, exit};

/// The roles make and drop many small values on many threads, which takes a quarter of their time in the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = cli.prepare().and_then(|(context, verb)| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        runtime.block_on(verb.run(context))
    });
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => exit::report(&error).into(),
    }
}
