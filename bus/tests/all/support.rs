//! A server of one's own, a connection, and commits to append.

use std::time::{Duration, Instant};

use gatewright_bus::{Connection, Fleet, Loaded, Names, Tls, clock};
use gatewright_local::{Binaries, NatsOptions, NatsServer};
use gatewright_run::{RunState, Sealed, Stamp, decide};
use gatewright_schemas::{
    Lane, RunId, Submission, WorkspaceId, WriterId, Zone, event::RunCreated, validate,
};

pub struct Bus {
    pub server: NatsServer,
    pub fleet: Fleet,
    _data: tempfile::TempDir,
}

pub fn connection(url: &str, writer: &str) -> Connection {
    Connection {
        url: url.to_owned(),
        writer: WriterId::new(writer).unwrap(),
        names: Names::default(),
        credentials: None,
        tls: Tls::default(),
        group_commit: false,
    }
}

pub async fn bus() -> Bus {
    let data = tempfile::tempdir().unwrap();
    let server = NatsServer::start(
        &Binaries::find().unwrap(),
        NatsOptions::new(data.path(), "bus-test"),
    )
    .await
    .unwrap();
    let fleet = Fleet::connect(&connection(&server.url(), "writer-1"))
        .await
        .unwrap();
    fleet.provision(1).await.unwrap();
    Bus {
        server,
        fleet,
        _data: data,
    }
}

pub fn acme() -> WorkspaceId {
    WorkspaceId::new("acme").unwrap()
}

pub fn run(id: &str) -> RunId {
    RunId::new(id).unwrap()
}

pub fn stamp() -> Stamp {
    Stamp {
        commit_id: clock::fresh_commit_id(),
        occurred_at: clock::now(),
        writer: WriterId::new("writer-1").unwrap(),
        causation_id: None,
    }
}

/// `run.created` of a run that calls nothing but the no-op, sealed.
pub fn created(id: &str) -> Sealed {
    let submission: Submission = validate::submission(b"{}").unwrap();
    let created = RunCreated {
        content_digest: submission.content_digest(),
        lane: Lane::Background,
        zone: Zone::Sandbox,
        retry_of: None,
        secrets: 0,
        trace: None,
        submission,
    };
    decide::admit(&RunState::new(acme(), run(id)), created)
        .unwrap()
        .seal(stamp())
}

/// The run's cancellation, decided on what `loaded` shows.
pub fn cancelled(loaded: &Loaded) -> Sealed {
    decide::cancel(&loaded.state, "test".into(), None)
        .unwrap()
        .seal(stamp())
}

/// Looks again and again until `look` answers with `Ok`; panics with the last state seen when that takes too long.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        let seen = match look().await {
            Ok(value) => return value,
            Err(seen) => seen,
        };
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "not in time: {what}\nlast seen: {seen}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
