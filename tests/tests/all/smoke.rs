use std::time::Duration;

use gatewright_schemas::{RunStatus, WorkspaceId, RunId};
use gatewright_tests::Fleetlet;

#[tokio::test(flavor = "multi_thread")]
async fn a_noop_run_goes_all_the_way() {
    let fleet = Fleetlet::start(2).await;
    let acme = WorkspaceId::new("acme").unwrap();
    let reply = fleet.fleet.submit(&acme, br#"{"run_id":"r1"}"#.to_vec(), Duration::from_secs(5)).await.unwrap();
    println!("{reply:?}");
    let start = std::time::Instant::now();
    loop {
        let history = fleet.fleet.history(&acme, &RunId::new("r1").unwrap()).await.unwrap();
        let run = gatewright_store::run::show(&fleet.store, &acme, &RunId::new("r1").unwrap()).await.unwrap();
        if history.last().unwrap().status == Some(RunStatus::Succeeded) && run.as_ref().is_some_and(|r| r.status == "succeeded") {
            for c in &history { for e in &c.commit.events { println!("{} {}", c.sequence, serde_json::to_string(e).unwrap()); } }
            println!("{run:?}");
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{history:#?} {run:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("took {:?}", start.elapsed());
}
