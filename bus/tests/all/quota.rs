//! Quotas on a real server: what workers lease, use, give back and lose adds up.

use std::time::Duration;

use futures::future::join_all;
use gatewright_bus::{
    Fleet, clock,
    quota::{Counter, Ledger, NotReserved, Pace, QuotaLeases},
};
use gatewright_policy::{Quota, QuotaWindow};
use gatewright_schemas::Timestamp;

use crate::support::{Bus, bus, connection, eventually};

const DAY: Duration = Duration::from_hours(24);

/// Nothing goes back by itself while a test looks.
const PATIENT: Pace = Pace {
    patience: Duration::from_secs(30),
    idle: Duration::from_mins(10),
    believe: Duration::from_millis(1),
};

pub fn quota(limit: u64) -> Quota {
    Quota {
        name: "tool.mail.send".into(),
        limit,
        window: QuotaWindow::Day,
    }
}

async fn worker(bus: &Bus, name: &str, pace: Pace) -> QuotaLeases {
    let fleet = Fleet::connect(&connection(&bus.server.url(), name)).await;
    QuotaLeases::with_pace(&fleet.unwrap(), pace)
}

pub async fn ledger(fleet: &Fleet, now: Timestamp) -> Ledger {
    let counter = Counter::of(&quota(1), now);
    fleet.quota(&counter).await.unwrap().unwrap()
}

