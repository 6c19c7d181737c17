//! Recording spans and sending them to a collector.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use opentelemetry::{
    InstrumentationScope, KeyValue, TraceId,
    trace::{SpanKind, TracerProvider as _},
};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    resource::EnvResourceDetector,
    trace::{
        BatchSpanProcessor, Sampler, SamplingDecision, SdkTracer, SdkTracerProvider, ShouldSample,
    },
};
use tokio::runtime::Handle;

use crate::{
    Settings,
    collector::{Collector, UnusableCollector},
    counted::{CountedExporter, CountedProcessor, Counts},
    ids::Generator,
};

/// The variable that names the service, in the place of `gatewright-<role>`.
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";

static TRACING: OnceLock<Tracing> = OnceLock::new();

struct Tracing {
    tracer: SdkTracer,
    sampler: Sampler,
}

/// Whether spans are recorded in this process.
pub fn is_on() -> bool {
    TRACING.get().is_some()
}

pub(crate) fn tracer() -> Option<&'static SdkTracer> {
    TRACING.get().map(|tracing| &tracing.tracer)
}

/// Whether a trace of this id is recorded that nobody else has decided about.
pub(crate) fn would_record(trace_id: [u8; 16]) -> bool {
    TRACING.get().is_some_and(|tracing| {
        let trace_id = TraceId::from(u128::from_be_bytes(trace_id));
        let kind = SpanKind::Consumer;
        let sampled = tracing
            .sampler
            .should_sample(None, trace_id, "", &kind, &[], &[]);
        sampled.decision == SamplingDecision::RecordAndSample
    })
}

/// The way of spans to a collector.
#[derive(Debug)]
pub struct Exporting {
    provider: SdkTracerProvider,
    counts: Arc<Counts>,
}

/// Records spans from now on, and sends them to the collector that the settings name. To be called once in a process, within a runtime.
///
/// `role` makes the service's name where nothing else names it, `instance` tells processes of one role apart.
/// A collector that is away, slow or answers nonsense costs spans and nothing else.
pub fn start(
    settings: &Settings,
    role: &str,
    instance: &str,
) -> Result<Exporting, UnusableCollector> {
    let counts = Arc::new(Counts::default());
    let client = Collector::new(settings, Handle::current(), Arc::clone(&counts))?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(settings.endpoint.as_str())
        .with_timeout(settings.timeout)
        .build()
        .map_err(|error| UnusableCollector::Exporter(error.to_string()))?;
    let exporter = CountedExporter::new(exporter, Arc::clone(&counts));
    let batches = BatchSpanProcessor::builder(exporter).build();
    let provider = SdkTracerProvider::builder()
        .with_sampler(settings.sampler.clone())
        .with_id_generator(Generator::default())
        .with_resource(resource(role, instance))
        .with_span_processor(CountedProcessor::new(batches, Arc::clone(&counts)))
        .build();
    let scope = InstrumentationScope::builder("gatewright")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build();
    let tracing = Tracing {
        tracer: provider.tracer_with_scope(scope),
        sampler: settings.sampler.clone(),
    };
    TRACING
        .set(tracing)
        .map_err(|_| UnusableCollector::StartedAlready)?;
    Ok(Exporting { provider, counts })
}

/// What the process says of itself; the environment may say otherwise.
fn resource(role: &str, instance: &str) -> Resource {
    let own = [
        KeyValue::new("service.name", format!("gatewright-{role}")),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance.to_owned()),
    ];
    let named = std::env::var(SERVICE_NAME)
        .ok()
        .filter(|name| !name.is_empty());
    Resource::builder()
        .with_attributes(own)
        .with_detector(Box::new(EnvResourceDetector::new()))
        .with_attributes(named.map(|name| KeyValue::new("service.name", name)))
        .build()
}

impl Exporting {
    /// Sends what is left, for as long as `patience`, and tells how many spans were lost on the whole. Nothing is recorded afterwards.
    pub async fn finish(self, patience: Duration) {
        let Self { provider, counts } = self;
        // It blocks, and not for longer than that.
        let ending = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(patience));
        let ended = ending.await.is_ok_and(|ended| ended.is_ok());
        counts.tell_at_the_end(ended);
    }
}
