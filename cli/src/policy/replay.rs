//! `policy replay`: what a candidate document would have answered to all that the gate was asked.

mod export;
mod report;
mod source;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use gatewright_policy::{CompiledPolicy, Replay, replay::Difference};
use gatewright_schemas::WorkspaceId;

use self::{
    export::Export,
    report::{Basis, Report},
    source::{Item, Source},
};
use super::document::candidate;
use crate::{context::Context, exit::Exit, period::Since, progress};

/// Put the recorded decisions to the gate again, under a candidate document, and show what changes
///
/// Each question meets the tokens, principals and approvals of its own time. Limits are counted over the replayed
/// decisions. Nothing is applied.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The candidate document, TOML; `-` is standard input
    candidate: PathBuf,
    /// Decisions since then: a span such as 24h or 7d, or a time
    #[arg(long, value_name = "WHEN", default_value = "7d")]
    since: Since,
    /// Only those of this workspace
    #[arg(long, short)]
    workspace: Option<WorkspaceId>,
    /// At most so many, the earliest first
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<u64>,
    /// Replay a file that `--export` wrote, and ask no database
    #[arg(long, value_name = "FILE", conflicts_with_all = ["since", "workspace", "limit", "export"])]
    from: Option<PathBuf>,
    /// Also write what is replayed to a file: decisions, and who was granted what. No inputs, no secrets
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Exit with 1 when any answer changes, or when a decision cannot be replayed
    #[arg(long)]
    fail_on_change: bool,
}

/// Replays.
pub async fn run(context: &Context, args: ReplayArgs) -> Result<Exit> {
    let document = candidate(&args.candidate)?;
    let (digest, mode) = (document.digest(), document.mode);
    let mut source = source(context, &args).await?;
    let mut export = args.export.as_deref().map(Export::create).transpose()?;
    // The revision that it may get one day is not known, and no check looks at it.
    let mut replay = Replay::under(CompiledPolicy::new(document, 0, digest.clone()));
    let mut difference = Difference::default();
    let bar = progress::counter("decisions");
    while let Some(item) = source.next().await? {
        if let Some(export) = &mut export {
            export.write(&item)?;
        }
        match item {
            Item::Authority(event) => replay.learn(&event.workspace_id, &event.body()?),
            Item::Decision(recorded) => {
                let answer = replay.ask(&recorded);
                difference.add(&recorded, answer.as_ref().map_err(|why| *why));
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    let basis = Basis {
        digest,
        mode,
        since: source.since(),
        limited: source.is_limited(),
    };
    if let Some(export) = export {
        export.finish(basis.since, basis.limited)?;
    }
    let report = Report::new(basis, &difference);
    if context.out.is_json() {
        context.out.json(&report)?;
    } else {
        report.tell(context.out)?;
    }
    let totals = difference.totals();
    let is_same = totals.changed() == 0 && totals.unreplayable == 0;
    Ok(if args.fail_on_change && !is_same {
        Exit::No
    } else {
        Exit::Ok
    })
}

async fn source(context: &Context, args: &ReplayArgs) -> Result<Source> {
    if let Some(file) = &args.from {
        return Source::file(file);
    }
    let store = context.store().await?;
    let limit = args.limit.unwrap_or(u64::MAX);
    Ok(Source::database(
        store,
        args.workspace.clone(),
        args.since.0,
        limit,
    ))
}
