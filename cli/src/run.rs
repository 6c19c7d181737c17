//! `gatewright run`: submitting runs, looking at them, ending and repeating them.

pub mod describe;
mod events;
mod list;
mod order;
mod show;
mod submit;
pub mod watch;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::{context::Context, exit::Exit};
pub use events::not_found;
pub use list::table as runs_table;
pub use show::{Whole, error_of};

/// Submit runs, look at them, end and repeat them.
///
/// A run is named `[WORKSPACE/]RUN_ID`; without a workspace it is one of the workspace `default`.
/// `-` in the place of runs reads them from standard input, one a line, as `-o ids` prints them.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(subcommand)]
    verb: RunVerb,
}

#[derive(Debug, Subcommand)]
enum RunVerb {
    Submit(submit::SubmitArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Events(events::EventsArgs),
    Watch(watch::WatchArgs),
    Cancel(order::CancelArgs),
    Retry(order::RetryArgs),
}

/// Does what was asked.
pub async fn run(context: Context, args: RunArgs) -> Result<Exit> {
    match args.verb {
        RunVerb::Submit(args) => submit::run(context, args).await,
        RunVerb::List(args) => list::run(context, args).await,
        RunVerb::Show(args) => show::run(context, args).await,
        RunVerb::Events(args) => events::run(context, args).await,
        RunVerb::Watch(args) => watch::run(context, args).await,
        RunVerb::Cancel(args) => order::cancel(context, args).await,
        RunVerb::Retry(args) => order::retry(context, args).await,
    }
}
