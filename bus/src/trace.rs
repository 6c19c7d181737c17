//! Where in a trace a message was written: W3C's `traceparent` and `tracestate` as headers of NATS messages.

use async_nats::HeaderMap;
use gatewright_run::RunState;
use gatewright_schemas::{TraceContext, TraceParent};
use gatewright_traces::{Place, RunTrace};

/// The trace of the run.
pub fn of_run(state: &RunState) -> RunTrace {
    let created = state.progress.as_ref().map(|progress| &progress.created);
    let given = created.and_then(|created| created.trace.as_ref());
    RunTrace::of(&state.workspace_id, &state.run_id, given)
}

/// Says in the headers that the message belongs there.
pub(crate) fn put(headers: &mut HeaderMap, place: &Place) {
    let Some(context) = place.header() else {
        return;
    };
    let traceparent = context.traceparent.to_string();
    headers.insert(TraceContext::TRACEPARENT, traceparent);
    if let Some(state) = &context.tracestate {
        headers.insert(TraceContext::TRACESTATE, state.as_str());
    }
}

/// The same, of the place where the work is that is being done, if it is in a trace.
pub(crate) fn put_current(headers: &mut HeaderMap) {
    if let Some(place) = Place::current() {
        put(headers, &place);
    }
}

/// Headers with nothing but the place where the work is that is being done.
pub(crate) fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    put_current(&mut headers);
    headers
}

/// What a message's headers say of its trace; none where they say nothing that can be read.
pub(crate) fn read(headers: Option<&HeaderMap>) -> Option<TraceContext> {
    let headers = headers?;
    let state = only(headers, TraceContext::TRACESTATE);
    TraceContext::read(only(headers, TraceContext::TRACEPARENT)?, state)
}

/// The same without what goes with it.
pub(crate) fn read_parent(headers: Option<&HeaderMap>) -> Option<TraceParent> {
    TraceParent::read(only(headers?, TraceContext::TRACEPARENT)?)
}

/// The header's one value; none when it stands there twice.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name);
    let first = values.next()?;
    values.next().is_none().then(|| first.as_str())
}
