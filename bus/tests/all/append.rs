use std::time::Duration;

use futures::future::join_all;
use gatewright_bus::{AppendError, Connection, Fleet, LoadError};
use gatewright_local::{Binaries, NatsCluster, SyncInterval};
use gatewright_schemas::{Commit, Gate, RunId, RunStatus};

use crate::support::{acme, bus, cancelled, connection, created, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_created_once_and_reads_back() {
    let bus = bus().await;
    let first = created("r1");
    let fence = bus.fleet.append(&first, 0).await.unwrap();
    let fenced = bus.fleet.append(&created("r1"), 0).await;
    assert!(
        matches!(fenced, Err(AppendError::Fenced { .. })),
        "{fenced:?}"
    );

    let loaded = bus.fleet.load(&acme(), &run("r1")).await.unwrap();
    assert_eq!(
        (loaded.fence, loaded.state.status()),
        (fence, Some(RunStatus::Queued))
    );
    let last = bus
        .fleet
        .last_commit(&acme(), &run("r1"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((last.sequence, last.commit), (fence, first.commit));
    assert_eq!(bus.fleet.load(&acme(), &run("r2")).await.unwrap().fence, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_with_one_view_one_wins() {
    let bus = bus().await;
    bus.fleet.append(&created("r1"), 0).await.unwrap();
    let seen = bus.fleet.load(&acme(), &run("r1")).await.unwrap();
    let writers = (0..8).map(|_| async { bus.fleet.append(&cancelled(&seen), seen.fence).await });
    let won = join_all(writers).await.into_iter().flatten().count();
    assert_eq!(won, 1);
    assert_eq!(
        bus.fleet.history(&acme(), &run("r1")).await.unwrap().len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_is_recognised_as_stored() {
    let bus = bus().await;
    let commit = created("r1");
    let stored = bus.fleet.append(&commit, 0).await.unwrap();
    // The writer never saw the answer and sends the same commit again, also long after the server forgot its id.
    assert_eq!(bus.fleet.append(&commit, 0).await.unwrap(), stored);
    let seen = bus.fleet.load(&acme(), &run("r1")).await.unwrap();
    bus.fleet.append(&cancelled(&seen), stored).await.unwrap();
    assert_eq!(bus.fleet.append(&commit, 0).await.unwrap(), stored);
    assert_eq!(
        bus.fleet.history(&acme(), &run("r1")).await.unwrap().len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_outlives_a_server_that_goes_and_comes_back() {
    let mut bus = bus().await;
    bus.server.kill().await.unwrap();
    let fleet = bus.fleet.clone();
    let append = tokio::spawn(async move { fleet.append(&created("r1"), 0).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    bus.server.restart().await.unwrap();
    append.await.unwrap().unwrap();
    assert_eq!(
        bus.fleet.history(&acme(), &run("r1")).await.unwrap().len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_store_every_run_and_refuse_only_the_stale_one() {
    let bus = bus().await;
    let mut grouped = connection(&bus.server.url(), "writer-2");
    grouped.group_commit = true;
    let grouped = Fleet::connect(&grouped).await.unwrap();
    bus.fleet.append(&created("stale"), 0).await.unwrap();

    let commits: Vec<_> = (0..50)
        .map(|n| created(&format!("r{n}")))
        .chain([created("stale")])
        .collect();
    let answers = join_all(commits.iter().map(|commit| grouped.append(commit, 0))).await;
    let (good, stale) = answers.split_at(50);
    assert!(
        matches!(stale, [Err(AppendError::Fenced { .. })]),
        "{stale:?}"
    );
    for (n, answer) in good.iter().enumerate() {
        let sequence = *answer.as_ref().unwrap();
        let stored = bus
            .fleet
            .last_commit(&acme(), &run(&format!("r{n}")))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (stored.sequence, &stored.commit),
            (sequence, &commits[n].commit)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_never_holds_two_commits_of_one_run() {
    let bus = bus().await;
    let mut grouped = connection(&bus.server.url(), "writer-2");
    grouped.group_commit = true;
    let grouped = Fleet::connect(&grouped).await.unwrap();
    let commits: Vec<_> = (0..40).map(|n| created(&format!("r{}", n / 4))).collect();
    let answers = join_all(commits.iter().map(|commit| grouped.append(commit, 0))).await;
    assert_eq!(answers.iter().flatten().count(), 10);
    for n in 0..10 {
        let history = bus
            .fleet
            .history(&acme(), &run(&format!("r{n}")))
            .await
            .unwrap();
        assert_eq!(history.len(), 1, "run r{n} forked");
    }
}

/// What a reader gets that asks again for as long as nobody answers, as one does while the nodes elect a leader.
async fn answered<T>(ask: impl AsyncFn() -> Result<T, LoadError>) -> T {
    loop {
        match ask().await {
            Err(LoadError::Unavailable { .. }) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            answer => return answer.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_three_nodes_the_fence_holds_while_the_leader_dies() {
    let data = tempfile::tempdir().unwrap();
    let mut cluster = NatsCluster::start(
        &Binaries::find().unwrap(),
        data.path(),
        SyncInterval::Always,
    )
    .await
    .unwrap();
    let fleet = Fleet::connect(&connection(&cluster.url(), "writer-1"))
        .await
        .unwrap();
    fleet.provision(3).await.unwrap();

    let race = |id: String| {
        let fleet = fleet.clone();
        async move {
            let fence = fleet.append(&created(&id), 0).await.unwrap();
            // A leader may have died since; otherwise what was acknowledged is seen at once.
            let run = run(&id);
            let seen = answered(async || fleet.load_at_least(&acme(), &run, fence).await).await;
            let writers =
                (0..3).map(|_| async { fleet.append(&cancelled(&seen), seen.fence).await.is_ok() });
            join_all(writers)
                .await
                .into_iter()
                .filter(|won| *won)
                .count()
        }
    };
    let races = join_all((0..60).map(|n| race(format!("r{n}"))));
    let election = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cluster.nodes_mut()[0].kill().await.unwrap();
        cluster.nodes_mut()[0].restart().await.unwrap();
    };
    let races = tokio::time::timeout(Duration::from_secs(90), races);
    let (winners, ()) = tokio::join!(races, election);
    assert_eq!(winners.unwrap(), vec![1; 60]);
    for n in 0..60 {
        let id = run(&format!("r{n}"));
        let history = answered(async || fleet.history(&acme(), &id).await).await;
        assert_eq!(history.len(), 2, "run r{n}");
    }
}

/// On three nodes most answers come of a replica that is not the leader.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_in_the_current_view_at_once() {
    let data = tempfile::tempdir().unwrap();
    let binaries = Binaries::find().unwrap();
    let cluster = NatsCluster::start(&binaries, data.path(), SyncInterval::Always)
        .await
        .unwrap();
    let url = cluster.url();
    for group_commit in [false, true] {
        let connection = Connection {
            group_commit,
            ..connection(&url, "writer-1")
        };
        let fleet = Fleet::connect(&connection).await.unwrap();
        fleet.provision(3).await.unwrap();
        let looks = (0..100).map(|n| {
            let (fleet, id) = (fleet.clone(), run(&format!("r{n}-{group_commit}")));
            async move {
                let fence = fleet.append(&created(id.as_str()), 0).await.unwrap();
                let seen = fleet.load_current(&acme(), &id).await.unwrap();
                assert_eq!(seen.fence, fence);
                let ended = fleet.append(&cancelled(&seen), fence).await.unwrap();
                let seen = fleet.load_current(&acme(), &id).await.unwrap();
                assert_eq!(seen.fence, ended);
                assert_eq!(seen.state.status(), Some(RunStatus::Cancelled));
            }
        });
        join_all(looks).await;
        is_read_backwards(&fleet, url.split(',').next().unwrap(), 100, group_commit).await;
    }
}

/// What a history's reading rests on: the server keeps the fence that it held a message to.
async fn is_read_backwards(fleet: &Fleet, url: &str, runs: usize, group_commit: bool) {
    let client = async_nats::connect(url).await.unwrap();
    let events = async_nats::jetstream::new(client)
        .get_stream("EVENTS")
        .await
        .unwrap();
    for n in 0..runs {
        let id = run(&format!("r{n}-{group_commit}"));
        let history = fleet.history(&acme(), &id).await.unwrap();
        let sequences: Vec<u64> = history.iter().map(|stored| stored.sequence).collect();
        let mut fences = Vec::new();
        for sequence in &sequences {
            let message = events.get_raw_message(*sequence).await.unwrap();
            let fence = message.headers.get("Nats-Expected-Last-Subject-Sequence");
            fences.push(fence.unwrap().as_str().parse::<u64>().unwrap());
        }
        assert_eq!(fences, [0, sequences[0]]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_reads_the_same_whether_it_is_short_or_long() {
    let bus = bus().await;
    let authority = RunId::authority();
    let (mut fence, mut appended) = (0, Vec::new());
    for n in 1..=40 {
        let commit = Commit {
            run_id: authority.clone(),
            ..created("any").commit
        };
        fence = bus
            .fleet
            .append_authority(&commit, Gate::None, fence)
            .await
            .unwrap();
        appended.push((fence, commit));
        let history = bus.fleet.history(&acme(), &authority).await.unwrap();
        let read: Vec<_> = history
            .into_iter()
            .map(|s| (s.sequence, s.commit))
            .collect();
        assert!(read == appended, "after {n} commits");
        // Of other runs, between them.
        bus.fleet
            .append(&created(&format!("r{n}")), 0)
            .await
            .unwrap();
    }
}
