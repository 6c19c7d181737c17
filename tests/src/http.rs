//! A client of the HTTP API that knows nothing of it: bytes over a socket.

use std::{net::SocketAddr, sync::Arc};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    sync::OnceCell,
};

use crate::contract::Contract;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its status line and headers.
    pub head: String,
    /// Its body, as JSON; null when it is none.
    pub body: Value,
}

/// Sends one request; `headers` are whole lines. A Host is added where they name none.
pub async fn send(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[String],
    body: &str,
) -> Answer {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let mut lines = vec![
        format!("{method} {path} HTTP/1.1"),
        "Connection: close".to_owned(),
        format!("Content-Length: {}", body.len()),
    ];
    if !headers.iter().any(|line| line.starts_with("Host:")) {
        lines.push(format!("Host: {to}"));
    }
    lines.extend_from_slice(headers);
    let request = format!("{}\r\n\r\n{body}", lines.join("\r\n"));
    // A server that refuses a request by its head need not read the rest.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("no answer: {answer:?}")),
        head: head.to_lowercase(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
    }
}

/// A key, and where it is used. Every answer must be as the API's description says.
#[derive(Debug, Clone)]
pub struct Client {
    /// Where the API is served.
    pub to: SocketAddr,
    /// The header that carries the key.
    pub key: String,
}

/// An event of a live tail.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// By which the tail is taken up again.
    pub id: String,
    /// Its type.
    pub event: String,
    /// What it says.
    pub data: Value,
}

/// A live tail: server-sent events in chunks.
pub struct Tail(BufReader<TcpStream>);

impl Tail {
    /// The next event; none when the tail has ended.
    pub async fn next(&mut self) -> Option<Sent> {
        let mut sent = Sent {
            id: String::new(),
            event: String::new(),
            data: Value::Null,
        };
        for line in self.chunk().await?.lines() {
            match line.split_once(':').unwrap_or((line, "")) {
                ("id", id) => id.trim().clone_into(&mut sent.id),
                ("event", event) => event.trim().clone_into(&mut sent.event),
                ("data", data) => sent.data = serde_json::from_str(data).unwrap(),
                // A comment says that the tail is alive.
                _ => {}
            }
        }
        Some(sent)
    }

    /// Every event until the tail ends.
    pub async fn rest(mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        while let Some(sent) = self.next().await {
            all.push(sent);
        }
        all
    }

    async fn chunk(&mut self) -> Option<String> {
        let mut size = String::new();
        self.0.read_line(&mut size).await.unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        self.0.read_exact(&mut chunk).await.unwrap();
        (size > 0).then(|| String::from_utf8(chunk).unwrap())
    }
}

/// What is served says of itself; the same for every server of this program.
static CONTRACT: OnceCell<Arc<Contract>> = OnceCell::const_new();

/// The description of the API that is served there.
pub async fn contract(to: SocketAddr) -> Arc<Contract> {
    let read = async || {
        let told = send(to, "GET", "/openapi.json", &[], "").await;
        assert_eq!(told.status, 200, "{told:?}");
        Contract::read(told.body)
    };
    Arc::clone(CONTRACT.get_or_init(read).await)
}

impl Client {
    /// Follows something, with further headers.
    pub async fn tail(&self, path: &str, headers: &[&str]) -> Tail {
        let mut stream = TcpStream::connect(self.to).await.unwrap();
        let (to, key, more) = (self.to, &self.key, headers.join("\r\n"));
        let more = if more.is_empty() { more } else { more + "\r\n" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\n{key}\r\n{more}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = stream.read_line(&mut head).await.unwrap();
            assert!(read > 0, "{head}");
        }
        let head = head.to_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        Tail(stream)
    }

    /// Looks at something.
    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    /// Every item of a list, got one a page.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let (mut items, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}?limit=1{after}")).await;
            assert_eq!(page.status, 200, "{page:?}");
            items.extend(page.body["items"].as_array().unwrap().iter().cloned());
            match page.body["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return items,
            }
        }
    }

    /// Posts a document.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, &[], body).await
    }

    /// Posts a document with further headers, each a whole line.
    pub async fn post_with(&self, path: &str, headers: &[&str], body: &Value) -> Answer {
        self.send("POST", path, headers, &body.to_string()).await
    }

    async fn send(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let mut lines = vec![self.key.clone()];
        lines.extend(headers.iter().map(ToString::to_string));
        let answer = send(self.to, method, path, &lines, body).await;
        contract(self.to).await.check(method, path, &answer);
        answer
    }
}

impl Answer {
    /// A header's value, in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(found, _)| *found == name)
            .map(|(_, value)| value)
            .next()
    }

    /// Asserts that it is a problem document of this status; with this reason code, where one is given.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: Option<&str>) {
        assert_eq!(self.status, status, "{self:?}");
        let kind = self.header("content-type");
        assert_eq!(kind, Some("application/problem+json"), "{self:?}");
        assert_eq!(self.body["status"], status, "{self:?}");
        assert!(self.body["detail"].is_string(), "{self:?}");
        assert_eq!(self.body["reason_code"].as_str(), code, "{self:?}");
    }
}
