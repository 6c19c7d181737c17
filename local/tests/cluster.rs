//! Three nats-servers.

use gatewright_local::{NatsCluster, SyncInterval};

use crate::support::*;

#[tokio::test]
async fn a_cluster_stores_in_three_places_and_survives_the_loss_of_a_node() {
    let dir = temp_dir();
    let mut cluster = NatsCluster::start(&binaries(), dir.path(), SyncInterval::Always)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(cluster.nodes().len(), 3);
    assert_eq!(cluster.url().split(',').count(), 3);

    let port = cluster.nodes()[0].port();
    let stream = r#"{"name":"KEPT","subjects":["kept"],"storage":"file","num_replicas":3}"#;
    let answer = request(port, "$JS.API.STREAM.CREATE.KEPT", stream).await;
    assert!(answer.as_ref().unwrap().contains("created"), "{answer:?}");
    assert!(
        request(port, "kept", "one")
            .await
            .unwrap()
            .contains("\"seq\":1")
    );

    cluster.nodes_mut()[2].kill().await.unwrap();
    // The stream's leader may have been on that node; publishing again is answered in any case.
    eventually("an append with two nodes", async || {
        let question = request(port, "kept", "two");
        match tokio::time::timeout(std::time::Duration::from_secs(2), question).await {
            Ok(Ok(answer)) if answer.contains("\"seq\"") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;

    cluster.nodes_mut()[2].restart().await.unwrap();
    cluster.wait_ready().await.unwrap();
    cluster.stop().await.unwrap();
}
