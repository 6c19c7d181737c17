//! Where in a trace something belongs.

use std::{fmt, str::FromStr as _};

use gatewright_schemas::{TraceContext, TraceParent, TraceState};
use opentelemetry::{
    Context, SpanId, TraceFlags, TraceId,
    context::FutureExt as _,
    trace::{SpanContext, TraceContextExt as _, TraceState as State},
};
use tracing::Instrument as _;

/// A place in a trace: what begins there is a child of the span that it names. Cheap to clone.
#[derive(Clone)]
pub struct Place(pub(crate) Context);

impl Place {
    /// The place that somebody else's header names.
    pub fn of(header: &TraceContext) -> Self {
        let state = header.tracestate.as_ref();
        let state = state.and_then(|state| State::from_str(state.as_str()).ok());
        Self::remote(header.traceparent, state.unwrap_or_default())
    }

    /// The same, where it is not told what goes with it.
    pub fn below(parent: TraceParent) -> Self {
        Self::remote(parent, State::default())
    }

    pub(crate) fn remote(parent: TraceParent, state: State) -> Self {
        let flags = TraceFlags::default().with_sampled(parent.sampled());
        let span = SpanContext::new(
            TraceId::from(u128::from_be_bytes(parent.trace_id())),
            SpanId::from(u64::from_be_bytes(parent.parent_id())),
            flags,
            true,
            state,
        );
        Self(Context::new().with_remote_span_context(span))
    }

    /// Where the work is that is being done; none outside of any trace.
    pub fn current() -> Option<Self> {
        Context::map_current(|context| {
            let is_one = context.span().span_context().is_valid();
            is_one.then(|| Self(context.clone()))
        })
    }

    /// What headers say of the place; none outside of any trace.
    pub fn header(&self) -> Option<TraceContext> {
        let span = self.0.span();
        let state = span.span_context().trace_state();
        Some(TraceContext {
            traceparent: self.parent()?,
            tracestate: TraceState::read(&state.header()),
        })
    }

    /// The trace and the span that is the parent; none outside of any trace.
    pub fn parent(&self) -> Option<TraceParent> {
        let span = self.0.span();
        let span = span.span_context();
        TraceParent::new(
            span.trace_id().to_bytes(),
            span.span_id().to_bytes(),
            span.is_sampled(),
        )
    }

    /// The trace.
    pub(crate) fn trace_id(&self) -> TraceId {
        self.0.span().span_context().trace_id()
    }

    /// Does the work there: spans and messages that come of it belong there, and lines of the log carry the trace's id.
    pub fn within<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        let line = tracing::error_span!("trace", trace_id = %self.trace_id());
        work.with_context(self.0.clone()).instrument(line)
    }
}

/// Does the work at the place where there is one, and anywhere else as it is.
pub async fn within<F: Future>(place: Option<&Place>, work: F) -> F::Output {
    match place {
        Some(place) => place.within(work).await,
        None => work.await,
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({:?})", self.parent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_is_handed_on_as_it_came() {
        let given = TraceContext::read(GIVEN, Some("congo=t61rcWkgMzE,rojo=1")).unwrap();
        assert_eq!(Place::of(&given).header().unwrap(), given);
        assert!(Place::current().is_none());
    }

    #[tokio::test]
    async fn work_knows_where_it_is_and_forgets_it_afterwards() {
        let given = TraceContext::read(GIVEN, None).unwrap();
        let place = Place::of(&given);
        let seen = place.within(async {
            tokio::task::yield_now().await;
            Place::current().and_then(|place| place.header())
        });
        assert_eq!(seen.await, Some(given));
        assert!(Place::current().is_none());
    }
}
