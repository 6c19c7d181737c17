//! A dispatcher, worker or projector as a process of its own, for tests that kill it.
//!
//! It says `ready` on standard output once it is at work, and drains on SIGTERM.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{collections::HashMap, sync::Arc};

use gatewright_bus::retry::Retry;
use gatewright_dispatcher::Dispatcher;
use gatewright_schemas::Zone;
use gatewright_store::Store;
use gatewright_worker::{Worker, WorkerConfig, egress, tool::Registry};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the command line says: the role, then `--name value` pairs.
struct Args {
    role: String,
    options: HashMap<String, String>,
}

impl Args {
    fn read() -> Self {
        let mut words = std::env::args().skip(1);
        let role = words.next().expect("a role");
        let mut options = HashMap::new();
        while let Some(name) = words.next() {
            options.insert(name, words.next().expect("a value"));
        }
        Self { role, options }
    }

    fn get(&self, name: &str) -> Option<&String> {
        self.options.get(name)
    }

    fn number(&self, name: &str, default: usize) -> usize {
        self.get(name).map_or(default, |text| text.parse().unwrap())
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let args = Args::read();
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let asked = shutdown.clone();
    tokio::spawn(async move {
        terminate.recv().await;
        asked.cancel();
    });
    let fleet = gatewright_tests::connect(
        args.get("--nats").unwrap(),
        args.get("--name").unwrap(),
        args.get("--nkey").unwrap().as_ref(),
    )
    .await;
    let store = match args.get("--db") {
        Some(url) => Some(store(url).await),
        None => None,
    };
    match args.role.as_str() {
        "dispatcher" => {
            let dispatcher = Dispatcher::join(fleet).await.unwrap();
            println!("ready");
            dispatcher.run(store, shutdown).await;
        }
        "worker" => {
            let gateway = egress::Gateway::new(egress::Settings::default()).unwrap();
            let registry = Registry::standard(Arc::new(gateway)).unwrap();
            let zones = match args.get("--zone") {
                Some(zone) => vec![zone.parse().unwrap()],
                None => Zone::ALL.to_vec(),
            };
            let config = WorkerConfig {
                zones,
                concurrency: args.number("--concurrency", 64),
                max_crashes: u32::try_from(args.number("--max-crashes", 5)).unwrap(),
                ..WorkerConfig::default()
            };
            let worker = Worker::join(fleet, registry, config).await.unwrap();
            println!("ready");
            worker.run(shutdown).await;
        }
        "projector" => {
            println!("ready");
            let options = gatewright_projector::Options::default();
            let store = store.expect("a projector needs --db");
            gatewright_projector::run(&fleet, &store, &options, shutdown.cancelled())
                .await
                .unwrap();
        }
        other => panic!("`{other}` is no role"),
    }
}

async fn store(url: &str) -> Store {
    Retry::for_servers()
        .run(
            "connecting to Postgres",
            gatewright_store::ConnectError::is_transient,
            || Store::connect(url, gatewright_store::Options::default()),
        )
        .await
        .unwrap()
}
