//! Dead letters and workers: fed from elsewhere than the stream of events.

use gatewright_schemas::{
    DeadLetter, ReasonCode, Timestamp, Violation, WorkerHeartbeat, WorkspaceId, WriterId, Zone,
};
use gatewright_store::{dead_letter, worker};
use serde_json::json;

use crate::server::Server;

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000 + second * 1_000_000)
}

#[tokio::test]
async fn dead_letters_and_workers_are_kept_and_repeating_changes_nothing() {
    let server = Server::start().await;
    let store = server.database("aside").await;
    let acme = WorkspaceId::new("acme").unwrap();
    let letter = |text: Option<&str>| DeadLetter {
        reason_code: ReasonCode::SubmissionInvalid,
        reason: "not JSON\0".into(),
        violations: vec![Violation::new("/a", "wrong")],
        died_at: at(0),
        by: WriterId::new("dispatcher-1").unwrap(),
        run_id: None,
        subject: "fleet.submit.acme".into(),
        sequence: 5,
        redacted: false,
        json: text
            .is_none()
            .then(|| json!({ "b": 9_007_199_254_740_993_u64, "a": "nul \u{0}" })),
        text: text.map(Into::into),
    };
    assert_eq!(dead_letter::last_sequence(&store).await.unwrap(), 0);
    for sequence in [1, 2, 2, 3] {
        dead_letter::upsert(
            &store,
            sequence,
            &acme,
            &letter((sequence == 3).then_some("{\0")),
        )
        .await
        .unwrap();
    }
    assert_eq!(dead_letter::last_sequence(&store).await.unwrap(), 3);
    let letters = dead_letter::list(&store, Some(&acme), i64::MAX, 2)
        .await
        .unwrap();
    assert_eq!(
        letters.iter().map(|l| l.sequence).collect::<Vec<_>>(),
        [3, 2]
    );
    assert_eq!(letters[0].message_text.as_deref(), Some("{\u{fffd}"));
    let first = dead_letter::list(&store, None, 2, 10)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(first.message_json, letter(None).json);
    assert_eq!(dead_letter::show(&store, 1).await.unwrap(), Some(first));
    assert_eq!(dead_letter::show(&store, 9).await.unwrap(), None);

    let beat = |busy: u32, second: i64| WorkerHeartbeat {
        worker_id: WriterId::new("worker-1").unwrap(),
        zones: vec![Zone::Sandbox, Zone::HighStakes],
        slots: 8,
        busy,
        version: "0.1.0".into(),
        started_at: at(0),
        seen_at: at(second),
        draining: false,
    };
    for (busy, second) in [(1, 1), (3, 3), (2, 2)] {
        worker::upsert(&store, &beat(busy, second)).await.unwrap();
    }
    let workers = worker::list(&store, at(0), 10).await.unwrap();
    assert_eq!(
        workers.iter().map(|w| w.busy).collect::<Vec<_>>(),
        [3],
        "an older heartbeat changes nothing"
    );
    assert_eq!(workers[0].zones, ["sandbox", "high_stakes"]);
    assert_eq!(*workers[0].seen_at, at(3));
    assert_eq!(worker::list(&store, at(4), 10).await.unwrap(), []);
    assert_eq!(worker::forget(&store, at(4)).await.unwrap(), 1);
}
