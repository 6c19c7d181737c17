//! The loop, on a real nats-server and a real Postgres that go away and come back.

use std::{collections::HashMap, sync::Arc, time::Duration};

use gatewright_bus::{Connection, Fleet, Names, Tls};
use gatewright_local::{Binaries, NatsOptions, NatsServer};
use gatewright_projector::{Halted, Options, aside, identity::Mismatch, rebuild, run};
use gatewright_schemas::{RunId, StoredCommit, WorkerHeartbeat, WorkspaceId, WriterId, Zone};
use gatewright_store::{Store, checkpoint, dump, worker};
use tokio::{sync::Notify, task::JoinHandle, time::Instant};

use crate::{
    history::{created_at, everything},
    server::Server,
};

async fn fleet(nats: &NatsServer, prefix: &str) -> Fleet {
    let connection = Connection {
        url: nats.url(),
        writer: WriterId::new("worker-1").unwrap(),
        names: Names::new(prefix).unwrap(),
        credentials: None,
        tls: Tls::default(),
        group_commit: false,
    };
    let fleet = Fleet::connect(&connection).await.unwrap();
    fleet.provision(1).await.unwrap();
    fleet
}

/// Appends commits of many runs, each behind its run's fence. Their subjects tell no status; the events do.
struct Author {
    fleet: Fleet,
    fences: HashMap<(WorkspaceId, RunId), u64>,
}

impl Author {
    async fn write(&mut self, commits: &[StoredCommit]) {
        for stored in commits {
            let commit = &stored.commit;
            let fence = self
                .fences
                .entry((commit.workspace_id.clone(), commit.run_id.clone()))
                .or_default();
            *fence = self
                .fleet
                .append_authority(commit, stored.gate, *fence)
                .await
                .unwrap();
        }
    }
}

fn start(fleet: &Fleet, store: &Store) -> (Arc<Notify>, JoinHandle<Result<(), Halted>>) {
    let stop = Arc::new(Notify::new());
    let (fleet, store, stopped) = (fleet.clone(), store.clone(), stop.clone());
    let options = Options {
        look_every: Duration::from_millis(200),
        stand_by: Duration::from_millis(50),
        ..Options::default()
    };
    let task = tokio::spawn(async move { run(&fleet, &store, &options, stopped.notified()).await });
    (stop, task)
}

async fn until_projected(store: &Store, sequence: u64) {
    let began = Instant::now();
    loop {
        let seen = checkpoint::load(store)
            .await
            .map(|c| c.map(|c| c.last_sequence));
        if matches!(seen, Ok(Some(last)) if last == sequence) {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "not projected up to {sequence} within 60 s; last seen: {seen:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_servers_go_away_and_a_foreign_stream_halts_it() {
    let mut server = Server::start().await;
    let directory = tempfile::tempdir().unwrap();
    let options = NatsOptions::new(directory.path().join("nats"), "projector-test");
    let mut nats = NatsServer::start(&Binaries::find().unwrap(), options)
        .await
        .unwrap();
    let store = server.database("following").await;
    let fleet = fleet(&nats, "fleet").await;
    let mut author = Author {
        fleet: fleet.clone(),
        fences: HashMap::new(),
    };
    let commits = everything(21).commits;
    let third = commits.len() / 3;

    author.write(&commits[..third]).await;
    let (stop, active) = start(&fleet, &store);
    until_projected(&store, third as u64).await;
    let (stop_other, standing_by) = start(&fleet, &store);

    // Postgres dies in the middle of the work, and is away for a while.
    server.postgres.kill().await.unwrap();
    author.write(&commits[third..2 * third]).await;
    server.postgres.restart().await.unwrap();
    until_projected(&store, 2 * third as u64).await;

    // And so does NATS.
    nats.kill().await.unwrap();
    nats.restart().await.unwrap();
    author.write(&commits[2 * third..commits.len() - 1]).await;
    until_projected(&store, commits.len() as u64 - 1).await;

    // Whichever is active stops; the other takes over.
    stop.notify_one();
    active.await.unwrap().unwrap();
    author.write(&commits[commits.len() - 1..]).await;
    until_projected(&store, commits.len() as u64).await;
    let lag = checkpoint::lag(&store).await.unwrap().unwrap();
    assert_eq!(lag.messages, 0);
    stop_other.notify_one();
    standing_by.await.unwrap().unwrap();

    // What was folded through all of that is what the stream says from its beginning.
    let folded = dump::folded(&store).await.unwrap();
    let mut told = Vec::new();
    rebuild(&fleet, &store, &Options::default(), |at, last| {
        told.push((at, last));
    })
    .await
    .unwrap();
    assert_eq!(
        told.last(),
        Some(&(commits.len() as u64, commits.len() as u64))
    );
    assert_eq!(dump::folded(&store).await.unwrap(), folded);

    // Another stream in its place: it halts, and says what to do.
    let other = crate::following::fleet(&nats, "other").await;
    let mut author = Author {
        fleet: other.clone(),
        fences: HashMap::new(),
    };
    author.write(&commits[..5]).await;
    let (_stop, task) = start(&other, &store);
    let halted = task.await.unwrap().unwrap_err();
    assert!(
        matches!(&halted, Halted::Mismatch(Mismatch::OtherStream { .. })),
        "{halted}"
    );
    assert!(
        halted.to_string().contains("gatewright projector rebuild"),
        "{halted}"
    );
    assert_eq!(dump::folded(&store).await.unwrap(), folded);
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_reach_the_table_of_workers() {
    let server = Server::start().await;
    let directory = tempfile::tempdir().unwrap();
    let options = NatsOptions::new(directory.path().join("nats"), "projector-test");
    let nats = NatsServer::start(&Binaries::find().unwrap(), options)
        .await
        .unwrap();
    let store = server.database("workers").await;
    let fleet = fleet(&nats, "fleet").await;
    let heartbeat = WorkerHeartbeat {
        worker_id: WriterId::new("worker-1").unwrap(),
        zones: vec![Zone::Sandbox],
        slots: 8,
        busy: 2,
        version: "0.1.0".into(),
        started_at: created_at(),
        seen_at: created_at(),
        draining: false,
    };
    fleet.beat(&heartbeat).await.unwrap();
    let copying = aside::copy_workers(&fleet, &store, created_at);
    let seen = async {
        loop {
            let workers = worker::list(&store, created_at(), 10).await.unwrap();
            if let Some(worker) = workers.into_iter().next() {
                return worker;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = copying => {}
        worker = seen => assert_eq!((worker.worker_id.as_str(), worker.busy), ("worker-1", 2)),
    }
}
