//! What no request may be, whoever sends it; and what every answer says to browsers.
//!
//! A page that a browser shows can have it send requests to the loopback, under any name that resolves to it.
//! So the name that the request is addressed to must be one that is allowed, and its origin, if it has one, the same host.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{Api, problem::Problem};

/// The names of the loopback.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Nothing of an answer is to be kept, framed, guessed at, or run.
const SAID_TO_BROWSERS: [(HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// Refuses a request by its host and origin.
pub(super) async fn check(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let mut response = match refusal(request.headers(), &api.options.hosts) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    };
    for (name, value) in SAID_TO_BROWSERS {
        // The dashboard says of itself what it may run.
        let said = response.headers_mut().entry(name);
        said.or_insert(HeaderValue::from_static(value));
    }
    response
}

fn refusal(headers: &HeaderMap, allowed: &[String]) -> Option<Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().unwrap_or_default(),
        _ => return Some(Problem::bad_request("the request needs one Host header")),
    };
    let name = name_of(host);
    let is_allowed = |known: &str| known.eq_ignore_ascii_case(name);
    if !LOOPBACK.into_iter().any(is_allowed) && !allowed.iter().any(|known| is_allowed(known)) {
        let detail = "this server is not known by that name; `--http-host` makes a name known";
        return Some(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail));
    }
    let is_foreign = |origin: &HeaderValue| {
        let origin = origin.to_str().unwrap_or_default();
        let (_, authority) = origin.split_once("://").unwrap_or_default();
        !authority.eq_ignore_ascii_case(host)
    };
    if headers.get_all(header::ORIGIN).iter().any(is_foreign) {
        return Some(Problem::forbidden(
            "requests of pages of another origin are refused",
        ));
    }
    None
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        refusal(&headers, &["gate.example".to_owned()]).is_some()
    }

    #[test]
    fn only_known_hosts_and_their_own_origins_pass() {
        for host in [
            "localhost",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:80",
            "GATE.example:8",
        ] {
            assert!(!refused(host, None), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "",
            "127.0.0.1.evil.example:80",
        ] {
            assert!(refused(host, None), "{host}");
        }
        assert!(!refused("localhost:80", Some("http://localhost:80")));
        for origin in ["null", "http://localhost:81", "http://evil.example"] {
            assert!(refused("localhost:80", Some(origin)), "{origin}");
        }
        assert!(refusal(&HeaderMap::new(), &[]).is_some());
    }
}
