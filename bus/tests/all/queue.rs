use std::time::Duration;

use futures::{StreamExt as _, future::join_all};
use gatewright_bus::{Fleet, clock, intake::IntakeKind};
use gatewright_schemas::{Command, CommandMessage, Lane, Wake, Zone};

use crate::support::{acme, bus, connection, run};

fn wake(id: &str, seen: u64) -> Wake {
    Wake {
        workspace_id: acme(),
        run_id: run(id),
        seen,
        hint: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_up_is_queued_once_for_one_reason_and_again_for_another() {
    let bus = bus().await;
    for reason in ["created", "created", "gone-worker-1"] {
        bus.fleet
            .wake(Zone::Sandbox, Lane::Background, &wake("r1", 7), reason)
            .await;
    }
    let queue = bus
        .fleet
        .queue(Zone::Sandbox, Lane::Background)
        .await
        .unwrap();
    let taken = queue.take(10).await.unwrap();
    assert_eq!(taken.len(), 2);
    assert_eq!(taken[0].wake, Ok(wake("r1", 7)));
    assert_eq!(bus.fleet.wakes_under_way(10).await.unwrap().len(), 2);
    for delivery in &taken {
        delivery.ack().await;
    }
    bus.fleet.flush().await;
    assert_eq!(bus.fleet.wakes_under_way(10).await.unwrap(), []);
}

/// One of them is stored already, which rejects a whole group.
#[tokio::test(flavor = "multi_thread")]
async fn wake_ups_that_go_in_groups_are_queued_once_each() {
    let bus = bus().await;
    let mut grouped = connection(&bus.server.url(), "writer-2");
    grouped.group_commit = true;
    let grouped = Fleet::connect(&grouped).await.unwrap();
    let (zone, lane) = (Zone::Sandbox, Lane::Background);
    let wakes: Vec<Wake> = (0..100).map(|n| wake(&format!("r{n}"), 7)).collect();
    bus.fleet.wake(zone, lane, &wakes[50], "created").await;
    // And every one is sent twice at once.
    let sent = wakes.iter().chain(&wakes);
    join_all(sent.map(|wake| grouped.wake(zone, lane, wake, "created"))).await;
    let queue = bus.fleet.queue(zone, lane).await.unwrap();
    let mut taken = Vec::new();
    while taken.len() < 100 {
        let more = queue.take(200).await.unwrap();
        assert!(!more.is_empty(), "only {} of 100", taken.len());
        taken.extend(more.into_iter().map(|delivery| delivery.wake.unwrap()));
    }
    assert!(queue.take(200).await.unwrap().is_empty());
    taken.sort_by_key(|wake| wake.run_id.as_str()[1..].parse::<u32>().unwrap());
    assert_eq!(taken, wakes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_never_sees_anothers_runs() {
    let bus = bus().await;
    bus.fleet
        .wake(
            Zone::HighStakes,
            Lane::Background,
            &wake("r1", 7),
            "created",
        )
        .await;
    let sandbox = bus
        .fleet
        .queue(Zone::Sandbox, Lane::Background)
        .await
        .unwrap();
    assert!(sandbox.take(10).await.unwrap().is_empty());
    let high = bus
        .fleet
        .queue(Zone::HighStakes, Lane::Background)
        .await
        .unwrap();
    assert_eq!(high.wait().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_gives_its_command_when_it_is_due_and_not_before() {
    let bus = bus().await;
    let command = CommandMessage {
        issued_by: "test".into(),
        command: Command::Wake,
    };
    let due = clock::now().plus(Duration::from_secs(2));
    bus.fleet
        .set_timer(&acme(), &run("r1"), "start", due, &command)
        .await;
    let mut intake = std::pin::pin!(bus.fleet.intake("commands", 10).await.unwrap());
    let message = tokio::time::timeout(Duration::from_secs(20), intake.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(clock::now() >= due, "it came early");
    assert_eq!(
        message.kind,
        IntakeKind::Command {
            workspace_id: acme(),
            run_id: run("r1")
        }
    );
    assert_eq!(
        serde_json::from_slice::<CommandMessage>(message.payload()).unwrap(),
        command
    );
}
