//! Spans: pieces of work with their time.

use std::{borrow::Cow, time::SystemTime};

use gatewright_schemas::TraceParent;
use opentelemetry::{
    Context, KeyValue, Value,
    context::FutureExt as _,
    trace::{Link, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _},
};

use crate::{Place, export::tracer};

/// On which side of what a span stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Work within a process.
    Internal,
    /// A message is written.
    Producer,
    /// A message is worked on.
    Consumer,
    /// A request is answered.
    Server,
    /// A request is made.
    Client,
}

impl From<Kind> for SpanKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Internal => Self::Internal,
            Kind::Producer => Self::Producer,
            Kind::Consumer => Self::Consumer,
            Kind::Server => Self::Server,
            Kind::Client => Self::Client,
        }
    }
}

/// What a span is begun with.
pub(crate) struct What {
    kind: Kind,
    name: Cow<'static, str>,
    since: Option<SystemTime>,
    links: Vec<TraceParent>,
}

impl What {
    pub(crate) fn new(kind: Kind, name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            name: name.into(),
            since: None,
            links: Vec::new(),
        }
    }

    pub(crate) fn since(mut self, since: SystemTime) -> Self {
        self.since = Some(since);
        self
    }
}

/// A piece of work; its time ends when it is dropped. While nothing is recorded it costs nothing, and its place is its parent's.
#[derive(Debug)]
pub struct Span {
    context: Context,
    /// Whether the context's span is this one; else it is the parent.
    is_own: bool,
}

impl Span {
    /// Begins where the work is that is being done. Outside of any trace it begins one.
    pub fn begin(kind: Kind, name: impl Into<Cow<'static, str>>) -> Self {
        Self::below(&Place(Context::current()), What::new(kind, name))
    }

    /// Begins at a place, and began in truth at `since`.
    pub fn begin_at(
        place: &Place,
        kind: Kind,
        name: impl Into<Cow<'static, str>>,
        since: SystemTime,
    ) -> Self {
        Self::below(place, What::new(kind, name).since(since))
    }

    /// The same, of work that other spans led to, too.
    pub fn begin_with_links(
        place: &Place,
        kind: Kind,
        name: impl Into<Cow<'static, str>>,
        since: SystemTime,
        links: Vec<TraceParent>,
    ) -> Self {
        let what = What {
            links,
            ..What::new(kind, name).since(since)
        };
        Self::below(place, what)
    }

    pub(crate) fn below(parent: &Place, what: What) -> Self {
        let Some(tracer) = tracer() else {
            return Self {
                context: parent.0.clone(),
                is_own: false,
            };
        };
        let link = |parent: TraceParent| {
            let place = Place::below(parent);
            let span: SpanContext = place.0.span().span_context().clone();
            Link::new(span, Vec::new(), 0)
        };
        let builder = SpanBuilder {
            span_kind: Some(what.kind.into()),
            name: what.name,
            start_time: what.since,
            links: (!what.links.is_empty()).then(|| what.links.into_iter().map(link).collect()),
            ..SpanBuilder::default()
        };
        let span = tracer.build_with_context(builder, &parent.0);
        Self {
            context: parent.0.with_span(span),
            is_own: true,
        }
    }

    /// Says something of the work.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        if self.is_recorded() {
            self.context.span().set_attribute(KeyValue::new(key, value));
        }
    }

    /// The work failed, for a reason of a closed set.
    pub fn failed(&self, code: &'static str) {
        if self.is_recorded() {
            let span = self.context.span();
            span.set_attribute(KeyValue::new("error.type", code));
            span.set_status(Status::error(code));
        }
    }

    /// Whether what is said of it is kept.
    pub fn is_recorded(&self) -> bool {
        self.is_own && self.context.span().is_recording()
    }

    /// The place below it.
    pub fn place(&self) -> Place {
        Place(self.context.clone())
    }

    /// Does the work: spans and messages that come of it belong below this one.
    pub fn within<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        work.with_context(self.context.clone())
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        // Not when the last clone of its place goes: that of a task may live on.
        if self.is_own {
            self.context.span().end();
        }
    }
}
