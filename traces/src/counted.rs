//! What becomes of spans is counted, and told once in a while: a collector that is away must not fill the log.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor},
};

/// How often it is told at most that spans are lost.
const TELL_EVERY: Duration = Duration::from_mins(1);
/// Characters of what a collector says that are told.
const MOST_TOLD: usize = 200;

/// How many spans ended in this process, and what became of them.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    ended: AtomicU64,
    sent: AtomicU64,
    refused: AtomicU64,
    /// Why the last request had no answer: the exporter keeps that to itself.
    fault: Mutex<Option<String>>,
    last_told: Mutex<Option<Instant>>,
}

impl Counts {
    /// A request had no answer, and why.
    pub(crate) fn unanswered(&self, why: String) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    fn sent(&self, spans: u64) {
        self.sent.fetch_add(spans, Relaxed);
        let mut last_told = self
            .last_told
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last_told.take().is_some() {
            let lost = self.refused.load(Relaxed);
            tracing::info!(
                trace.spans_lost = lost,
                "the collector of traces takes spans again"
            );
        }
    }

    fn refused(&self, spans: u64, why: &str) {
        let lost = self.refused.fetch_add(spans, Relaxed) + spans;
        let fault = self
            .fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let why = fault.as_deref().unwrap_or(why);
        let mut last_told = self
            .last_told
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last_told.is_none_or(|last| last.elapsed() >= TELL_EVERY) {
            *last_told = Some(Instant::now());
            let why: String = why.chars().take(MOST_TOLD).collect();
            tracing::warn!(
                trace.spans_lost = lost,
                ?why,
                "the collector of traces takes no spans; runs go on, and what is not sent is lost"
            );
        }
    }

    /// Tells what was lost, be it refused or never sent.
    pub(crate) fn tell_at_the_end(&self, ended_in_time: bool) {
        let (ended, sent) = (self.ended.load(Relaxed), self.sent.load(Relaxed));
        let lost = ended.saturating_sub(sent);
        if lost > 0 {
            tracing::warn!(
                trace.spans = ended,
                trace.spans_lost = lost,
                ended_in_time,
                "spans were lost: the collector did not take them, or not as fast as they came"
            );
        }
    }
}

/// An exporter whose failures are told. What it holds is never shown: headers with secrets are in it.
pub(crate) struct CountedExporter<E> {
    exporter: E,
    counts: Arc<Counts>,
}

impl<E> CountedExporter<E> {
    pub(crate) fn new(exporter: E, counts: Arc<Counts>) -> Self {
        Self { exporter, counts }
    }
}

impl<E> fmt::Debug for CountedExporter<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountedExporter").finish_non_exhaustive()
    }
}

impl<E: SpanExporter> SpanExporter for CountedExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let done = self.exporter.export(batch).await;
        match &done {
            Ok(()) => self.counts.sent(spans),
            Err(error) => self.counts.refused(spans, &error.to_string()),
        }
        done
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The batches, and how many spans came to them: those that find no place in the queue are dropped there without a word.
#[derive(Debug)]
pub(crate) struct CountedProcessor {
    batches: BatchSpanProcessor,
    counts: Arc<Counts>,
}

impl CountedProcessor {
    pub(crate) fn new(batches: BatchSpanProcessor, counts: Arc<Counts>) -> Self {
        Self { batches, counts }
    }
}

impl SpanProcessor for CountedProcessor {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        self.counts.ended.fetch_add(1, Relaxed);
        self.batches.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}
