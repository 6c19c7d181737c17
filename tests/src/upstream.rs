//! A real HTTP server on loopback that remembers what reached it and answers as it is told.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::eventually;

/// A request that reached the server.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The headers by their names in lower case.
    pub headers: HashMap<String, String>,
}

impl Request {
    /// The key by which the server may recognise a repeated call.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.headers.get("idempotency-key").map(String::as_str)
    }
}

/// The server. Dropping it ends it.
pub struct Upstream {
    port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
    redirects: Arc<Mutex<Vec<String>>>,
    released: watch::Sender<HashSet<String>>,
    task: JoinHandle<()>,
}

impl Upstream {
    /// Starts it. It answers `200 done`, except at
    /// `/redirect?<url>` and what [`Upstream::redirecting_to`] answers with (302 to that URL), `/held/<key>` (200, but not before [`Upstream::let_go`] of that key) and `/status/<code>…`.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let released = watch::Sender::new(HashSet::new());
        let redirects = Arc::new(Mutex::new(Vec::new()));
        let (requests, until) = (Arc::clone(&seen), released.clone());
        let targets = Arc::clone(&redirects);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (requests, targets) = (Arc::clone(&requests), Arc::clone(&targets));
                tokio::spawn(serve(stream, requests, targets, until.subscribe()));
            }
        });
        Self {
            port,
            seen,
            redirects,
            released,
            task,
        }
    }

    /// The URL of a path, by the server's address.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// A URL of this server that redirects to `url` and does not carry it, so that the gate learns of it only then.
    pub fn redirecting_to(&self, url: &str) -> String {
        let mut redirects = self.redirects.lock().unwrap();
        redirects.push(url.to_owned());
        self.url(&format!("/redirect/{}", redirects.len() - 1))
    }

    /// Answers what is held at `/held/<key>`, now and from now on.
    pub fn let_go(&self, key: &str) {
        self.released.send_modify(|released| {
            released.insert(key.to_owned());
        });
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests so far whose path begins so.
    pub fn seen_at(&self, path: &str) -> Vec<Request> {
        let mut seen = self.seen();
        seen.retain(|request| request.path.starts_with(path));
        seen
    }

    /// Waits for a request to such a path.
    pub async fn hears(&self, path: &str) {
        eventually(
            &format!("a request to {path}"),
            Duration::from_secs(20),
            async || {
                if self.seen_at(path).is_empty() {
                    return Err(format!("{:?}", self.seen()));
                }
                Ok(())
            },
        )
        .await;
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    stream: TcpStream,
    seen: Arc<Mutex<Vec<Request>>>,
    redirects: Arc<Mutex<Vec<String>>>,
    mut released: watch::Receiver<HashSet<String>>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let request = read(&mut stream).await?;
        seen.lock().unwrap().push(request.clone());
        if let Some(key) = request.path.strip_prefix("/held/") {
            released
                .wait_for(|released| released.contains(key))
                .await
                .ok()?;
        }
        let kept = request.path.strip_prefix("/redirect/").map(|number| {
            let redirects = redirects.lock().unwrap();
            redirects[number.parse::<usize>().unwrap()].clone()
        });
        let stated = request.path.strip_prefix("/redirect?").map(str::to_owned);
        let (status, more) = match kept.or(stated) {
            Some(to) => ("302 Found".to_owned(), format!("location: {to}\r\n")),
            None => (status_of(&request.path), String::new()),
        };
        let answer = format!("HTTP/1.1 {status}\r\n{more}content-length: 4\r\n\r\ndone");
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

fn status_of(path: &str) -> String {
    let wanted = path.strip_prefix("/status/").and_then(|rest| rest.get(..3));
    format!("{} As-Asked", wanted.unwrap_or("200"))
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |l| l.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request {
        method,
        path,
        headers,
    })
}
