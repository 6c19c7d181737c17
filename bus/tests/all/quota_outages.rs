//! Quotas while servers are away, answers are lost and leaders die.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use gatewright_bus::{
    Fleet, clock,
    quota::{NotReserved, Pace, QuotaLeases},
};
use gatewright_local::{Binaries, NatsCluster, SyncInterval};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    quota::{ledger, quota, use_up},
    support::{bus, connection, eventually},
};

/// A way to the server on which, once armed, the answer to the next write of a quota is held up, and all that follows it.
struct Line {
    url: String,
    is_armed: Arc<AtomicBool>,
    is_held: Arc<AtomicBool>,
}

async fn line_to(url: &str) -> Line {
    let server = url.trim_start_matches("nats://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let (is_armed, is_held) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let flags = (Arc::clone(&is_armed), Arc::clone(&is_held));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(carry(client, server, flags.0.clone(), flags.1.clone()));
        }
    });
    Line {
        url,
        is_armed,
        is_held,
    }
}

async fn carry(
    client: TcpStream,
    server: TcpStream,
    is_armed: Arc<AtomicBool>,
    is_held: Arc<AtomicBool>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let held = Arc::clone(&is_held);
    let out = async move {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
            let text = String::from_utf8_lossy(&bytes[..count]);
            // Not what is stored to learn the server's time.
            let is_write = text.contains("PUB $KV.quota.") && !text.contains("$KV.quota.=stamped.");
            if is_write && is_armed.swap(false, Ordering::SeqCst) {
                held.store(true, Ordering::SeqCst);
            }
            if to_server.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    };
    let back = async move {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
            while is_held.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if to_client.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(out, back);
}

const SHORT: Pace = Pace {
    patience: Duration::from_millis(500),
    idle: Duration::from_mins(10),
    believe: Duration::from_millis(1),
};

fn is_unavailable<T>(answer: &Result<T, NotReserved>) -> bool {
    matches!(answer, Err(NotReserved::Unavailable { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_whose_answer_is_lost_is_found_again_and_not_leased_twice() {
    let (bus, now) = (bus().await, clock::now());
    let line = line_to(&bus.server.url()).await;
    let fleet = Fleet::connect(&connection(&line.url, "worker-1"))
        .await
        .unwrap();
    let worker = QuotaLeases::with_pace(&fleet, SHORT);
    line.is_armed.store(true, Ordering::SeqCst);
    let unheard = worker.reserve(&quota(1_000), 1, now).await;
    assert!(is_unavailable(&unheard), "{unheard:?}");
    assert!(line.is_held.load(Ordering::SeqCst), "the lease was sent");
    assert_eq!(ledger(&bus.fleet, now).await.leased, 10, "and is stored");

    line.is_held.store(false, Ordering::SeqCst);
    eventually("the worker hears again", async || {
        match worker.reserve(&quota(1_000), 1, now).await {
            Ok(reservation) => {
                reservation.spend();
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    let found = ledger(&bus.fleet, now).await;
    assert_eq!((found.leased, found.leases.len()), (10, 1));
    assert_eq!(use_up(&worker, &quota(1_000), 1, now).await, 999);
}

#[tokio::test(flavor = "multi_thread")]
async fn units_whose_return_is_not_answered_go_back_once() {
    let (bus, now) = (bus().await, clock::now());
    let line = line_to(&bus.server.url()).await;
    let fleet = Fleet::connect(&connection(&line.url, "worker-1"))
        .await
        .unwrap();
    let worker = QuotaLeases::with_pace(&fleet, SHORT);
    worker.reserve(&quota(1_000), 1, now).await.unwrap().spend();
    line.is_armed.store(true, Ordering::SeqCst);
    worker.close().await;
    assert_eq!(ledger(&bus.fleet, now).await.leased, 1, "it is stored");
    assert!(is_unavailable(&worker.reserve(&quota(1_000), 1, now).await));
    line.is_held.store(false, Ordering::SeqCst);
    worker.close().await;
    let found = ledger(&bus.fleet, now).await;
    assert_eq!((found.leased, found.leases.len()), (1, 0));
    assert_eq!(use_up(&worker, &quota(1_000), 1, now).await, 999);
}

/// Reservations that are given up at any moment: before the ledger is read, between, after the swap.
#[tokio::test(flavor = "multi_thread")]
async fn reservations_that_are_given_up_on_the_way_lose_nothing() {
    let (bus, now) = (bus().await, clock::now());
    let worker = QuotaLeases::with_pace(&bus.fleet, SHORT);
    let mut used = 0;
    for n in 0..150_u64 {
        let span = Duration::from_micros(40 * (n % 25));
        if let Ok(Ok(reservation)) =
            tokio::time::timeout(span, worker.reserve(&quota(50), 1, now)).await
            && n % 2 == 0
        {
            reservation.spend();
            used += 1;
        }
    }
    used += use_up(&worker, &quota(50), 1, now).await;
    assert_eq!(used, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_that_is_away_gives_nothing_and_is_not_waited_for_without_end() {
    let (mut bus, now) = (bus().await, clock::now());
    let worker = QuotaLeases::with_pace(&bus.fleet, SHORT);
    worker.reserve(&quota(200), 1, now).await.unwrap().spend();
    bus.server.kill().await.unwrap();
    // One more is at hand, leased before.
    worker.reserve(&quota(200), 1, now).await.unwrap().spend();
    let limit = quota(200);
    let waits = (0..5).map(|_| worker.reserve(&limit, 1, now));
    let answers = tokio::time::timeout(Duration::from_secs(20), join_all(waits)).await;
    assert!(answers.unwrap().iter().all(is_unavailable));
    bus.server.restart().await.unwrap();
    eventually("the counter is there again", async || {
        match worker.reserve(&quota(200), 1, now).await {
            Ok(reservation) => {
                reservation.spend();
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_bucket_nothing_is_reserved_and_nobody_waits() {
    let (bus, now) = (bus().await, clock::now());
    let client = async_nats::connect(bus.server.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    jetstream.delete_key_value("quota").await.unwrap();
    let pace = Pace {
        patience: Duration::from_hours(1),
        ..SHORT
    };
    let (worker, limit) = (QuotaLeases::with_pace(&bus.fleet, pace), quota(200));
    let reserving = worker.reserve(&limit, 1, now);
    let answer = tokio::time::timeout(Duration::from_secs(20), reserving).await;
    assert!(is_unavailable(&answer.unwrap()));
    bus.fleet.provision(1).await.unwrap();
    worker.reserve(&quota(200), 1, now).await.unwrap().spend();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_three_nodes_a_limit_holds_while_the_leader_dies() {
    let (data, now) = (tempfile::tempdir().unwrap(), clock::now());
    let binaries = Binaries::find().unwrap();
    let mut cluster = NatsCluster::start(&binaries, data.path(), SyncInterval::Always)
        .await
        .unwrap();
    let fleet = Fleet::connect(&connection(&cluster.url(), "operator"))
        .await
        .unwrap();
    fleet.provision(3).await.unwrap();
    let pace = Pace {
        patience: Duration::from_secs(30),
        ..SHORT
    };
    let mut tasks = Vec::new();
    for n in 0..5 {
        let name = format!("worker-{n}");
        let fleet = Fleet::connect(&connection(&cluster.url(), &name))
            .await
            .unwrap();
        tasks.push(tokio::spawn(async move {
            let worker = QuotaLeases::with_pace(&fleet, pace);
            use_up(&worker, &quota(300), 1, now).await
        }));
    }
    eventually("units are used", async || {
        let listed = fleet.quotas(true, "", 1, now).await;
        match listed.map_err(|e| e.to_string())?.first() {
            Some(ledger) if ledger.leased > 20 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    cluster.nodes_mut()[0].kill().await.unwrap();
    cluster.nodes_mut()[0].restart().await.unwrap();
    let used: Vec<u64> = join_all(tasks)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(used.iter().sum::<u64>(), 300, "{used:?}");
}
