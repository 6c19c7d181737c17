//! `gatewright dispatcher`: the role that admits submissions, carries out commands, and mends what crashes left.

use std::{net::SocketAddr, num::NonZeroU32, sync::OnceLock};

use anyhow::{Context as _, Result};
use clap::Args;
use gatewright_bus::{layout::LayoutError, retry::Retry};
use gatewright_dispatcher::{Dispatcher, http, reconciler};
use gatewright_schemas::WriterId;
use gatewright_store::Store;
use gatewright_worker::explain::explain;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context, exit::Exit, provision::Replicas, role, settings::RoleFlags, signal,
    worker::registry,
};

/// Take submissions and commands until told to stop.
///
/// Makes the fleet's streams and buckets where they are missing. Any number may run beside each other.
/// With a database it also looks for runs that stand still although nobody holds them.
#[derive(Debug, Args)]
pub struct DispatcherArgs {
    #[command(flatten)]
    replicas: Replicas,
    /// Serve the HTTP API there; plain HTTP, so anything but the loopback wants a proxy with TLS before it
    #[arg(long, value_name = "ADDRESS:PORT")]
    http: Option<SocketAddr>,
    /// A name under which the HTTP API may be spoken to, beside those of the loopback; may be repeated
    #[arg(long, value_name = "NAME", requires = "http")]
    http_host: Vec<String>,
    /// Requests a second that each key may make over HTTP, and twice as many at once
    #[arg(long, value_name = "N", requires = "http", default_value_t = http::rate::DEFAULT)]
    http_rate: NonZeroU32,
    #[command(flatten)]
    pub(crate) role: RoleFlags,
}

/// Runs it.
pub async fn run(context: Context, args: DispatcherArgs) -> Result<Exit> {
    let shutdown = signal::shutdown();
    let listener = match args.http {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let registry = registry(&context.settings)?;
    let explain = http::Explain::by(move |workspace, run, snapshot| {
        explain(workspace, run, snapshot, &registry)
    });
    let options = http::Options {
        hosts: args.http_host,
        explain: Some(explain),
        rate: Some(args.http_rate),
        ..http::Options::default()
    };
    let name = WriterId::new("dispatcher")?;
    let Some(fleet) = role::join(&context, &name, &shutdown).await? else {
        return Ok(Exit::Ok);
    };
    let instance = fleet.writer().clone();
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
        &instance,
        move || fleet.is_connected(),
        // A large future, as it serves HTTP too.
        Box::pin(work(
            context,
            dispatcher,
            listener,
            options,
            shutdown.clone(),
        )),
        shutdown,
        role::STOP_PATIENCE,
    )
    .await
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot serve HTTP at `{address}`"))?;
    tracing::info!(address = %listener.local_addr()?, "serving HTTP");
    Ok(listener)
}

/// Takes in, serves and mends, until `shutdown` or until the database turns out not to be usable.
async fn work(
    context: Context,
    dispatcher: Dispatcher,
    listener: Option<TcpListener>,
    options: http::Options,
    shutdown: CancellationToken,
) -> Result<()> {
    let stop = shutdown.child_token();
    let tables = options.store.clone();
    let taking_in = dispatcher.clone().run(None, stop.clone());
    let (serving, until) = (dispatcher.clone(), stop.clone());
    let mut taking_in = tokio::spawn(async move {
        let serve = async {
            if let Some(listener) = listener
                && let Err(error) = serving.serve_http(listener, options, until).await
            {
                tracing::error!(%error, "HTTP is served no more");
            }
        };
        tokio::join!(taking_in, serve);
    });
    // Submissions do not wait for the database.
    let mending = mend(&context, dispatcher, &tables, stop.clone());
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
async fn mend(
    context: &Context,
    dispatcher: Dispatcher,
    tables: &OnceLock<Store>,
    stop: CancellationToken,
) -> Result<()> {
    if context.settings.database_url.is_none() {
        tracing::warn!(
            "no database is named, so runs that stand still are not looked for; give --database-url"
        );
        return Ok(());
    }
    if let Some(store) = role::open_store(context, "dispatcher", &stop).await? {
        // It is set nowhere else.
        let _ = tables.set(store.clone());
        reconciler::find_orphans(dispatcher, store, stop).await;
    }
    Ok(())
}