/// Uses units until there are none; answers how many those were.
pub async fn use_up(worker: &QuotaLeases, quota: &Quota, revision: u64, now: Timestamp) -> u64 {
    let mut used = 0;
    loop {
        match worker.reserve(quota, revision, now).await {
            Ok(reservation) => {
                reservation.spend();
                used += 1;
            }
            Err(NotReserved::Exceeded { .. }) => return used,
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn is_exceeded(worker: &QuotaLeases, quota: &Quota, revision: u64, now: Timestamp) -> bool {
    let answer = worker.reserve(quota, revision, now).await;
    matches!(answer, Err(NotReserved::Exceeded { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn many_workers_that_race_use_a_limit_to_its_last_unit_and_no_further() {
    let (bus, now) = (bus().await, clock::now());
    let names: Vec<String> = (0..10).map(|n| format!("worker-{n}")).collect();
    let workers = join_all(names.iter().map(|name| worker(&bus, name, PATIENT))).await;
    // Each of them from three tasks.
    let tasks = (0..30).map(|n| {
        let worker = workers[n % 10].clone();
        tokio::spawn(async move { use_up(&worker, &quota(400), 1, now).await })
    });
    let used = join_all(tasks).await;
    let used: Vec<u64> = used.into_iter().map(Result::unwrap).collect();
    assert_eq!(used.iter().sum::<u64>(), 400, "{used:?}");
    assert_eq!(ledger(&bus.fleet, now).await.leased, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn most_units_cost_no_message() {
    let (bus, now) = (bus().await, clock::now());
    let one = worker(&bus, "worker-1", PATIENT).await;
    for used in 1..=20 {
        one.reserve(&quota(1_000), 1, now).await.unwrap().spend();
        let leased = ledger(&bus.fleet, now).await.leased;
        assert_eq!(leased, if used <= 10 { 10 } else { 20 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_is_not_spent_can_be_reserved_again() {
    let (bus, now) = (bus().await, clock::now());
    let one = worker(&bus, "worker-1", PATIENT).await;
    for _ in 0..3 {
        let reservation = one.reserve(&quota(1), 1, now).await.unwrap();
        assert!(is_exceeded(&one, &quota(1), 1, now).await, "it is reserved");
        drop(reservation);
    }
    one.reserve(&quota(1), 1, now).await.unwrap().spend();
    assert!(is_exceeded(&one, &quota(1), 1, now).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn units_that_are_idle_or_left_at_the_end_go_back() {
    let (bus, now) = (bus().await, clock::now());
    let quick = Pace {
        idle: Duration::from_millis(50),
        ..PATIENT
    };
    let idle = worker(&bus, "idle", quick).await;
    idle.reserve(&quota(1_000), 1, now).await.unwrap().spend();
    drop(idle.reserve(&quota(1_000), 1, now).await.unwrap());
    eventually("what is idle goes back", async || {
        let ledger = ledger(&bus.fleet, now).await;
        if ledger.leased == 1 && ledger.leases.is_empty() {
            Ok(())
        } else {
            Err(format!("{ledger:?}"))
        }
    })
    .await;

    let ends = worker(&bus, "ends", PATIENT).await;
    ends.reserve(&quota(1_000), 1, now).await.unwrap().spend();
    let held = ledger(&bus.fleet, now).await;
    assert_eq!((held.leased, held.leases.len()), (11, 1));
    assert_eq!(held.leases[0].holder.as_str(), "ends");
    ends.close().await;
    let after = ledger(&bus.fleet, now).await;
    assert_eq!((after.leased, after.leases.len()), (2, 0));
    // It may go on afterwards.
    ends.reserve(&quota(1_000), 1, now).await.unwrap().spend();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_worker_held_stays_counted() {
    let (bus, now) = (bus().await, clock::now());
    let dies = worker(&bus, "dies", PATIENT).await;
    dies.reserve(&quota(1_000), 1, now).await.unwrap().spend();
    drop(dies);
    let lives = worker(&bus, "lives", PATIENT).await;
    assert_eq!(use_up(&lives, &quota(1_000), 1, now).await, 990);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_lowered_or_raised_holds_at_once() {
    let (bus, now) = (bus().await, clock::now());
    let one = worker(&bus, "worker-1", PATIENT).await;
    let two = worker(&bus, "worker-2", PATIENT).await;
    for worker in [&one, &two] {
        worker.reserve(&quota(1_000), 1, now).await.unwrap().spend();
    }
    // Two are used, eighteen more are at hand; the new limit has room for one.
    assert_eq!(ledger(&bus.fleet, now).await.leased, 20);
    assert!(
        is_exceeded(&one, &quota(3), 2, now).await,
        "the other's may be used"
    );
    assert_eq!(
        use_up(&two, &quota(3), 2, now).await,
        1,
        "the first gave its own back"
    );
    assert!(is_exceeded(&one, &quota(3), 2, now).await);
    let late = worker(&bus, "late", PATIENT).await;
    assert!(
        is_exceeded(&late, &quota(1_000), 1, now).await,
        "who has not heard of the new limit is held to it"
    );
    let raised = use_up(&one, &quota(300), 3, now).await;
    assert_eq!(raised, 297);
    assert!(is_exceeded(&two, &quota(300), 3, now).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_window_and_each_name_has_units_of_its_own() {
    let (bus, now) = (bus().await, clock::now());
    let one = worker(&bus, "worker-1", PATIENT).await;
    let by_the_hour = Quota {
        window: QuotaWindow::Hour,
        ..quota(5)
    };
    let other = Quota {
        name: "tool.mail send*>".into(),
        ..quota(4)
    };
    for quota in [quota(7), by_the_hour, other] {
        assert_eq!(use_up(&one, &quota, 1, now).await, quota.limit);
    }
    put_ledger(&bus, now.minus(DAY)).await;
    let listed = bus.fleet.quotas(false, "", 10, now).await.unwrap();
    let names: Vec<&str> = listed.iter().map(|l| l.counter.name.as_str()).collect();
    assert_eq!(
        names,
        ["tool.mail.send", "tool.mail.send", "tool.mail send*>"]
    );
    assert_eq!(bus.fleet.quotas(true, "", 10, now).await.unwrap().len(), 4);
    let after = listed[1].counter.key();
    assert_eq!(
        bus.fleet.quotas(false, &after, 10, now).await.unwrap(),
        listed[2..]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_runs_wrong_leases_nothing_of_another_window() {
    let (bus, now) = (bus().await, clock::now());
    let one = worker(&bus, "worker-1", PATIENT).await;
    // Of yesterday's and tomorrow's units none was used: today they are not there to be used.
    for days in [1, 2, 365] {
        let off = DAY * days;
        for wrong in [now.minus(off), now.plus(off)] {
            for is_begun in [false, true] {
                if is_begun {
                    put_ledger(&bus, wrong).await;
                }
                let refused = one.reserve(&quota(5), 1, wrong).await.unwrap_err();
                let NotReserved::Unavailable { source, .. } = &refused else {
                    panic!("{refused:?}")
                };
                assert!(source.to_string().contains("clock"), "{source}");
                let counter = Counter::of(&quota(5), wrong);
                let leased = bus.fleet.quota(&counter).await.unwrap();
                assert_eq!(leased.map(|ledger| ledger.leased), is_begun.then_some(0));
            }
        }
    }
}

/// A ledger of the window of `at`, of which nothing is leased.
async fn put_ledger(bus: &Bus, at: Timestamp) {
    let counter = Counter::of(&quota(1), at);
    let client = async_nats::connect(bus.server.url()).await.unwrap();
    let bucket = async_nats::jetstream::new(client)
        .get_key_value("quota")
        .await
        .unwrap();
    let ledger = serde_json::to_vec(&Ledger::new(counter.clone())).unwrap();
    bucket.put(counter.key(), ledger.into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_cannot_be_understood_gives_nothing() {
    let (bus, now) = (bus().await, clock::now());
    let client = async_nats::connect(bus.server.url()).await.unwrap();
    let bucket = async_nats::jetstream::new(client)
        .get_key_value("quota")
        .await
        .unwrap();
    let key = Counter::of(&quota(1), now).key();
    bucket.put(key, "{}".into()).await.unwrap();
    let one = worker(&bus, "worker-1", PATIENT).await;
    let refused = one.reserve(&quota(5), 1, now).await;
    assert!(
        matches!(refused, Err(NotReserved::Unavailable { .. })),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_forgets_too_early_is_told() {
    let bus = bus().await;
    let client = async_nats::connect(bus.server.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let mut config = jetstream
        .get_stream("KV_quota")
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    config.max_age = Duration::from_hours(1);
    jetstream.update_stream(config).await.unwrap();
    let differences = bus.fleet.check_layout().await.unwrap();
    assert_eq!(differences.len(), 1, "{differences:?}");
    assert_eq!(
        (differences[0].of.as_str(), differences[0].setting),
        ("bucket `quota`", "max_age")
    );
    assert!(bus.fleet.provision(1).await.is_err());
}
