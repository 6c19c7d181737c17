//! Services of somebody else's, on a server that refuses some subjects.

use std::time::Duration;

use gatewright_bus::{
    Fleet,
    service::{Asker, ServiceError},
};
use gatewright_local::{Binaries, NatsOptions, NatsServer};
use gatewright_schemas::ToolCallId;

use crate::support::{acme, connection, run};

const USERS: &str = r#"authorization { users = [
  { user: w, password: p, permissions: { publish: { deny: ["svc.Orders.new"] } } }
] }
no_auth_user: w"#;

/// The server tells a refusal beside the answer, which never comes.
#[tokio::test]
async fn a_refused_subject_is_told_from_one_that_does_not_answer() {
    let data = tempfile::tempdir().unwrap();
    let mut options = NatsOptions::new(data.path(), "service-test");
    options.extra_config = USERS.into();
    let server = NatsServer::start(&Binaries::find().unwrap(), options)
        .await
        .unwrap();
    let url = server.url();
    let fleet = Fleet::connect(&connection(&url, "writer-1")).await.unwrap();
    // They listen, and do not answer.
    let listener = async_nats::connect(&url).await.unwrap();
    let mut silent = Vec::new();
    for subject in ["svc.Orders", "svc.orders.new"] {
        silent.push(listener.subscribe(subject).await.unwrap());
    }
    listener.flush().await.unwrap();
    let (workspace, run, call) = (acme(), run("r1"), ToolCallId::new("c1").unwrap());
    let ask = async |subject: &str| {
        let asker = Asker {
            workspace: &workspace,
            run: &run,
            call: &call,
        };
        let patience = Duration::from_millis(700);
        fleet
            .ask_service(subject, asker, Vec::new(), patience)
            .await
    };
    let refused = ask("svc.Orders.new").await;
    assert!(
        matches!(refused, Err(ServiceError::NotPermitted { .. })),
        "{refused:?}"
    );
    for subject in ["svc.Orders", "svc.orders.new"] {
        let silent = ask(subject).await;
        assert!(
            matches!(silent, Err(ServiceError::NoAnswer { .. })),
            "{subject}: {silent:?}"
        );
    }
}
