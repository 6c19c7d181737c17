//! What the tests share: temporary directories, a socket that speaks some NATS, and psql.

use std::future::Future;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gatewright_local::{Binaries, NatsServer, Postgres};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

pub fn binaries() -> Binaries {
    Binaries::find().unwrap_or_else(|error| panic!("{error}"))
}

/// In `/tmp` and closed to others: for root that is a place that Postgres's user cannot reach.
pub fn temp_dir() -> TempDir {
    tempfile::Builder::new()
        .prefix("gatewright-local-")
        .tempdir()
        .unwrap()
}

/// Asks until it is so, and reports the last answer when it never is.
pub async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let started = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(last) => assert!(
                started.elapsed() < Duration::from_secs(30),
                "{what}: not within 30 s; last seen: {last}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn is_alive(pid: u32) -> bool {
    // A zombie is dead; only its parent has not looked yet.
    let output = Command::new("ps")
        .args(["-o", "stat=", "-p", &pid.to_string()])
        .output()
        .expect("ps");
    let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

pub async fn until_gone(pid: u32) {
    eventually(&format!("the end of process {pid}"), async || {
        if is_alive(pid) {
            Err("alive".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
}

pub fn send_signal(signal: &str, pid: u32) {
    let status = Command::new("kill")
        .args([signal, &pid.to_string()])
        .status();
    assert!(status.expect("kill").success());
}

static NEXT_REQUEST: AtomicU64 = AtomicU64::new(0);

/// One request over a connection of its own; the answer's payload.
pub async fn request(port: u16, subject: &str, payload: &str) -> std::io::Result<String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut stream = BufReader::new(stream);
    let length = payload.len();
    // Of its own: the late answer to a request that was given up must not be taken for ours.
    let number = NEXT_REQUEST.fetch_add(1, Ordering::Relaxed);
    let inbox = format!("answer.{number}");
    let text = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB {inbox} 1\r\nPUB {subject} {inbox} {length}\r\n{payload}\r\n"
    );
    stream.get_mut().write_all(text.as_bytes()).await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::Error::other("the connection ended"));
        }
        if line.starts_with("MSG ") {
            let length: usize = line.split_whitespace().last().unwrap().parse().unwrap();
            let mut answer = vec![0; length];
            stream.read_exact(&mut answer).await?;
            return Ok(String::from_utf8(answer).unwrap());
        }
        assert!(!line.starts_with("-ERR"), "{line}");
    }
}

/// Makes a stream and stores one message in it.
pub async fn store_message(server: &NatsServer) {
    let port = server.port();
    let stream = r#"{"name":"KEPT","subjects":["kept"],"storage":"file"}"#;
    let answer = request(port, "$JS.API.STREAM.CREATE.KEPT", stream).await;
    assert!(answer.unwrap().contains("\"created\""));
    let answer = request(port, "kept", "hello").await.unwrap();
    assert!(answer.contains("\"seq\":1"), "{answer}");
}

pub async fn assert_message_is_there(server: &NatsServer) {
    let answer = request(server.port(), "$JS.API.STREAM.INFO.KEPT", "").await;
    let answer = answer.unwrap();
    assert!(answer.contains("\"messages\":1"), "{answer}");
}

/// Runs SQL with the psql that belongs to the server.
pub fn sql(server: &Postgres, text: &str) -> Result<String, String> {
    let psql = binaries().postgres_bin.join("psql");
    let psql = if psql.is_file() { psql } else { "psql".into() };
    let output = Command::new(psql)
        .arg(server.url("postgres"))
        .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", text])
        .env("PGCONNECT_TIMEOUT", "5")
        .output()
        .expect("psql, which Postgres's packages bring along");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
