//! Postgres.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use gatewright_local::{Postgres, PostgresOptions, StartError};

use crate::support::*;

fn options(data_dir: &Path, durable: bool) -> PostgresOptions {
    PostgresOptions {
        data_dir: data_dir.to_owned(),
        port: None,
        durable,
    }
}

async fn start(data_dir: &Path, durable: bool) -> Postgres {
    Postgres::start(&binaries(), options(data_dir, durable))
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The pids of all of the server's processes.
fn pids(server: &Postgres) -> Vec<u32> {
    let sql = sql(server, "SELECT pid FROM pg_stat_activity").unwrap();
    let backends = sql.lines().map(|line| line.parse().unwrap());
    std::iter::once(server.pid()).chain(backends).collect()
}

#[tokio::test]
async fn a_server_takes_connections_when_start_returns() {
    let dir = temp_dir();
    let server = start(dir.path(), false).await;
    assert_eq!(sql(&server, "SELECT 1").unwrap(), "1");
    assert_eq!(sql(&server, "SHOW server_encoding").unwrap(), "UTF8");
    assert_eq!(sql(&server, "SHOW listen_addresses").unwrap(), "127.0.0.1");
}

#[tokio::test]
async fn the_password_is_asked_for_and_only_its_owner_can_read_it() {
    let dir = temp_dir();
    let server = start(dir.path(), false).await;
    let file = dir.path().join("password");
    let mode = file.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let password = std::fs::read_to_string(file).unwrap();
    assert!(server.url("postgres").contains(&password));

    let wrong = server.url("postgres").replace(&password, "wrong");
    let psql = binaries().postgres_bin.join("psql");
    let output = std::process::Command::new(psql)
        .arg(wrong)
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        complaint.contains("password authentication failed"),
        "{complaint}"
    );
}

#[tokio::test]
async fn a_durable_server_keeps_its_data_over_stop_kill_restart_and_a_second_start() {
    let dir = temp_dir();
    let mut server = start(dir.path(), true).await;
    assert_eq!(sql(&server, "SHOW fsync").unwrap(), "on");
    sql(&server, "CREATE TABLE kept AS SELECT 7 AS n").unwrap();
    let url = server.url("postgres");

    server.restart().await.unwrap();
    assert_eq!(server.url("postgres"), url);
    assert_eq!(sql(&server, "SELECT n FROM kept").unwrap(), "7");

    server.kill().await.unwrap();
    assert!(!server.is_running());
    server.restart().await.unwrap();
    assert_eq!(sql(&server, "SELECT n FROM kept").unwrap(), "7");

    assert!(server.stop().await.unwrap().success());
    let place = server.cluster_dir().to_owned();
    drop(server);
    let server = start(dir.path(), true).await;
    assert_eq!(server.cluster_dir(), place);
    assert_eq!(sql(&server, "SELECT n FROM kept").unwrap(), "7");
    drop(server);
    // For root the cluster is outside the temporary directory; it is ours to remove.
    if !place.starts_with(dir.path()) {
        std::fs::remove_dir_all(place.parent().unwrap()).unwrap();
    }
}

#[tokio::test]
async fn killing_leaves_none_of_its_processes() {
    let dir = temp_dir();
    let mut server = start(dir.path(), false).await;
    let pids = pids(&server);
    assert!(pids.len() > 3, "{pids:?}");
    server.kill().await.unwrap();
    for pid in pids {
        until_gone(pid).await;
    }
}

#[tokio::test]
async fn dropping_leaves_none_of_its_processes_and_no_files_elsewhere() {
    let dir = temp_dir();
    let server = start(dir.path(), false).await;
    let pids = pids(&server);
    let cluster_dir = server.cluster_dir().to_owned();
    server.suspend().unwrap();
    drop(server);
    for pid in pids {
        until_gone(pid).await;
    }
    drop(dir);
    assert!(!cluster_dir.exists(), "{}", cluster_dir.display());
}

#[tokio::test]
async fn a_crash_is_noticed() {
    let dir = temp_dir();
    let server = start(dir.path(), false).await;
    let exit = tokio::spawn(server.wait_exit());
    send_signal("-KILL", server.pid());
    let status = tokio::time::timeout(Duration::from_secs(10), exit).await;
    assert!(!status.unwrap().unwrap().success());
}

#[tokio::test]
async fn a_suspended_server_says_nothing_until_it_is_resumed() {
    let dir = temp_dir();
    let server = start(dir.path(), false).await;
    server.suspend().unwrap();
    assert!(sql(&server, "SELECT 1").is_err());
    server.resume().unwrap();
    assert_eq!(sql(&server, "SELECT 1").unwrap(), "1");
}

#[tokio::test]
async fn a_directory_in_use_is_refused_by_the_pid_that_uses_it() {
    let dir = temp_dir();
    let first = start(dir.path(), false).await;
    let second = Postgres::start(&binaries(), options(dir.path(), false)).await;
    let error = second.expect_err("two servers in one directory");
    assert!(
        matches!(error, StartError::InUse { pid: Some(pid), .. } if pid == first.pid()),
        "{error}"
    );
    assert_eq!(sql(&first, "SELECT 1").unwrap(), "1");
}

#[tokio::test]
async fn a_pid_file_whose_number_belongs_to_another_program_is_no_obstacle() {
    let dir = temp_dir();
    let mut server = start(dir.path(), false).await;
    server.stop().await.unwrap();
    let mut other = std::process::Command::new("sleep")
        .arg("600")
        .spawn()
        .unwrap();
    let pid_file = server.cluster_dir().join("postmaster.pid");
    let stale = format!(
        "{}\n{}\n1\n5432\n\n\n0 0\n",
        other.id(),
        dir.path().display()
    );
    std::fs::write(pid_file, stale).unwrap();

    server.restart().await.unwrap();
    assert_eq!(sql(&server, "SELECT 1").unwrap(), "1");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[tokio::test]
async fn a_directory_of_something_else_is_refused() {
    let dir = temp_dir();
    std::fs::create_dir(dir.path().join("pgdata")).unwrap();
    std::fs::write(dir.path().join("pgdata/letter"), "dear …").unwrap();
    let error = Postgres::start(&binaries(), options(dir.path(), false)).await;
    let error = error.expect_err("a cluster beside a letter");
    assert!(matches!(error, StartError::NotACluster { .. }), "{error}");
    assert!(dir.path().join("pgdata/letter").exists());
}

#[tokio::test]
async fn a_cluster_of_another_version_is_refused() {
    let dir = temp_dir();
    std::fs::create_dir(dir.path().join("pgdata")).unwrap();
    std::fs::write(dir.path().join("pgdata/PG_VERSION"), "9\n").unwrap();
    let error = Postgres::start(&binaries(), options(dir.path(), false)).await;
    let error = error.expect_err("a cluster of Postgres 9");
    assert!(matches!(error, StartError::OtherVersion { .. }), "{error}");
}
