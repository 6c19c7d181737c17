//! What the roles share: they wait for servers that are away, and stop in order when they are told to.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use gatewright_bus::{Fleet, clock, fleet::without_passwords, retry::Retry};
use gatewright_schemas::WriterId;
use gatewright_store::{ConnectError, Options, Store, migrate};
use gatewright_traces::Exporting;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{context::Context, exit::Exit, health, metrics as served};

/// How long a role that holds no runs may take to stop.
pub const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Characters of a machine's name that become part of a worker's.
const MOST_OF_HOST: usize = 40;

/// Joins the fleet, waiting for its server; nothing when it is time to stop.
pub async fn join(
    context: &Context,
    default_name: &WriterId,
    shutdown: &CancellationToken,
) -> Result<Option<Fleet>> {
    let connection = context.settings.connection(default_name);
    tracing::info!(nats.url = %without_passwords(&connection.url), name = %connection.writer, "joining the fleet");
    let joined = shutdown
        .run_until_cancelled(Fleet::connect(&connection))
        .await;
    Ok(joined.transpose()?)
}

/// Connects to the database, waiting for its server, and checks that this program fits it; nothing when it is time to stop.
pub async fn open_store(
    context: &Context,
    role: &str,
    shutdown: &CancellationToken,
) -> Result<Option<Store>> {
    let url = context.database_url()?;
    let connecting =
        Retry::for_servers().run("connecting to Postgres", ConnectError::is_transient, || {
            let options = Options {
                application_name: format!("gatewright {role}"),
                ..Options::default()
            };
            Store::connect(url, options)
        });
    let Some(store) = shutdown.run_until_cancelled(connecting).await else {
        return Ok(None);
    };
    let store = store?;
    let checking = Retry::for_servers().run(
        "checking the database",
        migrate::SchemaError::is_transient,
        || migrate::check(&store),
    );
    match shutdown.run_until_cancelled(checking).await {
        None => Ok(None),
        Some(checked) => {
            checked?;
            Ok(Some(store))
        }
    }
}

/// How long the last spans may take on their way to the collector.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// Runs a role's loop, and shows while it is `alive`, with what it measures at the address `metrics`. One that ends before it is told to has failed, whatever the reason;
/// one that does not end within `patience` after it was told to is left as it is.
pub async fn supervise(
    metrics: Option<SocketAddr>,
    role: &str,
    instance: &WriterId,
    alive: impl Fn() -> bool + Send + Sync + 'static,
    work: impl Future<Output = Result<()>> + Send + 'static,
    shutdown: CancellationToken,
    patience: Duration,
) -> Result<Exit> {
    // What it did before belongs to no run.
    let exporting = export_traces(role, instance)?;
    let alive: Arc<dyn Fn() -> bool + Send + Sync> = Arc::new(alive);
    let mut pulse = JoinSet::new();
    if let Some(address) = metrics {
        pulse.spawn(served::serve(address, Arc::clone(&alive)).await?);
    }
    pulse.spawn(health::show(move || alive()));
    let mut work = tokio::spawn(work);
    let too_late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(patience).await;
    };
    let ended = tokio::select! {
        ended = &mut work => ended,
        () = too_late => {
            // Also what becomes of a role that is to stop while its server is away.
            work.abort();
            tracing::warn!("the {role} did not stop within {}s and leaves things as they are", patience.as_secs());
            return Ok(Exit::No);
        }
    };
    drop(pulse);
    if let Some(exporting) = exporting {
        exporting.finish(LAST_SPANS).await;
    }
    ended.with_context(|| {
        format!("the {role}'s loop broke down; this is a fault of the program")
    })??;
    if !shutdown.is_cancelled() {
        bail!("the {role}'s loop ended by itself; this is a fault of the program");
    }
    tracing::info!("the {role} has stopped");
    Ok(Exit::Ok)
}

/// Sends spans to the collector that the environment names, if it names one.
fn export_traces(role: &str, instance: &WriterId) -> Result<Option<Exporting>> {
    let variable = |name| std::env::var(name).ok();
    let Some(settings) = gatewright_traces::Settings::read(None, variable)? else {
        return Ok(None);
    };
    let exporting = gatewright_traces::start(&settings, role, instance.as_str())?;
    tracing::info!(collector = settings.endpoint(), "sending traces");
    Ok(Some(exporting))
}

/// A name for one process among many: the role, the machine, and something of its own.
pub fn own_name(role: &str) -> Result<WriterId> {
    let host: String = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .chars()
        .take_while(|c| *c != '.')
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(MOST_OF_HOST)
        .collect();
    let id = clock::fresh_id();
    let own: String = id.chars().skip(id.len().saturating_sub(6)).collect();
    Ok(WriterId::new(format!("{role}-{host}-{own}"))?)
}
