//! Servers that die and come back, and workers that are asked to go.

use std::time::{Duration, Instant};

use gatewright_bus::presence::Presence;
use gatewright_schemas::{EventType, RunStatus};
use gatewright_tests::{
    Fleetlet, eventually,
    outside::Outsider,
    policy,
    role::{Role, RoleOptions},
    run,
    upstream::Upstream,
};
use gatewright_worker::WorkerConfig;
use serde_json::{Value, json};

use crate::{FLEET_ROLE, crashes::worker_behind_proxy};

const RUNS: usize = 500;

fn id(n: usize) -> String {
    format!("r{n}")
}

/// Most runs do nothing; every tenth writes to the outside.
fn submission(n: usize, upstream: &Upstream) -> Value {
    let write = json!({ "method": "POST", "target_url": upstream.url(&format!("/{}", id(n))) });
    let call = if n.is_multiple_of(10) {
        json!({ "tool": "egress.request", "input": write })
    } else {
        json!({ "tool": "runtime.noop" })
    };
    json!({ "run_id": id(n), "input": { "runtime": { "steps": [{ "tool_calls": [call] }] } } })
}

/// Publishes until the server has it; a run id makes it safe to publish a submission again.
async fn submit(outsider: &Outsider, submission: &Value) {
    loop {
        let sent = outsider
            .jetstream
            .publish("fleet.submit.acme", submission.to_string().into())
            .await;
        if let Ok(stored) = sent
            && stored.await.is_ok()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn all_succeed(fleet: &Fleetlet, patience: Duration) {
    eventually("every run ends", patience, async || {
        let mut left = Vec::new();
        for n in 0..RUNS {
            let last = fleet.fleet.last_commit(&fleet.acme, &run(&id(n))).await;
            match last
                .map_err(|error| error.to_string())?
                .and_then(|last| last.status)
            {
                Some(RunStatus::Succeeded) => {}
                status => left.push((id(n), status)),
            }
        }
        left.truncate(10);
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_accepted_ends_although_nats_dies_in_the_middle() {
    let (mut fleet, upstream) = tokio::join!(Fleetlet::start(2), Upstream::start());
    fleet.start_dispatcher("dispatcher-2").await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let submissions: Vec<Value> = (0..RUNS).map(|n| submission(n, &upstream)).collect();
    let load = tokio::spawn(async move {
        for submission in &submissions {
            submit(&outsider, submission).await;
        }
    });
    let mut back = Instant::now();
    for after in [80, 300] {
        fleet.sees(&run(&id(after)), EventType::RunCreated).await;
        fleet.nats.kill().await.unwrap();
        fleet.nats.restart().await.unwrap();
        back = Instant::now();
    }
    load.await.unwrap();
    all_succeed(&fleet, Duration::from_secs(90)).await;
    println!(
        "all {RUNS} runs ended {:?} after the server was back",
        back.elapsed()
    );
    for n in (0..RUNS).step_by(10) {
        let path = format!("/{}", id(n));
        let writes = upstream
            .seen()
            .iter()
            .filter(|request| request.path == path)
            .count();
        assert_eq!(writes, 1, "{path}");
    }
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_read_tables_catch_up_after_postgres_died_in_the_middle() {
    let (mut fleet, upstream) = tokio::join!(Fleetlet::start(2), Upstream::start());
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let submissions: Vec<Value> = (0..RUNS).map(|n| submission(n, &upstream)).collect();
    let load = tokio::spawn(async move {
        for submission in &submissions {
            submit(&outsider, submission).await;
        }
    });
    fleet.sees(&run(&id(100)), EventType::RunCompleted).await;
    fleet.postgres.kill().await.unwrap();
    // Without Postgres runs go on as if nothing had happened.
    fleet.sees(&run(&id(300)), EventType::RunCompleted).await;
    fleet.postgres.restart().await.unwrap();
    let back = Instant::now();
    load.await.unwrap();
    all_succeed(&fleet, Duration::from_mins(1)).await;
    fleet.projected().await;
    println!(
        "the tables were up to date {:?} after Postgres was back",
        back.elapsed()
    );
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_wait_for_servers_that_are_not_there_yet() {
    let mut fleet = Fleetlet::servers().await;
    let setting_up = fleet.start_dispatcher("dispatcher-0").await;
    fleet.apply_policy(policy::OPEN).await;
    setting_up.stop().await;
    fleet.nats.stop().await.unwrap();
    fleet.postgres.stop().await.unwrap();
    let mut roles: Vec<_> = ["dispatcher", "worker", "projector"]
        .into_iter()
        .map(|role| RoleOptions::new(FLEET_ROLE, role, &format!("{role}-1"), &fleet).launch())
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(roles.iter_mut().all(Role::is_running), "they wait");
    fleet.nats.restart().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(roles.iter_mut().all(Role::is_running), "they wait");
    fleet.postgres.restart().await.unwrap();
    for role in &mut roles {
        role.is_at_work().await;
    }
    let (_, status) = fleet.ended_run(&json!({ "run_id": "r" })).await;
    assert_eq!(status, RunStatus::Succeeded);
    fleet.audit().await;
    for role in roles {
        role.drain().await;
    }
}

/// Its requests for work go down with the connection, and nothing ever answers them.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_lost_its_requests_for_work_asks_again_as_soon_as_it_is_connected() {
    const ASKING: &str = "$JS.API.CONSUMER.MSG.NEXT.";
    let fleet = Fleetlet::start(0).await;
    let (_worker, proxy) = worker_behind_proxy(&fleet, "worker-1", &[]).await;
    // Once with requests that wait at the server, once with the short ones by which it looks whether anything is there.
    for (n, lost) in [&[][..], &[ASKING][..]].into_iter().enumerate() {
        proxy.lose(lost);
        let warm = format!("warm-{n}");
        fleet.accepted(&json!({ "run_id": warm })).await;
        if lost.is_empty() {
            fleet.ended(&run(&warm)).await;
        } else {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        proxy.cut();
        proxy.lose(&[]);
        proxy.mend();
        let asked = Instant::now();
        let id = fleet.accepted(&json!({ "run_id": format!("r-{n}") })).await;
        fleet.ended(&id).await;
        println!(
            "at work again {:?} after its connection was lost",
            asked.elapsed()
        );
        assert!(
            asked.elapsed() < Duration::from_secs(5),
            "{:?}",
            asked.elapsed()
        );
    }
    fleet.audit().await;
}

/// Two steps, so that there is a point to hand the run on between them.
fn slow(id: &str) -> Value {
    let echo = |ms: u64| json!({ "tool_calls": [{ "tool": "runtime.echo", "input": { "delay_ms": ms } }] });
    json!({ "run_id": id, "input": { "runtime": { "steps": [echo(800), echo(800)] } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_asked_to_go_finishes_its_calls_and_hands_its_runs_on() {
    let fleet = Fleetlet::start(0).await;
    let goer = RoleOptions::new(FLEET_ROLE, "worker", "goer", &fleet)
        .start()
        .await;
    let ids: Vec<String> = (0..20).map(|n| format!("s{n}")).collect();
    for id in &ids {
        fleet.accepted(&slow(id)).await;
    }
    for id in &ids {
        fleet.sees(&run(id), EventType::ToolInvoked).await;
    }
    fleet.start_worker("stayer").await;
    let asked = Instant::now();
    goer.drain().await;
    println!("drained in {:?}", asked.elapsed());
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "it does not wait for what it can hand on"
    );
    for id in &ids {
        let id = run(id);
        assert_eq!(
            fleet.ended(&id).await,
            RunStatus::Succeeded,
            "{}",
            fleet.told(&id).await
        );
        let types = fleet.types(&id).await;
        let invoked = types.iter().filter(|kind| **kind == "tool.invoked").count();
        assert_eq!(invoked, 2, "no call was made twice: {types:?}");
        assert_eq!(
            fleet.history(&id).await.last().unwrap().writer.as_str(),
            "stayer"
        );
    }
    println!(
        "all handed on and ended {:?} after it was asked",
        asked.elapsed()
    );
    assert!(
        asked.elapsed() < Duration::from_secs(12),
        "they are handed on at once"
    );
    fleet.audit().await;
}

fn impatient() -> WorkerConfig {
    WorkerConfig {
        drain_patience: Duration::from_millis(300),
        ..WorkerConfig::default()
    }
}

/// A write that may not be repeated, and a read that may.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_has_no_patience_for_is_cut_off_and_taken_over() {
    let (fleet, upstream) = tokio::join!(Fleetlet::start(0), Upstream::start());
    let goer = fleet.start_worker_with("goer", impatient()).await;
    let request = |method: &str, key: &str| json!({ "tool": "egress.request", "input": { "method": method, "target_url": upstream.url(&format!("/held/{key}")) } });
    for (method, key) in [("POST", "write"), ("GET", "read")] {
        let steps = json!([{ "tool_calls": [request(method, key)] }]);
        fleet
            .accepted(&json!({ "run_id": key, "input": { "runtime": { "steps": steps } } }))
            .await;
        upstream.hears(&format!("/held/{key}")).await;
    }
    let asked = Instant::now();
    goer.stop().await;
    println!("gone after {:?}", asked.elapsed());
    assert!(
        asked.elapsed() < Duration::from_secs(20),
        "it does not wait"
    );
    for id in ["write", "read"] {
        let types = fleet.types(&run(id)).await;
        assert_eq!(types.last(), Some(&"tool.invoked"), "it is left as it is");
    }
    fleet.start_worker("successor").await;
    assert_eq!(fleet.ended(&run("write")).await, RunStatus::Failed);
    let failed = fleet.the_event(&run("write"), EventType::RunFailed).await;
    assert_eq!(failed.data["error"]["reason_code"], "outcome_unknown");
    assert_eq!(upstream.seen_at("/held/write").len(), 1);

    eventually(
        "the read is made again",
        Duration::from_secs(40),
        async || match upstream.seen_at("/held/read").len() {
            2 => Ok(()),
            other => Err(format!("made {other} times")),
        },
    )
    .await;
    upstream.let_go("read");
    assert_eq!(fleet.ended(&run("read")).await, RunStatus::Succeeded);
    upstream.let_go("write");
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_asked_to_go_goes_although_nats_is_gone() {
    let (mut fleet, upstream) = tokio::join!(Fleetlet::start(0), Upstream::start());
    let goer = fleet.start_worker_with("goer", impatient()).await;
    let call = json!({ "tool": "egress.request", "input": { "method": "POST", "target_url": upstream.url("/held/write") } });
    fleet
        .accepted(&json!({ "run_id": "r", "input": { "runtime": { "steps": [{ "tool_calls": [call] }] } } }))
        .await;
    upstream.hears("/held/write").await;
    fleet.nats.kill().await.unwrap();
    let gone = tokio::time::timeout(Duration::from_secs(30), goer.stop()).await;
    assert!(gone.is_ok(), "it waits for a server that is gone");
    upstream.let_go("write");
}

/// As when one of several NATS servers dies, and everybody who was connected to it goes to another.
#[tokio::test(flavor = "multi_thread")]
async fn workers_that_lose_their_connections_together_go_on_with_their_calls() {
    let (fleet, upstream) = tokio::join!(Fleetlet::start(0), Upstream::start());
    let mut roles = Vec::new();
    for name in ["one", "two"] {
        // One run each: whoever holds one has no place for another.
        let (role, proxy) = worker_behind_proxy(&fleet, name, &[("--concurrency", "1")]).await;
        let call = json!({ "tool": "egress.request", "input": { "method": "POST", "target_url": upstream.url(&format!("/held/{name}")) } });
        fleet
            .accepted(&json!({ "run_id": name, "input": { "runtime": { "steps": [{ "tool_calls": [call] }] } } }))
            .await;
        upstream.hears(&format!("/held/{name}")).await;
        roles.push((role, proxy));
    }
    // Whoever takes over, would their runs be woken.
    fleet.start_worker("vulture").await;
    for (_, proxy) in &roles {
        proxy.cut();
    }
    // Longer than a worker that is alone may be silent.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    for (_, proxy) in &roles {
        proxy.mend();
    }
    for name in ["one", "two"] {
        eventually(
            &format!("{name} is back"),
            Duration::from_secs(20),
            async || match fleet.fleet.ping(&name.parse().unwrap(), "").await {
                Presence::Alive { .. } => Ok(()),
                other => Err(format!("{other:?}")),
            },
        )
        .await;
        upstream.let_go(name);
        let status = fleet.ended(&run(name)).await;
        assert_eq!(
            status,
            RunStatus::Succeeded,
            "{}",
            fleet.told(&run(name)).await
        );
        assert_eq!(upstream.seen_at(&format!("/held/{name}")).len(), 1);
    }
    fleet.audit().await;
}
