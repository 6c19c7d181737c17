//! `gatewright projector`: the role that folds the stream into the read tables; `status` and `rebuild`.

use anyhow::Result;
use clap::{Args, Subcommand};
use gatewright_bus::clock;
use gatewright_projector::{Options, aside, rebuild};
use gatewright_schemas::WriterId;
use gatewright_store::checkpoint;

use crate::{
    context::Context,
    exit::Exit,
    out::{Table, time},
    progress, role,
    settings::RoleFlags,
    signal,
};

/// Fold the stream of events into the read tables until told to stop.
///
/// Of several on one database one is active and the others stand by.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ProjectorArgs {
    #[command(subcommand)]
    verb: Option<ProjectorVerb>,
    #[command(flatten)]
    pub(crate) role: RoleFlags,
}

/// What can be asked of the projection.
#[derive(Debug, Subcommand)]
enum ProjectorVerb {
    /// How far the read tables are behind the stream; exits with 1 when nobody projects
    Status,
    /// Empty the read tables and fold the stream into them anew; no projector may be running
    Rebuild,
}

/// Runs it, or answers.
pub async fn run(context: Context, args: ProjectorArgs) -> Result<Exit> {
    match args.verb {
        None => Box::pin(project(context)).await,
        Some(ProjectorVerb::Status) => status(&context).await,
        Some(ProjectorVerb::Rebuild) => rebuild_tables(&context).await,
    }
}

impl ProjectorArgs {
    /// Whether it is the role, not a question.
    pub fn is_role(&self) -> bool {
        self.verb.is_none()
    }
}

async fn project(context: Context) -> Result<Exit> {
    let metrics = context.settings.metrics;
    let shutdown = signal::shutdown();
    let name = WriterId::new("projector")?;
    let Some(fleet) = role::join(&context, &name, &shutdown).await? else {
        return Ok(Exit::Ok);
    };
    let instance = fleet.writer().clone();
    let Some(store) = role::open_store(&context, "projector", &shutdown).await? else {
        return Ok(Exit::Ok);
    };
    let until = shutdown.clone();
    let looked_at = fleet.clone();
    let work = async move {
        let options = Options::default();
        tokio::select! {
            projected = gatewright_projector::run(&fleet, &store, &options, until.cancelled_owned()) => projected?,
            () = aside::copy_workers(&fleet, &store, clock::now) => {}
            () = aside::copy_dead_letters(&fleet, &store) => {}
        }
        store.close().await;
        Ok(())
    };
    role::supervise(
        metrics,
        "projector",
        &instance,
        move || looked_at.is_connected(),
        Box::pin(work),
        shutdown,
        role::STOP_PATIENCE,
    )
    .await
}

/// A projector that was silent for longer does not count as running; it writes every few seconds.
pub const SILENT_AFTER_SECONDS: f64 = 15.0;

async fn status(context: &Context) -> Result<Exit> {
    let store = context.store().await?;
    let lag = checkpoint::lag(&store).await?;
    let Some(lag) = lag else {
        if context.out.is_json() {
            context.out.json(&serde_json::Value::Null)?;
        } else {
            eprintln!("nothing was projected yet");
        }
        return Ok(Exit::No);
    };
    if context.out.is_json() {
        context.out.json(&lag)?;
    } else {
        let mut table = Table::new(&[]);
        table.row(vec![
            "folded up to message".into(),
            lag.last_sequence.to_string().into(),
        ]);
        table.row(vec![
            "stream ends at".into(),
            lag.stream_last_sequence.to_string().into(),
        ]);
        table.row(vec!["waiting".into(), lag.messages.to_string().into()]);
        table.row(vec![
            "behind by".into(),
            format!("{:.1}s", lag.seconds).into(),
        ]);
        table.row(vec![
            "last commit stored at".into(),
            time(*lag.last_stored_at).into(),
        ]);
        table.row(vec![
            "projector heard of".into(),
            format!("{:.1}s ago", lag.silent_seconds).into(),
        ]);
        context.out.table(&table)?;
    }
    if lag.silent_seconds > SILENT_AFTER_SECONDS {
        eprintln!("no projector is running; start `gatewright projector`");
        return Ok(Exit::No);
    }
    Ok(Exit::Ok)
}

async fn rebuild_tables(context: &Context) -> Result<Exit> {
    let (fleet, store) = (context.fleet().await?, context.store().await?);
    let bar = progress::bar("folding", 0);
    let done = rebuild(&fleet, &store, &Options::default(), |reached, last| {
        bar.set_length(last);
        bar.set_position(reached);
    })
    .await;
    bar.finish_and_clear();
    done?;
    let folded = checkpoint::load(&store)
        .await?
        .map_or(0, |c| c.last_sequence);
    if context.out.is_json() {
        context.out.json(&serde_json::json!({ "folded": folded }))?;
    } else {
        eprintln!("folded the stream anew, up to message {folded}");
    }
    Ok(Exit::Ok)
}
