//! Asking a nats-server who and how it is, with nothing but a socket.
//!
//! A client library is not needed for two lines of text, and this crate must not depend on the one
//! that the `bus` crate keeps to itself.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a nats-server says first on every connection; `INFO` of the client protocol.
#[derive(Debug, Deserialize)]
pub(crate) struct Info {
    pub(crate) server_name: String,
    pub(crate) version: String,
}

/// Reads the greeting of the server on a client port of loopback.
pub(crate) async fn nats_info(port: u16) -> io::Result<Info> {
    let line = timeout(PATIENCE, async {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await?;
        io::Result::Ok(line)
    })
    .await??;
    let json = line
        .strip_prefix("INFO ")
        .ok_or_else(|| io::Error::other("the greeting is not that of a nats-server"))?;
    Ok(serde_json::from_str(json)?)
}

/// What `/jsz` tells about a cluster's meta layer.
#[derive(Debug, Deserialize)]
pub(crate) struct JetStreamState {
    pub(crate) meta_cluster: Option<MetaCluster>,
}

/// The group of servers that decides where streams live.
#[derive(Debug, Deserialize)]
pub(crate) struct MetaCluster {
    /// The leader's server name; absent while there is none.
    #[serde(default)]
    pub(crate) leader: String,
    #[serde(default)]
    pub(crate) cluster_size: usize,
}

/// Whether the server calls itself healthy: JetStream is up and has recovered.
pub(crate) async fn is_healthy(monitor_port: u16) -> io::Result<bool> {
    Ok(http_get(monitor_port, "/healthz").await?.0 == 200)
}

/// The state of JetStream, as the monitoring port tells it.
pub(crate) async fn jetstream_state(monitor_port: u16) -> io::Result<JetStreamState> {
    get_json(monitor_port, "/jsz").await
}

async fn get_json<T: DeserializeOwned>(port: u16, path: &str) -> io::Result<T> {
    let (status, body) = http_get(port, path).await?;
    if status != 200 {
        return Err(io::Error::other(format!("{path} answered {status}")));
    }
    Ok(serde_json::from_str(&body)?)
}

/// One HTTP/1.0 request: the answer ends where the connection does.
async fn http_get(port: u16, path: &str) -> io::Result<(u16, String)> {
    let answer = timeout(PATIENCE, async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        io::Result::Ok(answer)
    })
    .await??;
    parse_answer(&answer).ok_or_else(|| io::Error::other("the answer is not HTTP"))
}

fn parse_answer(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
