//! From a hop that is permitted to its answer: resolve, check, connect, exchange.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use gatewright_policy::{document::Cidr, host::is_public_address};
use gatewright_schemas::{ErrorInfo, ReasonCode, Stage};
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request,
    header::{HOST, HeaderValue},
};
use tokio::net::TcpStream;
use url::Url;

use super::{
    Gateway,
    exchange::{Fault, Progress, Response, exchange},
    grant::{HopRequest, Rules},
};

/// At most this many of a name's addresses are tried.
const MAX_ADDRESSES: usize = 8;

/// A request as it goes over the wire.
pub(super) struct Outgoing<'a> {
    pub hop: &'a HopRequest,
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    pub body: Bytes,
    pub max_body: usize,
    pub rules: &'a Rules,
}

/// Why a hop has no answer.
#[derive(Debug)]
pub(super) enum Stop {
    /// The gateway refused it.
    Refused(ErrorInfo),
    /// The outside failed.
    Failed {
        error: ErrorInfo,
        /// Whether it may go better the next time.
        transient: bool,
    },
}

impl Stop {
    fn refused(code: ReasonCode, reason: String) -> Self {
        Self::Refused(ErrorInfo::new(Stage::Egress, code, reason))
    }

    pub fn failed(code: ReasonCode, reason: String, transient: bool) -> Self {
        Self::Failed {
            error: ErrorInfo::new(Stage::Execution, code, reason),
            transient,
        }
    }
}

impl Gateway {
    /// Sends one request. `progress` says how far it came, also when this future is dropped half way.
    pub(super) async fn send(
        &self,
        outgoing: Outgoing<'_>,
        progress: &mut Progress,
    ) -> Result<Response, Stop> {
        let url = outgoing.hop.target.url();
        let request = to_http(&outgoing, url)?;
        let addresses = self.addresses(outgoing.hop).await?;
        check(&addresses, &outgoing.rules.exceptions)?;

        let limit = outgoing.rules.connect_timeout;
        let stream = connect(&addresses, limit, progress).await?;
        let max_body = outgoing.max_body;
        let done = if url.scheme() == "https" {
            let host = outgoing.hop.host().as_str();
            let name = host.trim_start_matches('[').trim_end_matches(']');
            let tls = self.tls.connect(name, stream);
            let stream = tokio::time::timeout(limit, tls)
                .await
                .map_err(|_| unreachable("TLS: no answer in time"))?
                .map_err(|error| unreachable(&format!("TLS: {error}")))?;
            exchange(stream, request, max_body, progress).await
        } else {
            exchange(stream, request, max_body, progress).await
        };
        done.map_err(|fault| {
            let reason = fault.to_string();
            match fault {
                Fault::Broken(_) => Stop::failed(ReasonCode::EgressConnectionFailed, reason, true),
                Fault::HeadTooLarge | Fault::BodyTooLarge(_) => {
                    Stop::failed(ReasonCode::ToolOutputTooLarge, reason, false)
                }
            }
        })
    }

    /// The addresses of the hop's host: its own when it is one, else what the resolver says, which is asked once.
    async fn addresses(&self, hop: &HopRequest) -> Result<Vec<SocketAddr>, Stop> {
        let port = hop.target.url().port_or_known_default().unwrap_or(443);
        let host = hop.host();
        if let Some(address) = host.address() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        self.resolver
            .resolve(host.as_str(), port)
            .await
            .map_err(|error| {
                let reason = format!("`{host}` has no address: {error}");
                Stop::failed(ReasonCode::EgressHostNotFound, reason, true)
            })
    }
}

/// Connects to the first of these very addresses that answers.
async fn connect(
    addresses: &[SocketAddr],
    limit: Duration,
    progress: &mut Progress,
) -> Result<TcpStream, Stop> {
    let mut last = String::new();
    for address in addresses.iter().take(MAX_ADDRESSES) {
        match tokio::time::timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                progress.address = Some(*address);
                // Only latency depends on it.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = format!("{address}: {error}"),
            Err(_) => last = format!("{address}: no answer in time"),
        }
    }
    Err(unreachable(&last))
}

fn unreachable(why: &str) -> Stop {
    let reason = format!("the connection could not be made: {why}");
    Stop::failed(ReasonCode::EgressConnectionFailed, reason, true)
}

/// Every address must be allowed: a name that mixes public and internal ones is up to no good.
fn check(addresses: &[SocketAddr], exceptions: &[Cidr]) -> Result<(), Stop> {
    let allowed = |ip: IpAddr| is_public_address(ip) || is_excepted(ip, exceptions);
    match addresses.iter().find(|address| !allowed(address.ip())) {
        None => Ok(()),
        Some(address) => {
            let ip = address.ip();
            let reason =
                format!("the address `{ip}` is not public and no exception of the policy names it");
            Err(Stop::refused(ReasonCode::EgressAddressNotAllowed, reason))
        }
    }
}

fn is_excepted(ip: IpAddr, exceptions: &[Cidr]) -> bool {
    exceptions.iter().any(|network| network.contains(ip))
}

fn to_http(outgoing: &Outgoing<'_>, url: &Url) -> Result<Request<Full<Bytes>>, Stop> {
    let unusable = || {
        let reason = "the URL cannot be sent as an HTTP request".to_owned();
        Stop::refused(ReasonCode::EgressUrlInvalid, reason)
    };
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let host = outgoing.hop.host();
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_string(),
    };
    let mut request = Request::builder()
        .method(outgoing.method)
        .uri(path)
        .body(Full::new(outgoing.body.clone()))
        .map_err(|_| unusable())?;
    *request.headers_mut() = outgoing.headers.clone();
    let authority = HeaderValue::from_str(&authority).map_err(|_| unusable())?;
    request.headers_mut().insert(HOST, authority);
    Ok(request)
}
