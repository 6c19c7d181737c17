//! Roles that are killed at every point between two of their messages. Whoever takes over finds a history that says what to do.

use std::time::{Duration, Instant};

use gatewright_schemas::{EventType, ReasonCode, RunStatus, StoredCommit};
use gatewright_tests::{
    Fleetlet, eventually,
    outside::Outsider,
    policy,
    proxy::{Fate, Proxy, Trap, WHAT_MATTERS},
    role::{Role, RoleOptions},
    run,
    upstream::Upstream,
};
use serde_json::{Value, json};

use crate::FLEET_ROLE;

/// A dispatcher believes in no deaths before it has been connected for so long.
const BELIEF: Duration = Duration::from_millis(1_300);
/// A takeover is meant to take two seconds at most; a busy machine gets more.
const TAKEOVER: Duration = Duration::from_secs(10);

/// What the outside is shown and no event is.
const SECRET: &str = "Bearer hunter2-hunter2";

/// A run of three calls: nothing, a write that must not be repeated, a read that may be.
fn three_calls(id: &str, upstream: &Upstream, more: &Value) -> Value {
    let request = |method: &str, path: String| {
        let headers = json!({ "authorization": SECRET });
        json!({ "tool": "egress.request", "input": {
            "method": method, "target_url": upstream.url(&path), "headers": headers } })
    };
    let mut runtime = json!({ "steps": [
        { "tool_calls": [{ "tool": "runtime.noop" }, request("POST", format!("/{id}/write"))] },
        { "tool_calls": [request("GET", format!("/{id}/read"))] },
    ] });
    for (key, value) in more.as_object().into_iter().flatten() {
        runtime[key] = value.clone();
    }
    json!({ "run_id": id, "input": { "runtime": runtime } })
}

/// A fleet without workers, whose dispatcher believes in deaths by now.
pub(crate) async fn fleet_without_workers() -> Fleetlet {
    let fleet = Fleetlet::start(0).await;
    tokio::time::sleep(BELIEF).await;
    fleet
}

/// A worker as a process behind a proxy, which has made itself known.
pub(crate) async fn worker_behind_proxy(
    fleet: &Fleetlet,
    name: &str,
    more: &[(&str, &str)],
) -> (Role, Proxy) {
    let proxy = Proxy::before(fleet.nats.port()).await;
    let mut options = RoleOptions::new(FLEET_ROLE, "worker", name, fleet).through(proxy.url());
    for (argument, value) in more {
        options = options.with(argument, value);
    }
    let role = options.start().await;
    eventually("the worker says that it is there", TAKEOVER, async || {
        let listed = fleet
            .fleet
            .list_workers()
            .await
            .map_err(|e| e.to_string())?;
        let there = listed
            .iter()
            .any(|worker| worker.worker_id.as_str() == name);
        if there {
            Ok(())
        } else {
            Err(format!("{listed:?}"))
        }
    })
    .await;
    (role, proxy)
}

fn is_terminal(history: &[StoredCommit]) -> bool {
    let status = history.last().and_then(|last| last.status);
    status.is_some_and(RunStatus::is_terminal)
}

/// Waits until somebody else than `writer` has moved the run on; answers how long after `since` that was.
async fn taken_over(fleet: &Fleetlet, id: &str, writer: &str, since: Instant) -> Duration {
    eventually(&format!("{id} is taken over"), TAKEOVER, async || {
        let history = fleet.history(&run(id)).await;
        let by_another = |commit: &StoredCommit| {
            let name = commit.writer.as_str();
            name != writer && !name.starts_with("dispatcher")
        };
        if history.iter().any(by_another) {
            Ok(since.elapsed())
        } else {
            Err(fleet.told(&run(id)).await)
        }
    })
    .await
}

/// Whether a history holds the intent of a call and not its outcome.
fn is_open(history: &[StoredCommit], call: &str) -> bool {
    let events = history.iter().flat_map(|stored| &stored.commit.events);
    let of_call = events.filter(|event| event.data["tool_call_id"] == call);
    let types: Vec<EventType> = of_call.map(|event| event.event_type).collect();
    types.contains(&EventType::ToolInvoked)
        && !types.contains(&EventType::ToolSucceeded)
        && !types.contains(&EventType::ToolFailed)
}

