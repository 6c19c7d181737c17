//! The trace of a run.

use std::time::SystemTime;

use gatewright_schemas::{RunId, TraceContext, TraceParent, WorkspaceId};
use opentelemetry::trace::TraceState;
use sha2::{Digest as _, Sha256};

use crate::{
    Place, Span,
    export::would_record,
    ids::Ids,
    span::{Kind, What},
};

/// What the ids are made of beside workspace and run, so that nothing else that is hashed comes to the same.
const DOMAIN: &str = "gatewright run trace";

/// A run's trace: everything that is done for the run belongs to it.
#[derive(Debug, Clone)]
pub struct RunTrace {
    ids: Ids,
    /// Where the submitter said that the run belongs.
    given: Option<TraceContext>,
    /// Below the run's own span.
    place: Place,
}

impl RunTrace {
    /// The trace of a run whose submitter said this of its own, as `run.created` has it.
    pub fn of(workspace: &WorkspaceId, run: &RunId, given: Option<&TraceContext>) -> Self {
        let made = Sha256::new()
            .chain_update(DOMAIN)
            .chain_update([0])
            .chain_update(workspace.as_str())
            .chain_update([0])
            .chain_update(run.as_str())
            .finalize();
        let mut trace_id = [0; 16];
        let mut span_id = [0; 8];
        for (to, from) in trace_id.iter_mut().chain(&mut span_id).zip(made) {
            *to = from;
        }
        // All zeros would be no id, and nobody will ever see it.
        trace_id[15] |= u8::from(trace_id == [0; 16]);
        span_id[7] |= u8::from(span_id == [0; 8]);
        let sampled = match given {
            Some(given) => {
                trace_id = given.traceparent.trace_id();
                given.traceparent.sampled()
            }
            None => would_record(trace_id),
        };
        let place = match TraceParent::new(trace_id, span_id, sampled) {
            Some(own) => match given {
                Some(given) => Place::of(&TraceContext {
                    traceparent: own,
                    tracestate: given.tracestate.clone(),
                }),
                None => Place::remote(own, TraceState::default()),
            },
            None => Place(opentelemetry::Context::new()),
        };
        Self {
            ids: Ids { trace_id, span_id },
            given: given.cloned(),
            place,
        }
    }

    /// Below the run's own span.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Whether a header names a place in this trace.
    pub fn has(&self, header: &TraceParent) -> bool {
        header.trace_id() == self.ids.trace_id
    }

    /// The place that a header names, if it is in this trace; else the run's own.
    pub fn place_of(&self, header: Option<&TraceContext>) -> Place {
        match header.filter(|header| self.has(&header.traceparent)) {
            Some(header) => Place::of(header),
            None => self.place.clone(),
        }
    }

    /// Where the work is that is being done, if that is in this trace; else the run's own place.
    pub fn current(&self) -> Place {
        let is_of_it = |place: &Place| place.parent().is_some_and(|parent| self.has(&parent));
        Place::current()
            .filter(is_of_it)
            .unwrap_or_else(|| self.place.clone())
    }

    /// The run's own span, which began at `since`: that of its admission. To be told once, by whoever made the run.
    pub fn own_span(&self, since: SystemTime, name: &'static str) -> Span {
        let parent = match &self.given {
            Some(given) => Place::of(given),
            None => Place(opentelemetry::Context::new()),
        };
        let what = What::new(Kind::Consumer, name).since(since);
        self.ids.while_set(|| Span::below(&parent, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(workspace: &str, run: &str, given: Option<&TraceContext>) -> RunTrace {
        RunTrace::of(&workspace.parse().unwrap(), &run.parse().unwrap(), given)
    }

    #[test]
    fn every_process_comes_to_the_same_trace() {
        // Fixed: what is written today is joined tomorrow, by another version.
        let made = of("acme", "nightly-1", None).place().header().unwrap();
        assert_eq!(
            made.traceparent.to_string(),
            "00-ee806cdb497505755ae79972391ea56e-22c222ca74a52a17-00"
        );
        let others = [
            ("acme", "nightly-2"),
            ("acm", "enightly-1"),
            ("b", "nightly-1"),
        ];
        for (workspace, run) in others {
            assert_ne!(of(workspace, run, None).place().header().unwrap(), made);
        }
    }

    #[test]
    fn a_given_trace_is_kept_with_its_flag_and_state() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let given = TraceContext::read(text, Some("congo=1")).unwrap();
        let trace = of("acme", "nightly-1", Some(&given));
        let place = trace.place().header().unwrap();
        assert_eq!(place.traceparent.trace_id(), given.traceparent.trace_id());
        assert_ne!(place.traceparent.parent_id(), given.traceparent.parent_id());
        assert!(place.traceparent.sampled());
        assert_eq!(place.tracestate, given.tracestate);
    }

    #[tokio::test]
    async fn a_header_is_believed_only_within_the_runs_trace() {
        let trace = of("acme", "nightly-1", None);
        let own = trace.place().header().unwrap();
        let within = TraceContext {
            traceparent: TraceParent::new(own.traceparent.trace_id(), [7; 8], false).unwrap(),
            tracestate: None,
        };
        let other = TraceContext {
            traceparent: TraceParent::new([7; 16], [7; 8], true).unwrap(),
            tracestate: None,
        };
        assert_eq!(trace.place_of(Some(&within)).header().unwrap(), within);
        assert_eq!(trace.place_of(Some(&other)).header().unwrap(), own);
        assert_eq!(trace.place_of(None).header().unwrap(), own);
        let seen = Place::of(&other).within(async { trace.current().header() });
        assert_eq!(seen.await.unwrap(), own);
        let seen = Place::of(&within).within(async { trace.current().header() });
        assert_eq!(seen.await.unwrap(), within);
    }
}
