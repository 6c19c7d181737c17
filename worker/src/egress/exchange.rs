//! One HTTP/1.1 request and its answer over a connection that exists, within limits.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};

/// Bytes that an answer's head may have.
const MAX_HEAD: usize = 64 * 1024;
/// Headers that an answer may have.
const MAX_HEADERS: usize = 128;

/// An answer, its body complete and as it came over the wire (nothing is decompressed).
#[derive(Debug)]
pub(super) struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// How far an exchange came; kept by the caller, so that it is known when the time is up.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The address that was connected to.
    pub address: Option<std::net::SocketAddr>,
    /// Whether the server may have seen the request.
    pub sent: bool,
    /// The answer's status.
    pub status: Option<u16>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the connection broke or the answer is not HTTP: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the answer's headers have more than {MAX_HEAD} bytes or are more than {MAX_HEADERS}")]
    HeadTooLarge,
    #[error("the answer's body has more than {0} bytes")]
    BodyTooLarge(usize),
}

/// Sends `request` and takes the answer, of whose body at most `max_body` bytes are read.
pub(super) async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    max_body: usize,
    progress: &mut Progress,
) -> Result<Response, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await?;
    // Dropped with this future, the set ends the connection: nothing outlives the call.
    let mut driver = JoinSet::new();
    driver.spawn(connection);

    progress.sent = true;
    let response = sender.send_request(request).await.map_err(|error| {
        if error.is_parse_too_large() {
            Fault::HeadTooLarge
        } else {
            Fault::Broken(error)
        }
    })?;
    let (head, mut body) = response.into_parts();
    progress.status = Some(head.status.as_u16());

    let mut kept = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if kept.len() + data.len() > max_body {
            return Err(Fault::BodyTooLarge(max_body));
        }
        kept.extend_from_slice(data);
    }
    Ok(Response {
        status: head.status,
        headers: head.headers,
        body: kept.freeze(),
    })
}
