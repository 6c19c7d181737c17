//! Ids of spans: random, but for the spans of runs themselves, whose ids everybody knows beforehand.

use std::cell::Cell;

use opentelemetry::{SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

thread_local! {
    /// The ids of the span that is being started on this thread, where they are known.
    static KNOWN: Cell<Option<Ids>> = const { Cell::new(None) };
}

/// The ids of a run's own span.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
}

impl Ids {
    /// Starts a span that has these ids; the trace's own only where it has no parent.
    pub(crate) fn while_set<T>(self, start: impl FnOnce() -> T) -> T {
        KNOWN.set(Some(self));
        let started = start();
        KNOWN.set(None);
        started
    }
}

/// What the provider asks for ids.
#[derive(Debug, Default)]
pub(crate) struct Generator(RandomIdGenerator);

impl IdGenerator for Generator {
    fn new_trace_id(&self) -> TraceId {
        match KNOWN.get() {
            Some(ids) => TraceId::from(u128::from_be_bytes(ids.trace_id)),
            None => self.0.new_trace_id(),
        }
    }

    fn new_span_id(&self) -> SpanId {
        match KNOWN.get() {
            Some(ids) => SpanId::from(u64::from_be_bytes(ids.span_id)),
            None => self.0.new_span_id(),
        }
    }
}
