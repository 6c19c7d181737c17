//! Credentials and their accounts on three nats-servers, each role at a node of its own.

use std::{sync::Arc, time::Duration};

use gatewright_bus::permissions::Role;
use gatewright_dispatcher::Dispatcher;
use gatewright_local::{Binaries, NatsCluster, SyncInterval};
use gatewright_schemas::{Command, CommandMessage, Reply, RunId, RunStatus, WorkspaceId};
use gatewright_tests::{connect, credentials, eventually, policy};
use gatewright_worker::{Worker, WorkerConfig, egress, tool::Registry};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn workers_at_any_node_move_runs_and_answer_pings() {
    let data = tempfile::tempdir().unwrap();
    let acme = WorkspaceId::new("acme").unwrap();
    let workspace = acme.clone();
    let roles = [
        ("provisioner", Role::Provisioner),
        ("dispatcher", Role::Dispatcher),
        ("operator", Role::Operator),
        ("worker-1", credentials::worker()),
        ("worker-2", credentials::worker()),
        ("submitter-acme", Role::Submitter { workspace }),
    ];
    let config = credentials::written(data.path(), &roles);
    let sync = SyncInterval::Every(Duration::from_millis(100));
    let binaries = Binaries::find().unwrap();
    let cluster = NatsCluster::start_with(&binaries, data.path().join("nats"), sync, &config);
    let cluster = cluster.await.unwrap();
    let join = async |node: usize, name: &str| {
        let url = cluster.nodes()[node].url();
        connect(&url, name, &data.path().join(format!("{name}.nk"))).await
    };
    let provisioner = join(0, "provisioner").await;
    provisioner.provision(3).await.unwrap();
    let stop = CancellationToken::new();
    let dispatcher = Dispatcher::join(join(0, "dispatcher").await).await.unwrap();
    tokio::spawn(dispatcher.run(None, stop.clone()));
    let mut workers = Vec::new();
    for (node, name) in [(1, "worker-1"), (2, "worker-2")] {
        let gateway = egress::Gateway::new(egress::Settings::default()).unwrap();
        let registry = Registry::standard(Arc::new(gateway)).unwrap();
        let fleet = join(node, name).await;
        let worker = Worker::join(fleet, registry, WorkerConfig::default());
        let stop = CancellationToken::new();
        let running = tokio::spawn(worker.await.unwrap().run(stop.clone()));
        workers.push((stop, running));
    }
    let operator = join(1, "operator").await;
    let apply = CommandMessage {
        issued_by: "operator".into(),
        command: Command::ApplyPolicy {
            document: policy::OPEN.to_owned(),
        },
    };
    let applied = operator
        .command(&WorkspaceId::fleet(), &RunId::authority(), &apply, PATIENCE)
        .await
        .unwrap();
    assert!(matches!(applied, Reply::Accepted { .. }), "{applied:?}");
    let submitter = join(2, "submitter-acme").await;
    let ended = async |id: &str| {
        let submission = json!({ "run_id": id, "lane": "interactive" });
        let submission = submission.to_string().into_bytes();
        let reply = submitter.submit(&acme, submission, PATIENCE).await.unwrap();
        assert!(matches!(reply, Reply::Accepted { .. }), "{reply:?}");
        let run = gatewright_tests::run(id);
        eventually(&format!("{id} ends"), SOON, async || {
            let last = operator.last_commit(&acme, &run).await;
            match last
                .map_err(|error| error.to_string())?
                .and_then(|last| last.status)
            {
                Some(RunStatus::Succeeded) => Ok(()),
                status => Err(format!("{status:?}")),
            }
        })
        .await;
    };
    for n in 0..10 {
        ended(&format!("r{n}")).await;
    }
    // One goes; what is handed to it still is sent again, at the other node.
    let (gone, running) = workers.remove(0);
    gone.cancel();
    running.await.unwrap();
    for n in 10..16 {
        ended(&format!("r{n}")).await;
    }
    let left = operator.list_workers().await.unwrap();
    let left: Vec<&str> = left
        .iter()
        .map(|worker| worker.worker_id.as_str())
        .collect();
    assert_eq!(left, ["worker-2"]);
    for (stop, running) in workers {
        stop.cancel();
        running.await.unwrap();
    }
    stop.cancel();
}
