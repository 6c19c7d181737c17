//! A batch and its checkpoint are written together or not at all, and by one projector.

use gatewright_schemas::{EventId, RunId, RunStatus, Timestamp, WorkspaceId, Zone};
use gatewright_store::{
    checkpoint, dump,
    projection::{Batch, Position, RunRow, WriteError, Writer},
};

use crate::server::{Server, execute};

fn now() -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000)
}

fn batch(sequence: u64, run: &str) -> Batch {
    let mut batch = Batch::default();
    batch.runs.add(row(run));
    batch.position = Some(Position {
        sequence,
        event_id: EventId::new(format!("c{sequence}.1")).unwrap(),
        stored_at: now(),
    });
    batch
}

fn row(run: &str) -> RunRow {
    RunRow {
        created_sequence: 1,
        last_sequence: 1,
        last_seq: 1,
        created_at: now(),
        moved_at: now(),
        started_at: None,
        ended_at: None,
        not_before: None,
        deadline: None,
        wait_expires_at: None,
        lease: None,
        attempt: 0,
        succeeded_calls: 0,
        failed_calls: 0,
        denied_calls: 0,
        workspace_id: WorkspaceId::new("acme").unwrap(),
        run_id: RunId::new(run).unwrap(),
        status: RunStatus::Queued,
        zone: Zone::Sandbox,
        lane: None,
        worker: None,
        principal_id: None,
        capability_token_id: None,
        retry_of: None,
        waiting_approval_id: None,
        title: None,
        room_id: None,
        thread_id: None,
        correlation_id: None,
        requested_run_id: None,
        error: None,
    }
}

#[tokio::test]
async fn rows_and_checkpoint_go_in_together_and_by_one_projector() {
    let server = Server::start().await;
    let store = server.database("writing").await;
    let mut connection = server.connection("writing").await;
    let mut writer = Writer::try_acquire(&store).await.unwrap().unwrap();
    writer.write(&mut batch(1, "one"), now(), 1).await.unwrap();

    // What Postgres refuses leaves nothing behind.
    let doubled = writer
        .write(&mut batch(2, "one"), now(), 2)
        .await
        .unwrap_err();
    assert!(!doubled.is_transient(), "{doubled}");
    assert_eq!(
        checkpoint::load(&store)
            .await
            .unwrap()
            .unwrap()
            .last_sequence,
        1
    );
    assert!(matches!(
        writer.write(&mut Batch::default(), now(), 1).await,
        Err(WriteError::Empty)
    ));
    drop(writer);

    // The connection, and the lock with it, is cut in the middle; meanwhile another projector goes on.
    let mut first = acquire(&store).await;
    execute(
        &mut connection,
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'gatewright projector'",
    )
    .await
    .unwrap();
    let mut second = acquire(&store).await;
    second.write(&mut batch(5, "five"), now(), 5).await.unwrap();
    let late = first
        .write(&mut batch(2, "late"), now(), 5)
        .await
        .unwrap_err();
    assert!(late.is_transient(), "{late}");

    // Even one that does not notice cannot write over the other's work.
    execute(
        &mut connection,
        "update projection_checkpoint set last_sequence = 9",
    )
    .await
    .unwrap();
    let overtaken = second
        .write(&mut batch(6, "six"), now(), 6)
        .await
        .unwrap_err();
    assert!(matches!(overtaken, WriteError::Overtaken), "{overtaken}");

    let runs: Vec<_> = dump::folded(&store).await.unwrap();
    assert_eq!(runs.len(), 2, "{runs:?}");
}

async fn acquire(store: &gatewright_store::Store) -> Writer {
    loop {
        if let Some(writer) = Writer::try_acquire(store).await.unwrap() {
            return writer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
