//! A web server of two screens, for the requests of the demo: it answers every request with a page, and counts.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// The longest head that it reads.
const MOST: usize = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct Seen {
    requests: usize,
    idempotency_key: Option<String>,
}

/// The server; dropping it ends it.
#[derive(Debug)]
pub(super) struct Web {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    serving: JoinHandle<()>,
}

impl Drop for Web {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Web {
    /// Serves on a free port of loopback.
    pub(super) async fn serve() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let noted = Arc::clone(&seen);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let noted = Arc::clone(&noted);
                tokio::spawn(async move {
                    // A client that stays away or breaks off is its own affair.
                    let _ = tokio::time::timeout(PATIENCE, answer(stream, &noted)).await;
                });
            }
        });
        Ok(Self {
            address,
            seen,
            serving,
        })
    }

    /// A URL of it.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many requests it answered.
    pub(super) fn requests(&self) -> usize {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .requests
    }

    /// The last request's `Idempotency-Key`.
    pub(super) fn last_idempotency_key(&self) -> Option<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.idempotency_key.clone()
    }
}

async fn answer(mut stream: TcpStream, seen: &Mutex<Seen>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") && head.len() < MOST {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let header = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("idempotency-key")
            .then(|| value.trim().to_owned())
    });
    {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.requests += 1;
        seen.idempotency_key = header;
    }
    let page = "{\"report\":\"all is well\"}";
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
