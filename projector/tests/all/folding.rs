//! Read tables equal the fold of the stream, however it was cut and whatever died.

use gatewright_projector::{ApplyError, Session, fold, needs};
use gatewright_schemas::{
    RecordedDecision, RunStatus, StoredCommit, Timestamp, WorkspaceId, chain,
};
use gatewright_store::{
    Store, approval, capability, checkpoint, decision, dump, egress, event, policy_revision,
    principal,
    projection::{Batch, Writer},
    rebuild, recorded, run, step, tool_call,
};
use serde_json::json;

use crate::{
    history::{self, Stream, created_at, everything, random, run_id, workspace},
    server::Server,
};

async fn apply(session: &mut Session, commits: &[StoredCommit]) {
    session.apply(commits, created_at(), 9_999).await.unwrap();
}

async fn project(store: &Store, commits: &[StoredCommit]) {
    let mut session = Session::begin(store)
        .await
        .unwrap()
        .expect("no other projector");
    apply(&mut session, commits).await;
    session.end().await.unwrap();
}

fn assert_same(what: &str, expected: &[String], found: &[String]) {
    for (expected, found) in expected.iter().zip(found) {
        assert_eq!(expected, found, "{what}");
    }
    assert_eq!(expected.len(), found.len(), "{what}");
}

#[tokio::test]
async fn tables_are_the_same_however_the_stream_is_cut_and_whatever_dies() {
    let server = Server::start().await;
    let commits = everything(1).commits;

    let whole = server.database("whole").await;
    project(&whole, &commits).await;
    let expected = dump::folded(&whole).await.unwrap();
    assert!(expected.len() > 500, "{}", expected.len());

    // One commit at a time, by a projector that keeps runs in memory.
    let single = server.database("single").await;
    let mut session = Session::begin(&single).await.unwrap().unwrap();
    for commit in &commits {
        apply(&mut session, std::slice::from_ref(commit)).await;
    }
    session.end().await.unwrap();
    assert_same(
        "one by one",
        &expected,
        &dump::folded(&single).await.unwrap(),
    );

    // A few commits at a time, by a projector that knows nothing each time.
    let amnesia = server.database("amnesia").await;
    for commits in commits.chunks(4) {
        project(&amnesia, commits).await;
    }
    assert_same(
        "restarted for each few",
        &expected,
        &dump::folded(&amnesia).await.unwrap(),
    );

    for seed in 0..3_u64 {
        let store = server.database(&format!("cut{seed}")).await;
        cut_at_random(&store, &commits, seed).await;
        assert_same(
            &format!("cut at random, seed {seed}"),
            &expected,
            &dump::folded(&store).await.unwrap(),
        );

        // And folded again from the beginning.
        let writer = rebuild::begin(&store).await.unwrap();
        assert_eq!(dump::folded(&store).await.unwrap(), Vec::<String>::new());
        assert_eq!(writer.checkpoint(), None);
        writer.release().await.unwrap();
        project(&store, &commits).await;
        assert_same("rebuilt", &expected, &dump::folded(&store).await.unwrap());
    }
}

/// Batches of any size; projectors that die after folding, after writing, and that are sent again what they have.
async fn cut_at_random(store: &Store, commits: &[StoredCommit], seed: u64) {
    let mut seed = seed;
    let mut session = Session::begin(store).await.unwrap().unwrap();
    let mut sent = 0;
    while sent < commits.len() {
        let size = usize::try_from(random(&mut seed) % 40).unwrap() + 1;
        let until = (sent + size).min(commits.len());
        match random(&mut seed) % 5 {
            0 => {
                // Dies between folding and writing.
                session.end().await.unwrap();
                let mut writer = Writer::try_acquire(store).await.unwrap().unwrap();
                let mut batch = Batch::default();
                let rest = &commits[sent..until];
                writer
                    .load(&needs::of(&batch, rest), &mut batch)
                    .await
                    .unwrap();
                for commit in rest {
                    fold(&mut batch, commit).unwrap();
                }
                writer.release().await.unwrap();
                session = Session::begin(store).await.unwrap().unwrap();
            }
            1 => {
                // Dies after writing.
                apply(&mut session, &commits[sent..until]).await;
                session.end().await.unwrap();
                session = Session::begin(store).await.unwrap().unwrap();
                sent = until;
            }
            2 => {
                // Is sent some of it again.
                let again = sent.saturating_sub(3);
                apply(&mut session, &commits[again..until]).await;
                sent = until;
            }
            _ => {
                apply(&mut session, &commits[sent..until]).await;
                sent = until;
            }
        }
    }
    session.end().await.unwrap();
}

