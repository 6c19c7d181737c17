//! One HTTP request to the collector and its answer, within limits.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, Uri,
    client::conn::http1,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Handle,
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

use crate::{Settings, counted::Counts};

/// Bytes that the body of an answer may have.
const MOST_BODY: usize = 256 * 1024;

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum UnusableCollector {
    /// The file with certificate authorities cannot be read.
    #[error("the certificate authorities in `{}` cannot be read", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// It holds nothing that is one.
    #[error("`{}` holds no certificate authority that can be used (PEM is expected)", .0.display())]
    NoAuthority(PathBuf),
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The exporter refuses its settings.
    #[error("spans cannot be sent: {0}")]
    Exporter(String),
    /// There is one already.
    #[error("spans of this process are sent to a collector already")]
    StartedAlready,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the connection to the collector could not be made: {0}")]
    Unreachable(#[source] std::io::Error),
    #[error("the connection to the collector broke, or its answer is not HTTP: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the collector did not answer within {}ms", .0.as_millis())]
    TooSlow(Duration),
    #[error("the collector's answer has more than {MOST_BODY} bytes")]
    TooLarge,
    #[error("the collector's address has no host")]
    NoHost,
    #[error("the collector's host is no name that a certificate can bear")]
    NoName,
}

/// What sends the exporter's requests. The exporter waits on a thread of its own; connections live on the runtime.
#[derive(Debug, Clone)]
pub(crate) struct Collector {
    runtime: Handle,
    /// Whom to believe, where the collector speaks TLS.
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
    counts: Arc<Counts>,
}

impl Collector {
    pub(crate) fn new(
        settings: &Settings,
        runtime: Handle,
        counts: Arc<Counts>,
    ) -> Result<Self, UnusableCollector> {
        let is_tls = settings.endpoint.scheme() == "https";
        Ok(Self {
            runtime,
            tls: is_tls
                .then(|| tls(settings.authorities.as_ref()))
                .transpose()?,
            timeout: settings.timeout,
            counts,
        })
    }
}

/// Believes the authorities of the file, or else the public ones.
fn tls(authorities: Option<&PathBuf>) -> Result<Arc<ClientConfig>, UnusableCollector> {
    let mut roots = RootCertStore::empty();
    match authorities {
        None => roots
            .roots
            .extend_from_slice(webpki_roots::TLS_SERVER_ROOTS),
        Some(path) => {
            let unreadable = |source| UnusableCollector::Authorities {
                path: path.clone(),
                source,
            };
            let certificates = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(unreadable)?;
            let (usable, _) = roots.add_parsable_certificates(certificates);
            if usable == 0 {
                return Err(UnusableCollector::NoAuthority(path.clone()));
            }
        }
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (tls, limit) = (self.tls.clone(), self.timeout);
        let answer = self.runtime.spawn(async move {
            let answer = tokio::time::timeout(limit, ask(tls, request)).await;
            answer.unwrap_or(Err(Fault::TooSlow(limit)))
        });
        Ok(answer
            .await?
            .inspect_err(|fault| self.counts.unanswered(fault.to_string()))?)
    }
}

async fn ask(
    tls: Option<Arc<ClientConfig>>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, Fault> {
    let host = request.uri().host().ok_or(Fault::NoHost)?.to_owned();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let default_port = if tls.is_some() { 443 } else { 80 };
    let port = request.uri().port_u16().unwrap_or(default_port);
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(Fault::Unreachable)?;
    match tls {
        Some(tls) => {
            let name = ServerName::try_from(host.to_owned()).map_err(|_| Fault::NoName)?;
            let connecting = TlsConnector::from(tls).connect(name, stream);
            exchange(connecting.await.map_err(Fault::Unreachable)?, request).await
        }
        None => exchange(stream, request).await,
    }
}

async fn exchange<S>(stream: S, request: Request<Bytes>) -> Result<Response<Bytes>, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Dropped with this future, the set ends the connection.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(of_origin(request)).await?;
    let (head, mut body) = response.into_parts();
    let mut kept = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if kept.len() + data.len() > MOST_BODY {
            return Err(Fault::TooLarge);
        }
        kept.extend_from_slice(data);
    }
    Ok(Response::from_parts(head, kept.freeze()))
}

/// The request as it goes over a connection to its host: the path in its line, the host in a header.
fn of_origin(request: Request<Bytes>) -> Request<Full<Bytes>> {
    let (mut head, body) = request.into_parts();
    let host = head
        .uri
        .authority()
        .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = host {
        head.headers.insert(HOST, host);
    }
    let path = head.uri.path_and_query().cloned();
    head.uri = path.map_or_else(Uri::default, Uri::from);
    Request::from_parts(head, Full::new(body))
}
