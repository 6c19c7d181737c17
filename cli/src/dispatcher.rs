//! `gatewright dispatcher`: the role that admits submissions, carries out commands, and mends what crashes left.

use anyhow::Result;
use clap::Args;
use gatewright_bus::{layout::LayoutError, retry::Retry};
use gatewright_dispatcher::{Dispatcher, reconciler};
use gatewright_schemas::WriterId;
use tokio_util::sync::CancellationToken;

use crate::{context::Context, exit::Exit, provision::Replicas, role, settings::RoleFlags, signal};

/// Take submissions and commands until told to stop.
///
/// Makes the fleet's streams and buckets where they are missing. Any number may run beside each other.
/// With a database it also looks for runs that stand still although nobody holds them.
#[derive(Debug, Args)]
pub struct DispatcherArgs {
    #[command(flatten)]
    replicas: Replicas,
    #[command(flatten)]
    pub(crate) role: RoleFlags,
}

/// Runs it.
pub async fn run(context: Context, args: DispatcherArgs) -> Result<Exit> {
    let shutdown = signal::shutdown();
    let name = WriterId::new("dispatcher")?;
    let Some(fleet) = role::join(&context, &name, &shutdown).await? else {
        return Ok(Exit::Ok);
    };
    let preparing = Retry::for_servers().run(
        "preparing the fleet's streams",
        LayoutError::is_transient,
        || Box::pin(fleet.provision(args.replicas.count())),
    );
    let Some(prepared) = shutdown.run_until_cancelled(preparing).await else {
        return Ok(Exit::Ok);
    };
    prepared?;
    let dispatcher = Dispatcher::join(fleet.clone()).await?;
    role::supervise(
        context.settings.metrics,
        "dispatcher",
        move || fleet.is_connected(),
        Box::pin(work(context, dispatcher, shutdown.clone())),
        shutdown,
        role::STOP_PATIENCE,
    )
    .await
}

/// Takes in and mends, until `shutdown` or until the database turns out not to be usable.
async fn work(context: Context, dispatcher: Dispatcher, shutdown: CancellationToken) -> Result<()> {
    let stop = shutdown.child_token();
    let mut taking_in = tokio::spawn(dispatcher.clone().run(None, stop.clone()));
    // Submissions do not wait for the database.
    let mending = mend(&context, dispatcher, stop.clone());
    tokio::select! {
        ended = &mut taking_in => return Ok(ended?),
        mended = mending => if let Err(error) = mended {
            // What was begun is finished first.
            stop.cancel();
            taking_in.await?;
            return Err(error);
        },
    }
    Ok(taking_in.await?)
}

/// Looks for runs that stand still, with the database's help.
async fn mend(context: &Context, dispatcher: Dispatcher, stop: CancellationToken) -> Result<()> {
    if context.settings.database_url.is_none() {
        tracing::warn!(
            "no database is named, so runs that stand still are not looked for; give --database-url"
        );
        return Ok(());
    }
    if let Some(store) = role::open_store(context, "dispatcher", &stop).await? {
        reconciler::find_orphans(dispatcher, store, stop).await;
    }
    Ok(())
}
