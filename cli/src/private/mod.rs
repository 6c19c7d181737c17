//! A private fleet: servers of one's own and every role, as child processes of this one, in a data directory.
//!
//! `gatewright dev` runs one, and the demo and tests do.
//! Servers and roles each have a process group of their own, so that a Ctrl-C reaches this process alone,
//! which then ends them in order: workers drain, the dispatcher finishes, the projector catches up, the servers stop.
//! A role's standard input is a pipe from this process: when this process dies, however that happens, the role stops.

mod child;
mod place;
mod servers;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use futures::future::join_all;
use gatewright_bus::{Connection, Credentials, Fleet, Names, Tls};
use gatewright_schemas::{Command, RunId, WorkspaceId, WriterId, Zone};
use gatewright_store::{Options, Store, checkpoint, migrate};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{issue, nats_config, settings::ConnectionFile};
use child::Child;
pub use child::Ended;
pub use place::{Kind, Place};
use servers::Servers;

/// The policy that a fresh fleet starts with.
pub const FIRST_POLICY: &str = include_str!("../../../policy/examples/default.toml");

/// The credentials that this process itself uses.
const OPERATOR: &str = "operator";
const PROVISIONER: &str = "provisioner";

/// Who applied that policy.
const BY: &str = "gatewright dev";
/// How long the fleet may take to get ready once its servers run.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// How long a role may take to stop: a worker's own drain, and some more.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// How long the projector may take to catch up before it is stopped.
const CATCH_UP: Duration = Duration::from_secs(3);

/// What a private fleet is to be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many workers.
    pub workers: usize,
    /// The subjects of services that workers may ask.
    pub services: Vec<String>,
    /// Runs that each worker moves at once.
    pub concurrency: usize,
    /// The policy to apply when none is active yet.
    pub first_policy: String,
    /// Whether data survives a power cut.
    pub durable: bool,
}

/// A private fleet that runs.
pub struct PrivateFleet {
    /// The fleet, joined as its operator.
    pub fleet: Fleet,
    /// Its database.
    pub store: Store,
    /// Where it listens.
    pub connection: ConnectionFile,
    /// Whether it was made now, and not continued.
    pub is_new: bool,
    /// Where its dispatcher serves HTTP.
    pub http_url: String,
    roles: Vec<Child>,
    servers: Servers,
    place: Place,
}

impl PrivateFleet {
    /// Starts everything, and waits until it is ready to take runs. `say` is told each step.
    pub async fn start(place: Place, plan: &Plan, say: impl Fn(&str)) -> Result<Self> {
        say("starting nats-server and Postgres");
        let accounts = accounts(&place, plan)?;
        let servers = Servers::start(&place, plan.durable, &accounts).await?;
        let nkey = |name: &str| nats_config::nkey(&place.credentials(), name);
        let connection = servers.connection(nkey(OPERATOR)?);
        say("preparing streams and tables");
        migrate::create_database(&connection.database_url).await?;
        let url = &connection.nats_url;
        let (fleet, provisioner, store) = tokio::try_join!(
            join(url, OPERATOR, connection.nats_nkey.clone()),
            join(url, PROVISIONER, nkey(PROVISIONER)?),
            open(&connection.database_url)
        )?;
        // What a fleet that was killed wrote down is true no more.
        let _ = std::fs::remove_file(place.connection_file());
        let of_another_version = || {
            let dir = place.dir().display();
            format!(
                "the data in `{dir}` does not fit this version; keep it for the one that made it, and start with another --data"
            )
        };
        let prepared = provisioner.provision(1).await;
        prepared.with_context(of_another_version)?;
        let migrated = migrate::run(&store).await;
        migrated.with_context(of_another_version)?;
        // Whoever takes the port in between makes the dispatcher say so, and end.
        let http = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let mut private = Self {
            is_new: fleet.active_policy().await?.is_none(),
            fleet,
            store,
            connection,
            http_url: format!("http://{http}"),
            roles: Vec::new(),
            servers,
            place,
        };
        say("starting dispatcher, workers and projector");
        private.spawn("dispatcher", &["dispatcher", "--http", &http.to_string()])?;
        private.spawn("projector", &["projector"])?;
        for number in 1..=plan.workers {
            private.spawn_worker(&worker_name(number), plan.concurrency)?;
        }
        let starting = async {
            if private.is_new {
                apply(&private.fleet, &plan.first_policy, BY).await?;
            }
            private.wait_ready(plan.workers).await
        };
        tokio::select! {
            ready = starting => ready?,
            ended = private.first_end() => bail!("{ended}"),
        }
        private
            .connection
            .write(&private.place.connection_file())
            .with_context(|| {
                format!(
                    "cannot write `{}`",
                    private.place.connection_file().display()
                )
            })?;
        Ok(private)
    }

    /// Starts one more worker.
    pub fn spawn_worker(&mut self, name: &str, concurrency: usize) -> Result<()> {
        let concurrency = concurrency.to_string();
        self.spawn(
            name,
            &["worker", "--name", name, "--concurrency", &concurrency],
        )
    }

    fn spawn(&mut self, name: &str, arguments: &[&str]) -> Result<()> {
        let nkey = nats_config::nkey(&self.place.credentials(), name)?;
        let log = self.place.log(name);
        let child = Child::spawn(name, arguments, &self.connection, &nkey, &log)?;
        self.roles.push(child);
        Ok(())
    }

    /// SIGKILL for a role, which is then no longer missed.
    pub async fn kill(&mut self, name: &str) -> Result<()> {
        let Some(place) = self.roles.iter().position(|role| role.name() == name) else {
            bail!("no role is named `{name}`");
        };
        self.roles.swap_remove(place).kill().await;
        Ok(())
    }

