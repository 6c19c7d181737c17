//! `gatewright policy`: checking, applying, showing, explaining and replaying policy documents.

pub(crate) mod document;
pub(crate) mod explain;
mod replay;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::{context::Context, exit::Exit};

/// Check, apply, show, explain and replay policies.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    verb: PolicyVerb,
}

#[derive(Debug, Subcommand)]
enum PolicyVerb {
    Validate(document::ValidateArgs),
    Apply(document::ApplyArgs),
    Show(document::ShowArgs),
    List(document::ListArgs),
    Explain(Box<explain::ExplainArgs>),
    Replay(replay::ReplayArgs),
}

/// Does what was asked.
pub async fn run(context: Context, args: PolicyArgs) -> Result<Exit> {
    match args.verb {
        PolicyVerb::Validate(args) => document::validate(&context, &args),
        PolicyVerb::Apply(args) => document::apply(&context, args).await,
        PolicyVerb::Show(args) => document::show(&context, &args).await,
        PolicyVerb::List(args) => document::list(&context, &args).await,
        PolicyVerb::Explain(args) => explain::run(&context, *args).await,
        PolicyVerb::Replay(args) => replay::run(&context, args).await,
    }
}