#[expect(clippy::too_many_lines, reason = "one kind of run after the other")]
#[tokio::test]
async fn every_kind_of_event_shows_where_it_belongs() {
    let server = Server::start().await;
    let store = server.database("kinds").await;
    let mut stream = Stream::default();
    let stories = history::all_kinds("");
    for story in &stories {
        stream.tell(story);
    }
    everything_of_authority(&mut stream);
    project(&store, &stream.commits).await;
    let acme = workspace();

    let show = async |name: &str| {
        run::show(&store, &acme, &run_id(name))
            .await
            .unwrap()
            .unwrap()
    };
    let calls = async |name: &str| {
        tool_call::of_run(&store, &acme, &run_id(name), (0, 0), 100)
            .await
            .unwrap()
    };

    // TASK-217: denied at the tool-policy stage.
    let run = show("denied").await;
    assert_eq!(
        (run.status.as_str(), run.denied_calls, run.failed_calls),
        ("failed", 1, 1)
    );
    let error = run.error.unwrap();
    assert_eq!(
        error,
        json!({ "stage": "tool_policy", "reason_code": "capability_scope_tool_not_allowed",
            "reason": "because of capability_scope_tool_not_allowed", "decision": "deny", "blocked": true,
            "enforcement_mode": "enforce", "tool_name": "runtime.noop" })
    );
    let call = calls("denied").await.remove(0);
    assert_eq!(
        (call.status.as_str(), call.invocations, call.input.clone()),
        ("failed", 0, None)
    );
    assert_eq!(call.error.unwrap(), error);
    assert_eq!(
        call.input_digest.unwrap(),
        history::digest("input").as_str()
    );
    let answers = decision::of_run(&store, &acme, &run_id("denied"), 0, 10)
        .await
        .unwrap();
    assert_eq!(answers.len(), 1);
    assert_eq!(
        (answers[0].decision.as_str(), answers[0].blocked),
        ("deny", true)
    );
    let events = event::of_run(&store, &acme, &run_id("denied"), 0, 100)
        .await
        .unwrap();
    assert!(
        events
            .iter()
            .any(|e| e.event.event_type.as_str() == "policy.denied")
    );
    assert!(
        !events
            .iter()
            .any(|e| e.event.event_type.as_str() == "tool.invoked")
    );

    // Shadow mode: recorded once, made all the same.
    assert_eq!(show("shadow").await.status, "succeeded");
    let answers = decision::of_run(&store, &acme, &run_id("shadow"), 0, 10)
        .await
        .unwrap();
    assert_eq!(
        answers
            .iter()
            .map(|a| (a.decision.as_str(), a.blocked))
            .collect::<Vec<_>>(),
        [("deny", false)]
    );
    assert_eq!(calls("shadow").await[0].status, "succeeded");

    // By time, page by page: the same as at once, nothing twice and nothing left out.
    let since = Timestamp::default();
    let all = recorded::page(&store, None, since, None, 1000)
        .await
        .unwrap();
    assert!(all.len() > 10, "{}", all.len());
    assert!(all.is_sorted_by_key(|one| one.decided_at));
    let mut paged: Vec<RecordedDecision> = Vec::new();
    loop {
        let page = recorded::page(&store, None, since, paged.last(), 3)
            .await
            .unwrap();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    let elsewhere: WorkspaceId = "nowhere".parse().unwrap();
    let none = recorded::page(&store, Some(&elsewhere), since, None, 10)
        .await
        .unwrap();
    assert_eq!(none, []);
    let denied = all
        .iter()
        .find(|one| one.run_id == run_id("denied"))
        .unwrap();
    assert_eq!(denied.hosts, ["example.com"]);
    assert_eq!(denied.capability_token_id, Some("narrow".parse().unwrap()));
    assert_eq!(
        denied.asked, None,
        "written by a version that did not record it"
    );

    // A call's input and output are those of its events, to the letter.
    let call = calls("noop").await.remove(0);
    assert_eq!(call.input.unwrap()["a"], json!(9_007_199_254_740_993_u64));
    assert_eq!(call.output.unwrap(), json!({ "ok": true, "n": 1e-7 }));

    for (name, status, approval_status) in [
        ("approved", "succeeded", "used"),
        ("expired", "failed", "expired"),
        ("waiting", "waiting_approval", "waiting"),
        ("cancelled-waiting", "cancelled", "cancelled"),
        ("unknown", "succeeded", "approved"),
    ] {
        assert_eq!(show(name).await.status, status, "{name}");
        let approvals = approval::of_run(&store, &acme, &run_id(name))
            .await
            .unwrap();
        assert_eq!(
            approvals
                .iter()
                .map(|a| a.status.as_str())
                .collect::<Vec<_>>(),
            [approval_status],
            "{name}"
        );
        assert_eq!(approvals[0].input, json!({ "text": "please\u{0}" }));
    }
    let waiting = approval::waiting(&store, Some(&acme), None, 10)
        .await
        .unwrap();
    assert_eq!(
        waiting
            .iter()
            .map(|a| a.run_id.as_str())
            .collect::<Vec<_>>(),
        ["waiting"]
    );
    let run = show("waiting").await;
    assert_eq!(
        run.waiting_approval_id.as_deref(),
        Some("acme.waiting.1.1.a1")
    );
    assert_eq!(
        (run.worker, calls("waiting").await[0].status.as_str()),
        (None, "waiting_approval")
    );
    assert_eq!(calls("cancelled-waiting").await[0].status, "cancelled");

    // Made twice by two workers, then cancelled: step and call with it.
    let call = calls("taken-over").await.remove(0);
    assert_eq!((call.status.as_str(), call.invocations), ("cancelled", 2));
    assert_eq!(call.error.unwrap()["reason_code"], "cancel_requested");
    let steps = step::of_run(&store, &acme, &run_id("taken-over"), 0, 10)
        .await
        .unwrap();
    assert_eq!(steps[0].status, "cancelled");
    assert_eq!(show("taken-over").await.attempt, 2);

    let run = show("long").await;
    assert_eq!(
        (run.succeeded_calls, run.failed_calls, run.denied_calls),
        (1, 2, 1)
    );
    let hops = egress::of_run(&store, &acme, &run_id("long"), 10)
        .await
        .unwrap();
    let hops: Vec<_> = hops
        .iter()
        .map(|h| (h.hop, h.status.as_str(), h.requests, h.host.as_str()))
        .collect();
    assert_eq!(
        hops,
        [
            (0, "allowed", 2, "h0.example.com"),
            (1, "allowed", 1, "h1.example.com"),
            (0, "blocked", 0, "")
        ]
    );

    assert_eq!(
        show("external").await.title.as_deref(),
        Some("ext\u{fffd}ernal")
    );
    let run = show("rejected").await;
    assert_eq!(
        (run.status.as_str(), run.requested_run_id.as_deref()),
        ("rejected", Some("what?\u{fffd}"))
    );

    let token = capability::list(&store, &acme, "", 10)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(
        (token.revoked_by.as_deref(), token.revoked_reason.as_deref()),
        (Some("bob"), Some("leaked"))
    );
    let principals = principal::list(&store, &acme, "", 10).await.unwrap();
    assert_eq!(
        principals
            .iter()
            .map(|p| (p.principal_id.as_str(), p.quarantined_at.is_some()))
            .collect::<Vec<_>>(),
        [("alice", false), ("nobody", true)]
    );
    let revisions = policy_revision::list(&store, &acme, i64::MAX, 10)
        .await
        .unwrap();
    assert_eq!(
        revisions.iter().map(|r| r.revision).collect::<Vec<_>>(),
        [2, 1]
    );
    assert!(
        run::show(&store, &acme, &run_id("_authority"))
            .await
            .unwrap()
            .is_none()
    );
}

fn everything_of_authority(stream: &mut Stream) {
    stream.tell(&history::authority());
}

#[tokio::test]
async fn the_hash_chain_holds_in_postgres_and_events_come_back_to_the_letter() {
    let server = Server::start().await;
    let store = server.database("chain").await;
    let stream = everything(7);
    project(&store, &stream.commits).await;

    let written: Vec<_> = stream
        .commits
        .iter()
        .flat_map(|c| c.commit.events.clone())
        .collect();
    let mut read = Vec::new();
    let mut position = (0, 0);
    loop {
        let page = event::after(&store, position, 100).await.unwrap();
        let Some(last) = page.last() else { break };
        position = (last.stream_sequence, last.place);
        read.extend(page.into_iter().map(|stored| stored.event));
    }
    assert_eq!(read, written);
    for story in history::all_kinds("r0-") {
        let mut head = chain::ChainHead::default();
        let events = event::of_run(&store, &story.workspace, &story.run, 0, 1_000)
            .await
            .unwrap();
        assert!(!events.is_empty());
        for stored in events {
            chain::verify(&mut head, &stored.event).unwrap();
        }
    }
}

#[tokio::test]
async fn a_commit_that_cannot_be_understood_stops_the_projector_after_those_before_it() {
    let server = Server::start().await;
    let store = server.database("unreadable").await;
    let mut commits = everything(3).commits;
    let broken = &mut commits[40].commit.events[0];
    broken.data = json!("of another shape");
    broken.event_version = 2;

    let mut session = Session::begin(&store).await.unwrap().unwrap();
    let error = session
        .apply(&commits, created_at(), 9_999)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ApplyError::Unreadable(unreadable) if unreadable.sequence == 41),
        "{error}"
    );
    assert!(!error.is_transient());
    drop(session);

    let checkpoint = checkpoint::load(&store).await.unwrap().unwrap();
    assert_eq!(checkpoint.last_sequence, 40);
    let sound = server.database("sound").await;
    project(&sound, &commits[..40]).await;
    assert_same(
        "up to the fault",
        &dump::folded(&sound).await.unwrap(),
        &dump::folded(&store).await.unwrap(),
    );

    // A run whose beginning is missing is not made up.
    let headless: Vec<_> = everything(3)
        .commits
        .into_iter()
        .filter(|c| c.commit.events[0].seq > 1)
        .collect();
    let store = server.database("headless").await;
    let mut session = Session::begin(&store).await.unwrap().unwrap();
    let error = session
        .apply(&headless, created_at(), 9_999)
        .await
        .unwrap_err();
    assert!(matches!(error, ApplyError::Unreadable(_)), "{error}");
}

