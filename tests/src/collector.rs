//! A collector of traces on loopback: takes OTLP over HTTP as the real ones do, and remembers every span.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::Span,
};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// The collector. Dropping it ends it.
pub struct Collector {
    /// Where traces are taken.
    pub endpoint: String,
    seen: Arc<Mutex<Vec<Span>>>,
    task: JoinHandle<()>,
}

impl Collector {
    /// Starts it.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let spans = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(take(stream, Arc::clone(&spans)));
            }
        });
        Self {
            endpoint,
            seen,
            task,
        }
    }

    /// Every span so far.
    pub fn seen(&self) -> Vec<Span> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request of a connection, answered with an empty message: everything was taken.
async fn take(mut stream: TcpStream, spans: Arc<Mutex<Vec<Span>>>) {
    let mut request = Vec::new();
    let body = loop {
        if stream.read_buf(&mut request).await.unwrap() == 0 {
            return;
        }
        let end = request.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end else { continue };
        let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
        assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
        assert!(
            head.contains("content-type: application/x-protobuf"),
            "{head}"
        );
        let length = head.split("content-length: ").nth(1);
        let length: usize = length.map_or(0, |l| l.lines().next().unwrap().trim().parse().unwrap());
        if request.len() >= end + 4 + length {
            break end + 4..end + 4 + length;
        }
    };
    let told = ExportTraceServiceRequest::decode(&request[body]).unwrap();
    let told = told.resource_spans.into_iter();
    let told = told.flat_map(|resource| resource.scope_spans);
    spans
        .lock()
        .unwrap()
        .extend(told.flat_map(|scope| scope.spans));
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(answer.as_bytes()).await.unwrap();
}

/// What a span says of itself under a key; none when that is no text.
pub fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    let attribute = span.attributes.iter().find(|one| one.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}
