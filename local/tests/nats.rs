//! One nats-server.

use std::time::Duration;

use gatewright_local::{NatsOptions, NatsServer, StartError, SyncInterval};

use crate::support::*;

async fn start(options: NatsOptions) -> NatsServer {
    NatsServer::start(&binaries(), options)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test]
async fn a_server_is_usable_when_start_returns() {
    let dir = temp_dir();
    let server = start(NatsOptions::new(dir.path().join("nats"), "ready")).await;
    assert_eq!(server.name(), "ready");
    assert!(server.version().starts_with("2."), "{}", server.version());
    assert!(server.url().ends_with(&server.port().to_string()));
    store_message(&server).await;
}

#[tokio::test]
async fn a_restart_keeps_port_and_data() {
    let dir = temp_dir();
    let mut options = NatsOptions::new(dir.path(), "restarted");
    options.sync = SyncInterval::Always;
    let mut server = start(options).await;
    store_message(&server).await;
    let (url, pid) = (server.url(), server.pid());

    server.restart().await.unwrap();

    assert_eq!(server.url(), url);
    assert_ne!(server.pid(), pid);
    assert_message_is_there(&server).await;
}

#[tokio::test]
async fn a_killed_server_comes_back_with_its_data() {
    let dir = temp_dir();
    let mut server = start(NatsOptions::new(dir.path(), "killed")).await;
    store_message(&server).await;

    let status = server.kill().await.unwrap();
    assert!(!status.success(), "{status}");
    assert!(!server.is_running());

    server.restart().await.unwrap();
    assert_message_is_there(&server).await;
}

#[tokio::test]
async fn a_second_start_in_the_same_directory_continues_with_the_data() {
    let dir = temp_dir();
    let mut server = start(NatsOptions::new(dir.path(), "first")).await;
    store_message(&server).await;
    assert!(server.stop().await.unwrap().success());
    drop(server);

    let server = start(NatsOptions::new(dir.path(), "second")).await;
    assert_message_is_there(&server).await;
}

#[tokio::test]
async fn a_crash_is_noticed() {
    let dir = temp_dir();
    let server = start(NatsOptions::new(dir.path(), "crashed")).await;
    let exit = tokio::spawn(server.wait_exit());
    send_signal("-KILL", server.pid());
    let status = tokio::time::timeout(Duration::from_secs(10), exit).await;
    assert!(!status.unwrap().unwrap().success());
    assert!(!server.is_running());
}

#[tokio::test]
async fn a_suspended_server_says_nothing_until_it_is_resumed() {
    let dir = temp_dir();
    let server = start(NatsOptions::new(dir.path(), "suspended")).await;
    store_message(&server).await;

    server.suspend().unwrap();
    let question = request(server.port(), "$JS.API.INFO", "");
    let silence = tokio::time::timeout(Duration::from_millis(500), question).await;
    assert!(silence.is_err(), "it answered: {silence:?}");

    server.resume().unwrap();
    assert_message_is_there(&server).await;
}

#[tokio::test]
async fn dropping_a_server_ends_it_even_when_it_is_suspended() {
    let dir = temp_dir();
    let server = start(NatsOptions::new(dir.path(), "dropped")).await;
    server.suspend().unwrap();
    let pid = server.pid();
    drop(server);
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn a_directory_in_use_is_refused_by_the_pid_that_uses_it() {
    let dir = temp_dir();
    let first = start(NatsOptions::new(dir.path(), "first")).await;
    let second = NatsServer::start(&binaries(), NatsOptions::new(dir.path(), "second")).await;
    let error = second.expect_err("two servers in one directory");
    assert!(
        matches!(error, StartError::InUse { pid: Some(pid), .. } if pid == first.pid()),
        "{error}"
    );
    assert!(error.to_string().contains(&format!("pid {}", first.pid())));
    store_message(&first).await;
}

#[tokio::test]
async fn the_pid_of_a_dead_server_is_no_obstacle() {
    let dir = temp_dir();
    // Our own process is alive, but it is not a server in this directory.
    std::fs::write(dir.path().join("lock"), std::process::id().to_string()).unwrap();
    start(NatsOptions::new(dir.path(), "stale")).await;
}

#[tokio::test]
async fn a_port_that_somebody_has_is_an_error_and_he_keeps_it() {
    let dir = temp_dir();
    let first = start(NatsOptions::new(dir.path().join("a"), "same")).await;
    let mut options = NatsOptions::new(dir.path().join("b"), "same");
    options.port = Some(first.port());
    let error = NatsServer::start(&binaries(), options).await;
    let error = error.expect_err("two servers on one port").to_string();
    assert!(error.contains("address already in use"), "{error}");
    store_message(&first).await;
}

#[tokio::test]
async fn a_mistake_in_the_configuration_is_quoted() {
    let dir = temp_dir();
    let mut options = NatsOptions::new(dir.path(), "mistaken");
    options.extra_config = "no_such_setting: 1".to_owned();
    let error = NatsServer::start(&binaries(), options).await;
    let error = error.expect_err("a server with that configuration");
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn a_name_that_the_configuration_cannot_hold_is_refused() {
    for name in ["", "two words", "quote\"", "new\nline"] {
        let dir = temp_dir();
        let result = NatsServer::start(&binaries(), NatsOptions::new(dir.path(), name)).await;
        let error = result.expect_err(name);
        assert!(matches!(error, StartError::BadSetting { .. }), "{error}");
    }
}
