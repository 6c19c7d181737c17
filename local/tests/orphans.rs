//! Servers whose parent is killed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use gatewright_local::{NatsOptions, NatsServer, Postgres, PostgresOptions};

use crate::support::*;

const DIRECTORY: &str = "GATEWRIGHT_TEST_DIRECTORY";

/// Not a test of its own: the process that is killed below.
#[tokio::test]
#[ignore = "started by `servers_end_when_their_parent_is_killed`"]
async fn parent() {
    let Some(dir) = std::env::var_os(DIRECTORY).map(std::path::PathBuf::from) else {
        return;
    };
    let binaries = binaries();
    let nats = NatsServer::start(&binaries, NatsOptions::new(dir.join("nats"), "orphan"));
    let nats = nats.await.unwrap();
    let options = PostgresOptions {
        data_dir: dir.join("postgres"),
        port: None,
        durable: false,
    };
    let postgres = Postgres::start(&binaries, options).await.unwrap();
    println!("\npids {} {}", nats.pid(), postgres.pid());
    println!("cluster {}", postgres.cluster_dir().display());
    std::future::pending::<()>().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn servers_end_when_their_parent_is_killed() {
    let dir = temp_dir();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "orphans::parent", "--ignored", "--nocapture"])
        .env(DIRECTORY, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let mut line_after = |word: &str| {
        lines
            .find_map(|line| line.unwrap().strip_prefix(word).map(str::to_owned))
            .expect("the parent says what it started")
    };
    let pids = line_after("pids ");
    let cluster = line_after("cluster ");

    parent.kill().unwrap();
    parent.wait().unwrap();

    for pid in pids.split(' ') {
        until_gone(pid.parse().unwrap()).await;
    }
    // Nobody was left to clear away what root's Postgres had outside the directory.
    let outside = std::path::Path::new(&cluster);
    if !outside.starts_with(dir.path()) {
        std::fs::remove_dir_all(outside.parent().unwrap()).unwrap();
    }
}
