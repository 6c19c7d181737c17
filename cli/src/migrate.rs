//! `gatewright migrate`: brings the database up to date.

use anyhow::Result;
use clap::Args;
use gatewright_store::migrate;

use crate::{context::Context, exit::Exit};

/// Apply the migrations that the database lacks; refuse one that a newer program migrated.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Only say whether the database fits this program
    #[arg(long)]
    check: bool,
    /// Create the database first, where it does not exist and this user may
    #[arg(long, conflicts_with = "check")]
    create: bool,
}

/// Runs it.
pub async fn run(context: Context, args: MigrateArgs) -> Result<Exit> {
    if args.create && migrate::create_database(context.database_url()?).await? {
        eprintln!("created the database");
    }
    let store = context.unchecked_store().await?;
    let applied = if args.check {
        migrate::check(&store).await?;
        Vec::new()
    } else {
        migrate::run(&store).await?
    };
    let newest = migrate::newest();
    if context.out.is_json() {
        context
            .out
            .json(&serde_json::json!({ "migration": newest, "applied": applied }))?;
    } else if applied.is_empty() {
        eprintln!("the database is up to date, at migration {newest}");
    } else {
        let count = applied.len();
        eprintln!("applied {count} migrations; the database is at migration {newest}");
    }
    Ok(Exit::Ok)
}
