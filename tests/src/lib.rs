//! A fleet on real servers, for the end-to-end contracts in `tests/all/`.
//!
//! [`Fleetlet`] starts a private nats-server and Postgres and runs a dispatcher, workers and a projector in this process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

use std::{sync::Arc, time::Duration};

use gatewright_bus::{Connection, Fleet, Names};
use gatewright_dispatcher::Dispatcher;
use gatewright_local::{Binaries, NatsOptions, NatsServer, Postgres, PostgresOptions};
use gatewright_schemas::{Command, CommandMessage, Reply, RunId, WorkspaceId, WriterId};
use gatewright_store::Store;
use gatewright_worker::{Worker, WorkerConfig, egress, tool::Registry};
use tokio_util::sync::CancellationToken;

/// A policy that lets the harmless tools run and leaves the rest to capability tokens.
pub const POLICY: &str = r#"
mode = "enforce"
default = "deny"
auto_allow = ["runtime.noop", "runtime.echo", "egress.request"]
"#;

/// A small fleet.
pub struct Fleetlet {
    /// Its nats-server.
    pub nats: NatsServer,
    /// Its Postgres.
    pub postgres: Postgres,
    /// An operator's connection.
    pub fleet: Fleet,
    /// The read tables.
    pub store: Store,
    /// Stops the roles when cancelled.
    pub shutdown: CancellationToken,
    _data: tempfile::TempDir,
}

/// A connection under `writer`'s name.
pub async fn connect(url: &str, writer: &str) -> Fleet {
    let connection = Connection {
        url: url.to_owned(),
        writer: WriterId::new(writer).unwrap(),
        names: Names::default(),
        credentials: None,
        group_commit: false,
    };
    Fleet::connect(&connection).await.unwrap()
}

impl Fleetlet {
    /// Starts the servers and the roles, and makes [`POLICY`] the active policy.
    pub async fn start(workers: usize) -> Self {
        let _ = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::INFO).try_init();
        let data = tempfile::tempdir().unwrap();
        let binaries = Binaries::find().unwrap();
        let nats = NatsServer::start(&binaries, NatsOptions::new(data.path().join("nats"), "e2e")).await.unwrap();
        let options = PostgresOptions { data_dir: data.path().join("postgres"), port: None, durable: false };
        let postgres = Postgres::start(&binaries, options).await.unwrap();
        let store = Store::connect(&postgres.url("postgres"), gatewright_store::Options::default()).await.unwrap();
        gatewright_store::migrate::run(&store).await.unwrap();
        let fleet = connect(&nats.url(), "operator").await;
        fleet.provision(1).await.unwrap();
        let this = Self { nats, postgres, fleet, store, shutdown: CancellationToken::new(), _data: data };
        this.start_dispatcher("dispatcher-1").await;
        for n in 1..=workers {
            this.start_worker(&format!("worker-{n}")).await;
        }
        let (fleet, store, shutdown) = (this.fleet.clone(), this.store.clone(), this.shutdown.clone());
        tokio::spawn(async move {
            gatewright_projector::run(&fleet, &store, &gatewright_projector::Options::default(), shutdown.cancelled())
                .await
                .unwrap();
        });
        this.apply_policy(POLICY).await;
        this
    }

    /// Starts one more dispatcher.
    pub async fn start_dispatcher(&self, name: &str) {
        let fleet = connect(&self.nats.url(), name).await;
        let dispatcher = Dispatcher::join(fleet).await.unwrap();
        tokio::spawn(dispatcher.run(Some(self.store.clone()), self.shutdown.clone()));
    }

    /// Starts one more worker.
    pub async fn start_worker(&self, name: &str) {
        let fleet = connect(&self.nats.url(), name).await;
        let gateway = egress::Gateway::new(egress::Settings::default()).unwrap();
        let registry = Registry::standard(Arc::new(gateway)).unwrap();
        let worker = Worker::join(fleet, registry, WorkerConfig::default()).await.unwrap();
        tokio::spawn(worker.run(self.shutdown.clone()));
    }

    /// Makes `document` the active policy.
    pub async fn apply_policy(&self, document: &str) {
        let command = Command::ApplyPolicy { document: document.to_owned() };
        let reply = self.authority(&WorkspaceId::fleet(), command).await;
        assert!(matches!(reply, Reply::Accepted { .. }), "{reply:?}");
    }

    /// Gives a command to the authority of `workspace`.
    pub async fn authority(&self, workspace: &WorkspaceId, command: Command) -> Reply {
        let message = CommandMessage { issued_by: "test".into(), command };
        self.fleet.command(workspace, &RunId::authority(), &message, Duration::from_secs(10)).await.unwrap()
    }
}