#[tokio::test]
async fn one_projector_is_active_and_the_next_takes_over() {
    let server = Server::start().await;
    let store = server.database("lock").await;
    let other = server.database("other").await;
    let mut first = Session::begin(&store).await.unwrap().unwrap();
    assert!(Session::begin(&store).await.unwrap().is_none());
    assert!(matches!(
        rebuild::begin(&store).await,
        Err(rebuild::RebuildError::ProjectorRunning)
    ));
    assert!(
        Session::begin(&other).await.unwrap().is_some(),
        "another database is another fleet"
    );

    let commits = everything(5).commits;
    apply(&mut first, &commits[..10]).await;
    // It dies without a word: the connection is cut.
    drop(first);
    let mut second = loop {
        if let Some(session) = Session::begin(&store).await.unwrap() {
            break session;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert_eq!(second.applied(), 10);
    apply(&mut second, &commits).await;

    let lag = checkpoint::lag(&store).await.unwrap().unwrap();
    assert_eq!(lag.last_sequence, i64::try_from(commits.len()).unwrap());
    assert_eq!(lag.messages, 9_999 - lag.last_sequence);
    second.observe(commits.len() as u64).await.unwrap();
    let lag = checkpoint::lag(&store).await.unwrap().unwrap();
    assert_eq!((lag.messages, lag.seconds), (0, 0.0));
}

#[tokio::test]
async fn runs_are_listed_in_pages_and_live_ones_are_found() {
    let server = Server::start().await;
    let store = server.database("lists").await;
    let stream = everything(11);
    project(&store, &stream.commits).await;

    let everything_there = run::Filter {
        limit: 1_000,
        ..run::Filter::default()
    };
    let all = run::list(&store, &everything_there).await.unwrap();
    assert_eq!(all.len(), 48);
    assert!(
        all.windows(2)
            .all(|pair| pair[0].created_sequence > pair[1].created_sequence)
    );
    for filter in [
        run::Filter {
            limit: 7,
            ..run::Filter::default()
        },
        run::Filter {
            limit: 5,
            workspace: Some(workspace()),
            ..run::Filter::default()
        },
        run::Filter {
            limit: 3,
            statuses: vec![RunStatus::Failed, RunStatus::Rejected],
            ..run::Filter::default()
        },
    ] {
        let expected: Vec<_> = all
            .iter()
            .filter(|run| {
                filter.statuses.is_empty()
                    || filter.statuses.iter().any(|s| s.as_str() == run.status)
            })
            .collect();
        let mut found = Vec::new();
        let mut page = filter.clone();
        loop {
            let runs = run::list(&store, &page).await.unwrap();
            assert!(runs.len() <= page.limit as usize);
            let Some(last) = runs.last() else { break };
            page.before = Some(last.created_sequence);
            found.extend(runs);
        }
        assert_eq!(found.iter().collect::<Vec<_>>(), expected);
    }
    let nowhere = run::Filter {
        workspace: Some(WorkspaceId::new("other").unwrap()),
        ..everything_there
    };
    assert_eq!(run::list(&store, &nowhere).await.unwrap(), []);

    // Half of every run's commits: some are queued, some running.
    let half = server.database("half").await;
    project(&half, &stream.commits[..stream.commits.len() / 2]).await;
    let late = Timestamp::from_micros(created_at().as_micros() + 86_400_000_000);
    let live = run::not_moved_since(&half, late, late, None, 1_000)
        .await
        .unwrap();
    let mut paged = Vec::new();
    loop {
        let last = paged.last();
        let page = run::not_moved_since(&half, late, late, last, 3).await;
        let page = page.unwrap();
        assert!(page.len() <= 3);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, live);
    assert!(
        live.windows(2)
            .all(|pair| pair[0].moved_at <= pair[1].moved_at)
    );
    assert!(
        live.iter()
            .all(|run| matches!(run.status, RunStatus::Queued | RunStatus::Running))
    );
    let running = live
        .iter()
        .filter(|run| run.status == RunStatus::Running)
        .count();
    assert!(running > 0 && running < live.len());
    let worker = stream.commits[0].writer.clone();
    assert_eq!(
        run::held_by(&half, &worker, 1_000).await.unwrap().len(),
        running
    );
    let after_all = "2028-01-01T00:00:00Z".parse().unwrap();
    let overdue = run::overdue(&half, after_all, 1_000).await.unwrap();
    assert!(overdue.len() >= live.len());
    assert_eq!(run::overdue(&half, late, 1_000).await.unwrap(), []);
    let lapsed = approval::lapsed(&half, after_all, None, 10).await.unwrap();
    assert!(lapsed.len() > 1, "{lapsed:?}");
    let rest = approval::lapsed(&half, after_all, lapsed.first(), 10).await;
    assert_eq!(rest.unwrap(), lapsed[1..]);
}

#[tokio::test]
async fn an_approval_that_was_projected_before_the_migration_is_folded_on() {
    let server = Server::start().await;
    let commits = {
        let mut stream = Stream::default();
        stream.tell(&history::approved("before"));
        stream.commits
    };
    let store = server.database("before").await;
    project(&store, &commits[..2]).await;
    // What `alter table approvals add column ... default` makes of a row that was there before.
    let psql = std::path::Path::new(&std::env::var("GATEWRIGHT_PG_BIN").unwrap()).join("psql");
    let done = std::process::Command::new(psql)
        .arg(server.postgres.url("before"))
        .args(["-c", "update approvals set approvers = default, votes = default, asked = default, remember_s = default"])
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    project(&store, &commits[2..]).await;
}