/// Kills a worker at each of its messages in a run of three calls, and has another take over.
async fn killed_at_every_message(fate: Fate) {
    let (fleet, upstream) = tokio::join!(fleet_without_workers(), Upstream::start());
    let (role, proxy) = worker_behind_proxy(&fleet, "undisturbed", &[]).await;
    let (id, status) = fleet
        .ended_run(&three_calls("undisturbed", &upstream, &json!({})))
        .await;
    assert_eq!(status, RunStatus::Succeeded, "{}", fleet.told(&id).await);
    let messages = eventually("the wake-up is acknowledged", TAKEOVER, async || {
        let published = proxy.published(&WHAT_MATTERS);
        let acked = published
            .last()
            .is_some_and(|last| last.starts_with("$JS.ACK"));
        if acked {
            Ok(published)
        } else {
            Err(format!("{published:?}"))
        }
    })
    .await;
    role.drain().await;

    let mut slowest = Duration::ZERO;
    for nth in 1..=messages.len() {
        let (id, first, second) = (
            format!("r{nth}"),
            format!("first-{nth}"),
            format!("second-{nth}"),
        );
        let (role, proxy) = worker_behind_proxy(&fleet, &first, &[]).await;
        proxy.arm(Trap {
            subjects: WHAT_MATTERS.to_vec(),
            nth,
            fate,
            pid: role.pid(),
        });
        fleet
            .accepted(&three_calls(&id, &upstream, &json!({})))
            .await;
        let killed = proxy.sprung().await;
        let left = fleet.history(&run(&id)).await;
        let writes_before = upstream.seen_at(&format!("/{id}/write")).len();
        let successor = fleet.start_worker(&second).await;
        if !is_terminal(&left) {
            let took = taken_over(&fleet, &id, &first, killed).await;
            println!("killed at message {nth} ({fate:?}): taken over after {took:?}");
            slowest = slowest.max(took);
        }
        let status = fleet.ended(&run(&id)).await;
        let told = fleet.told(&run(&id)).await;

        let writes = upstream.seen_at(&format!("/{id}/write"));
        let reads = upstream.seen_at(&format!("/{id}/read"));
        assert!(
            writes.len() <= 1,
            "message {nth}: written {} times\n{told}",
            writes.len()
        );
        let shown = writes
            .iter()
            .chain(&reads)
            .all(|request| request.headers["authorization"] == SECRET);
        assert!(
            shown,
            "message {nth}: the secret outlives the worker\n{told}"
        );
        let keys: Vec<_> = reads
            .iter()
            .map(|read| read.idempotency_key().unwrap())
            .collect();
        let key = format!("acme.{id}.2.1");
        assert!(
            keys.len() <= 2 && keys.iter().all(|k| *k == key),
            "message {nth}: {keys:?}"
        );
        if is_open(&left, &format!("acme.{id}.1.2")) {
            // Nobody can know whether the write took effect, so it is not tried again.
            assert_eq!(status, RunStatus::Failed, "message {nth}\n{told}");
            assert_eq!(writes.len(), writes_before, "message {nth}\n{told}");
            let error =
                fleet.the_event(&run(&id), EventType::RunFailed).await.data["error"].clone();
            assert_eq!(error["stage"], "recovery", "message {nth}\n{told}");
            assert_eq!(
                error["reason_code"], "outcome_unknown",
                "message {nth}\n{told}"
            );
            assert!(reads.is_empty(), "message {nth}\n{told}");
        } else {
            assert_eq!(status, RunStatus::Succeeded, "message {nth}\n{told}");
            assert_eq!(writes.len(), 1, "message {nth}\n{told}");
            assert!(!reads.is_empty(), "message {nth}\n{told}");
        }
        drop(role);
        successor.stop().await;
    }
    println!("slowest takeover ({fate:?}): {slowest:?}");
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_before_any_of_its_messages_is_stored_breaks_no_promise() {
    killed_at_every_message(Fate::KilledBefore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_after_any_of_its_messages_is_stored_breaks_no_promise() {
    killed_at_every_message(Fate::KilledAfter).await;
}

/// A run of one request to the outside.
fn one_request(id: &str, method: &str, upstream: &Upstream) -> Value {
    let url = upstream.url(&format!("/{id}"));
    json!({ "run_id": id, "input": { "runtime": { "steps": [{ "tool_calls": [
        { "tool": "egress.request", "input": { "method": method, "target_url": url } } ] }] } } })
}

/// Says yes to whatever the run asks, until it has ended.
async fn approved_to_its_end(fleet: &Fleetlet, id: &str) -> RunStatus {
    let id = run(id);
    loop {
        let status = fleet
            .stands(&id, |status| status.is_parked() || status.is_terminal())
            .await;
        if status.is_terminal() {
            return status;
        }
        let yes = gatewright_schemas::Command::DecideApproval {
            approval_id: fleet.parked(&id).await,
            approve: true,
            reason: None,
            remember_s: None,
        };
        fleet.command_as("ann", &id, yes).await;
        fleet.stands(&id, |status| !status.is_parked()).await;
    }
}

/// Kills a worker at each of its messages in a run whose one call is approved, and has another take over.
async fn killed_around_an_approval(method: &str) {
    let (fleet, upstream) = tokio::join!(fleet_without_workers(), Upstream::start());
    fleet
        .apply_policy(&policy::open_with(
            "require_approval = [\"egress.request\"]\n",
        ))
        .await;
    let (role, proxy) = worker_behind_proxy(&fleet, "undisturbed", &[]).await;
    fleet
        .accepted(&one_request("undisturbed", method, &upstream))
        .await;
    let status = approved_to_its_end(&fleet, "undisturbed").await;
    assert_eq!(status, RunStatus::Succeeded);
    let messages = eventually("both wake-ups are acknowledged", TAKEOVER, async || {
        let published = proxy.published(&WHAT_MATTERS);
        let acks = published.iter().filter(|s| s.starts_with("$JS.ACK"));
        if acks.count() == 2 {
            Ok(published)
        } else {
            Err(format!("{published:?}"))
        }
    })
    .await;
    role.drain().await;

    for fate in [Fate::KilledBefore, Fate::KilledAfter] {
        for nth in 1..=messages.len() {
            let id = format!("{method}-{nth}-{fate:?}");
            let (role, proxy) = worker_behind_proxy(&fleet, &format!("first-{id}"), &[]).await;
            proxy.arm(Trap {
                subjects: WHAT_MATTERS.to_vec(),
                nth,
                fate,
                pid: role.pid(),
            });
            fleet.accepted(&one_request(&id, method, &upstream)).await;
            let heir = async {
                proxy.sprung().await;
                fleet.start_worker(&format!("second-{id}")).await
            };
            let (status, successor) = tokio::join!(approved_to_its_end(&fleet, &id), heir);
            let told = fleet.told(&run(&id)).await;
            let types = fleet.types(&run(&id)).await;
            let count = |wanted: &str| types.iter().filter(|t| **t == wanted).count();
            let seen = upstream.seen_at(&format!("/{id}"));
            assert_eq!(count("approval.decided"), 1, "{id}: asked once\n{told}");
            let is_lost = status == RunStatus::Failed;
            if method == "POST" {
                assert!(
                    seen.len() <= 1,
                    "{id}: written {} times\n{told}",
                    seen.len()
                );
                assert_eq!(count("tool.invoked"), 1, "{id}: spent once\n{told}");
                assert!(is_lost || seen.len() == 1, "{id}\n{told}");
            } else {
                assert_eq!(status, RunStatus::Succeeded, "{id}\n{told}");
                let keys = seen.iter().map(|read| read.idempotency_key().unwrap());
                let key = format!("acme.{id}.1.1");
                assert!(keys.clone().all(|k| k == key), "{id}\n{told}");
                assert!((1..=2).contains(&keys.count()), "{id}\n{told}");
            }
            if is_lost {
                let failed = fleet.the_event(&run(&id), EventType::RunFailed).await;
                let code = &failed.data["error"]["reason_code"];
                assert_eq!(code, "outcome_unknown", "{id}\n{told}");
            }
            drop(role);
            successor.stop().await;
        }
    }
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_around_an_approved_write_makes_it_once_at_most() {
    killed_around_an_approval("POST").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_around_an_approved_read_repeats_it_without_asking_again() {
    killed_around_an_approval("GET").await;
}

/// The second dies before it has said anything: nobody but the first ever wrote.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_second_worker_dies_at_once_is_taken_over_by_a_third() {
    let (fleet, upstream) = tokio::join!(fleet_without_workers(), Upstream::start());
    let (first, proxy) = worker_behind_proxy(&fleet, "first", &[]).await;
    let at = |subject, role: &Role| Trap {
        subjects: vec![subject],
        nth: 1,
        fate: Fate::KilledAfter,
        pid: role.pid(),
    };
    proxy.arm(at("fleet.events.", &first));
    fleet
        .accepted(&three_calls("r", &upstream, &json!({})))
        .await;
    proxy.sprung().await;
    let (second, proxy) = worker_behind_proxy(&fleet, "second", &[]).await;
    proxy.arm(Trap {
        fate: Fate::KilledBefore,
        ..at("fleet.events.", &second)
    });
    let killed = proxy.sprung().await;
    fleet.start_worker("third").await;
    let took = taken_over(&fleet, "r", "first", killed).await;
    println!("taken over by the third after {took:?}");
    assert_eq!(fleet.ended(&run("r")).await, RunStatus::Succeeded);
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_kills_its_workers_is_given_up_and_kept_as_a_dead_letter() {
    let fleet = fleet_without_workers().await;
    for nth in 1..=3 {
        let name = format!("victim-{nth}");
        let (role, proxy) = worker_behind_proxy(&fleet, &name, &[("--max-crashes", "3")]).await;
        proxy.arm(Trap {
            subjects: vec!["fleet.events."],
            nth: 1,
            fate: Fate::KilledAfter,
            pid: role.pid(),
        });
        if nth == 1 {
            fleet.accepted(&json!({ "run_id": "poison" })).await;
        }
        proxy.sprung().await;
    }
    let config = gatewright_worker::WorkerConfig {
        max_crashes: 3,
        ..gatewright_worker::WorkerConfig::default()
    };
    fleet.start_worker_with("careful", config).await;
    assert_eq!(fleet.ended(&run("poison")).await, RunStatus::Failed);
    let error = fleet
        .the_event(&run("poison"), EventType::RunFailed)
        .await
        .data["error"]
        .clone();
    assert_eq!(
        error["reason_code"],
        "attempts_exhausted",
        "{}",
        fleet.told(&run("poison")).await
    );
    let letters = fleet
        .fleet
        .dead_letters(Some(&fleet.acme), 0, 10)
        .await
        .unwrap();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].letter.reason_code, ReasonCode::AttemptsExhausted);
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_unknown_outcome_asks_a_person_where_the_run_wishes_so() {
    let (fleet, upstream) = tokio::join!(fleet_without_workers(), Upstream::start());
    let (role, proxy) = worker_behind_proxy(&fleet, "first", &[]).await;
    // The third commit is the intent of the write.
    proxy.arm(Trap {
        subjects: vec!["fleet.events."],
        nth: 4,
        fate: Fate::KilledBefore,
        pid: role.pid(),
    });
    let submission = three_calls(
        "r",
        &upstream,
        &json!({ "on_unknown_outcome": "ask_human" }),
    );
    let id = fleet.accepted(&submission).await;
    proxy.sprung().await;
    assert_eq!(upstream.seen_at("/r/write").len(), 1);
    fleet.start_worker("second").await;
    let approval_id = fleet.parked(&id).await;
    let go_on = gatewright_schemas::Command::DecideApproval {
        approval_id,
        approve: true,
        reason: None,
        remember_s: None,
    };
    fleet.command_as("ann", &id, go_on).await;
    assert_eq!(
        fleet.ended(&id).await,
        RunStatus::Succeeded,
        "{}",
        fleet.told(&id).await
    );
    assert_eq!(upstream.seen_at("/r/write").len(), 1, "it is not repeated");
    assert_eq!(upstream.seen_at("/r/read").len(), 1);
    fleet.audit().await;
}

/// A run of one write that shows a secret, with a deadline.
fn writing(id: &str, upstream: &Upstream, deadline: &str) -> Value {
    let call = json!({ "tool": "egress.request", "input": {
        "method": "POST", "target_url": upstream.url(&format!("/{id}")), "headers": { "authorization": SECRET } } });
    json!({ "run_id": id, "deadline": deadline, "input": { "runtime": { "steps": [{ "tool_calls": [call] }] } } })
}

const TOMORROW: &str = "2099-01-01T00:00:00Z";

/// What a dispatcher is asked for: subject and message.
fn asking_for(kind: &str, id: &str, upstream: &Upstream) -> (String, Value) {
    match kind {
        "submit" => (
            "fleet.submit.acme".to_owned(),
            writing(id, upstream, TOMORROW),
        ),
        "approve" | "remember" => (
            format!("fleet.command.acme.{id}"),
            json!({ "issued_by": "ann", "command": {
                    "type": "decide_approval", "approval_id": format!("acme.{id}.1.1.a1"), "approve": true,
                    "remember_s": (kind == "remember").then_some(600) } }),
        ),
        _ => (
            format!("fleet.command.acme.{id}"),
            json!({ "issued_by": "ann", "command": { "type": "cancel" } }),
        ),
    }
}

/// Kills a dispatcher at each of its messages for a submission, an approval and a cancellation.
#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_killed_at_any_of_its_messages_breaks_no_promise() {
    let (fleet, upstream) = tokio::join!(Fleetlet::servers(), Upstream::start());
    fleet.start_projector("projector-1").await;
    let first = fleet.start_dispatcher("dispatcher-1").await;
    let rules = "require_approval = [\"runtime.echo\"]\n\n[approvals]\nmax_remember = \"1h\"\n";
    fleet.apply_policy(&policy::open_with(rules)).await;
    fleet.start_worker("worker-1").await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;

    // What a dispatcher publishes: for a submission with a secret and a deadline the secret, the creation, the timer, the wake-up
    // and the acknowledgement;
    // for an approval the answer, the wake-up and the acknowledgement, and before that for one that is remembered the event and the
    // entry of the authority; for a cancellation all but the wake-up.
    let fates = [Fate::KilledBefore, Fate::KilledAfter];
    let mut blows = Vec::new();
    for (kind, messages) in [
        ("submit", 5),
        ("approve", 3),
        ("remember", 5),
        ("cancel", 2),
    ] {
        for nth in 1..=messages {
            for fate in fates {
                blows.push((kind, nth, fate, format!("{kind}-{nth}-{fate:?}")));
            }
        }
    }
    for (kind, _, _, id) in &blows {
        match *kind {
            "approve" | "remember" => {
                let call = json!({ "tool": "runtime.echo", "input": { "say": id } });
                let runtime = json!({ "policy": { "principal_id": "p1" },
                    "steps": [{ "tool_calls": [call] }] });
                fleet
                    .accepted(&json!({ "run_id": id, "input": { "runtime": runtime } }))
                    .await;
                fleet.parked(&run(id)).await;
            }
            "cancel" => {
                fleet
                    .accepted(&json!({ "run_id": id, "not_before": TOMORROW }))
                    .await;
            }
            _ => {}
        }
    }
    first.stop().await;

    for (n, (kind, nth, fate, id)) in blows.iter().enumerate() {
        let proxy = Proxy::before(fleet.nats.port()).await;
        let role = RoleOptions::new(
            FLEET_ROLE,
            "dispatcher",
            &format!("dispatcher-v{n}"),
            &fleet,
        )
        .through(proxy.url())
        .without_db()
        .start()
        .await;
        proxy.arm(Trap {
            subjects: WHAT_MATTERS.to_vec(),
            nth: *nth,
            fate: *fate,
            pid: role.pid(),
        });
        let (subject, message) = asking_for(kind, id, &upstream);
        outsider.publish(&subject, message.to_string()).await;
        proxy.sprung().await;
    }
    fleet.start_dispatcher("dispatcher-2").await;
    for (kind, _, _, id) in &blows {
        let wanted = if *kind == "cancel" {
            RunStatus::Cancelled
        } else {
            RunStatus::Succeeded
        };
        // What a dead dispatcher held is handed out again after its lease of half a minute.
        eventually(&format!("{id} ends"), Duration::from_mins(1), async || {
            let history = fleet.history(&run(id)).await;
            match history.last().and_then(|last| last.status) {
                Some(status) if status == wanted => Ok(()),
                _ => Err(fleet.told(&run(id)).await),
            }
        })
        .await;
        if *kind == "remember" {
            let approval = format!("acme.{id}.1.1.a1").parse().unwrap();
            let remembered = gatewright_schemas::RememberedApprovalId::of(&approval);
            eventually(&format!("{id} is remembered"), TAKEOVER, async || {
                let there = fleet.fleet.remembered_approval(&fleet.acme, &remembered);
                let there = there.await.map_err(|error| error.to_string())?;
                there.ok_or_else(|| "no entry".to_owned())
            })
            .await;
        }
        if *kind == "submit" {
            let seen = upstream.seen_at(&format!("/{id}"));
            let keys: Vec<_> = seen
                .iter()
                .map(|write| &write.headers["authorization"])
                .collect();
            assert_eq!(keys, [SECRET], "{id}: written once, and with its secret");
        }
    }
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projector_killed_at_any_time_leaves_tables_that_equal_the_fold() {
    let fleet = Fleetlet::servers().await;
    fleet.start_dispatcher("dispatcher-1").await;
    fleet.apply_policy(policy::OPEN).await;
    fleet.start_worker("worker-1").await;
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let load = async {
        for n in 0..400 {
            outsider
                .publish(
                    "fleet.submit.acme",
                    json!({ "run_id": format!("r{n}") }).to_string(),
                )
                .await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let blows = async {
        for n in 0..10_u64 {
            let name = format!("projector-{n}");
            let role = RoleOptions::new(FLEET_ROLE, "projector", &name, &fleet)
                .start()
                .await;
            // Spread over what a batch takes, the same in every run of this test.
            tokio::time::sleep(Duration::from_millis(20 + n * 7919 % 97)).await;
            role.kill().await;
        }
    };
    tokio::join!(load, blows);
    fleet.start_projector("projector-last").await;
    for n in 0..400 {
        assert_eq!(
            fleet.ended(&run(&format!("r{n}"))).await,
            RunStatus::Succeeded
        );
    }
    fleet.audit().await;
}
