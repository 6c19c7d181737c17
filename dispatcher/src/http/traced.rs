//! Requests that come with a W3C trace context: a span of theirs, and everything that comes of them below it.
//!
//! Requests without one get none: a dashboard that asks every second would be nothing but noise. The run that one submits has a trace all the same.

use std::time::SystemTime;

use axum::{
    extract::{MatchedPath, Request},
    http::HeaderMap,
    middleware::Next,
    response::Response,
};
use gatewright_schemas::TraceContext;
use gatewright_traces::{Kind, Place, Span};

/// Answers a request at the place in a trace that it names.
pub(super) async fn serve(request: Request, next: Next) -> Response {
    let Some(context) = context(request.headers()) else {
        return next.run(request).await;
    };
    let method = request.method().to_string();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or_else(|| "/".to_owned(), |route| route.as_str().to_owned());
    let name = format!("{method} {route}");
    let span = Span::begin_at(&Place::of(&context), Kind::Server, name, SystemTime::now());
    span.set("http.request.method", method);
    span.set("http.route", route);
    let response = span.place().within(next.run(request)).await;
    let status = response.status();
    span.set("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.failed("5xx");
    }
    response
}

fn context(headers: &HeaderMap) -> Option<TraceContext> {
    let parent = only(headers, TraceContext::TRACEPARENT)?;
    TraceContext::read(parent, only(headers, TraceContext::TRACESTATE))
}

/// The header's one value; none when it stands there twice, or is no text.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values
        .next()
        .is_none()
        .then(|| first.to_str().ok())
        .flatten()
}