    /// Resolves when a server or a role ends that was not asked to.
    pub fn first_end(&self) -> impl Future<Output = Ended> + use<> {
        let roles = self.roles.iter().map(Child::ended);
        let servers = self.servers.ends();
        let ends: Vec<_> = roles.chain(servers).collect();
        async move { futures::future::select_all(ends).await.0 }
    }

    /// The names of the roles that run.
    pub fn roles(&self) -> Vec<&str> {
        self.roles.iter().map(Child::name).collect()
    }

    /// The processes of the roles, by name.
    pub fn processes(&self) -> Vec<(&str, u32)> {
        self.roles
            .iter()
            .map(|role| (role.name(), role.pid()))
            .collect()
    }

    /// Where a role's log is.
    pub fn log_of(&self, role: &str) -> PathBuf {
        self.place.log(role)
    }

    /// The data directory.
    pub fn dir(&self) -> &std::path::Path {
        self.place.dir()
    }

    /// Waits until the workers are on the list and the tables have all that is in the stream.
    async fn wait_ready(&self, workers: usize) -> Result<()> {
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            let signed_on = self.fleet.list_workers().await?;
            let signed_on = signed_on
                .iter()
                .filter(|worker| {
                    self.roles
                        .iter()
                        .any(|role| role.has_been_up_since(worker.started_at))
                })
                .count();
            let behind = behind(&self.fleet, &self.store).await?;
            if signed_on >= workers && behind == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                let logs = self.place.logs();
                bail!(
                    "the fleet did not get ready within {}s: {signed_on} of {workers} workers signed on, \
                     and {behind} messages are not projected; see the logs in `{}`",
                    START_PATIENCE.as_secs(),
                    logs.display()
                );
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Waits until the tables have all that is in the stream; answers whether they do.
    pub async fn caught_up(&self, patience: Duration) -> bool {
        caught_up(&self.fleet, &self.store, patience).await
    }

    /// Drains and stops everything, in order; at once when `hurry` is cancelled.
    pub async fn stop(self, hurry: &CancellationToken, say: impl Fn(&str)) {
        let Self {
            fleet,
            store,
            roles,
            mut servers,
            place,
            ..
        } = self;
        let in_order = async {
            say("draining the workers");
            let (workers, others): (Vec<_>, Vec<_>) = roles.into_iter().partition(Child::is_worker);
            join_all(workers.into_iter().map(|worker| worker.stop(STOP_PATIENCE))).await;
            let (projectors, dispatchers): (Vec<_>, Vec<_>) = others
                .into_iter()
                .partition(|role| role.name() == "projector");
            join_all(dispatchers.into_iter().map(|role| role.stop(STOP_PATIENCE))).await;
            if !projectors.is_empty() {
                caught_up(&fleet, &store, CATCH_UP).await;
            }
            join_all(projectors.into_iter().map(|role| role.stop(STOP_PATIENCE))).await;
            say("stopping nats-server and Postgres");
            store.close().await;
            // A client that is still there would try to reconnect, and say so.
            drop(fleet);
            servers.stop().await;
        };
        if hurry.run_until_cancelled(in_order).await.is_none() {
            say("ending everything at once");
            servers.kill().await;
        }
        place.leave();
    }
}

/// How many messages of the stream are not in the tables yet.
async fn behind(fleet: &Fleet, store: &Store) -> Result<u64> {
    let folded = checkpoint::load(store).await?;
    let folded = folded.map_or(0, |checkpoint| checkpoint.last_sequence);
    let stream = fleet.stream_identity().await?;
    Ok(stream.last_sequence.saturating_sub(folded))
}

async fn caught_up(fleet: &Fleet, store: &Store, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if matches!(behind(fleet, store).await, Ok(0)) {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Applies a policy document.
pub async fn apply(fleet: &Fleet, document: &str, by: &str) -> Result<()> {
    let command = Command::ApplyPolicy {
        document: document.to_owned(),
    };
    issue::issue(
        fleet,
        &WorkspaceId::fleet(),
        &RunId::authority(),
        by.to_owned(),
        command,
    )
    .await?;
    Ok(())
}

/// Who the NATS server lets in: every role, and as many workers, each under its own credential.
fn accounts(place: &Place, plan: &Plan) -> Result<String> {
    let dir = place.credentials();
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
    // Whoever runs this can read its files all the same, and may want to look around in it with other tools.
    let mut roster = nats_config::Roster::with_administrator();
    for subject in &plan.services {
        roster.put_service(subject.clone());
    }
    for number in 1..=plan.workers {
        let name = WriterId::new(worker_name(number))?;
        roster.put_worker(name, Zone::ALL.iter().copied());
    }
    nats_config::accounts(&dir, &roster, &Names::default())
}

fn worker_name(number: usize) -> String {
    format!("worker-{number}")
}

async fn join(url: &str, name: &str, nkey: PathBuf) -> Result<Fleet> {
    let connection = Connection {
        url: url.to_owned(),
        writer: WriterId::new(name)?,
        names: Names::default(),
        credentials: Some(Credentials::Nkey(nkey)),
        tls: Tls::default(),
        group_commit: false,
    };
    Ok(Fleet::connect_once(&connection).await?)
}

async fn open(url: &str) -> Result<Store> {
    let options = Options {
        application_name: "gatewright dev".into(),
        max_connections: 4,
        ..Options::default()
    };
    Ok(Store::connect(url, options).await?)
}
