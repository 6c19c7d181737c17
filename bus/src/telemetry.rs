//! What a role measures of itself, for Prometheus.
//!
//! Labels come from closed sets only (types of events, decisions, reason codes, zones, lanes). Nothing that comes from outside becomes
//! one, so the number of series is bounded whatever is submitted.

use std::{sync::LazyLock, time::Duration};

use gatewright_schemas::{DecisionRecord, Event, Lane, Zone};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::depth::LaneDepth;

/// From a microsecond, which is what the gate takes, to ten seconds, after which somebody has noticed.
const SECONDS: [f64; 17] = [
    1e-6, 2.5e-6, 5e-6, 1e-5, 1e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0,
    5.0, 10.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfType {
    r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    category: &'static str,
    decision: &'static str,
    reason: &'static str,
    blocked: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCategory {
    category: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLane {
    zone: &'static str,
    lane: &'static str,
}

/// A gauge of a fraction.
type Float = Gauge<f64, std::sync::atomic::AtomicU64>;

struct Metrics {
    registry: Registry,
    events: Family<OfType, Counter>,
    append: Histogram,
    fenced: Counter,
    decisions: Family<Answer, Counter>,
    gate: Family<OfCategory, Histogram>,
    leases_lost: Counter,
    runs_held: Gauge,
    waiting: Family<OfLane, Gauge>,
    under_way: Family<OfLane, Gauge>,
    oldest: Family<OfLane, Float>,
    approvals: Gauge,
    behind: Gauge,
    late: Float,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

impl Metrics {
    fn new() -> Self {
        let histogram = || Histogram::new(SECONDS);
        let mut this = Self {
            registry: Registry::with_prefix("gatewright"),
            events: Family::default(),
            append: histogram(),
            fenced: Counter::default(),
            decisions: Family::default(),
            gate: Family::new_with_constructor(histogram),
            leases_lost: Counter::default(),
            runs_held: Gauge::default(),
            waiting: Family::default(),
            under_way: Family::default(),
            oldest: Family::default(),
            approvals: Gauge::default(),
            behind: Gauge::default(),
            late: Float::default(),
        };
        let registry = &mut this.registry;
        registry.register(
            "events",
            "Events that this process appended, by type: runs created and ended, calls made and failed, approvals asked for",
            this.events.clone(),
        );
        registry.register_with_unit(
            "append",
            "How long an append took until it was known to be stored",
            Unit::Seconds,
            this.append.clone(),
        );
        registry.register(
            "appends_fenced",
            "Appends that were refused because somebody else had moved the run on",
            this.fenced.clone(),
        );
        registry.register(
            "decisions",
            "The gate's answers, and whether they stopped the call",
            this.decisions.clone(),
        );
        registry.register_with_unit(
            "gate",
            "How long the gate took to decide",
            Unit::Seconds,
            this.gate.clone(),
        );
        registry.register(
            "leases_lost",
            "Turns of this worker that ended because somebody else had taken the run over",
            this.leases_lost.clone(),
        );
        registry.register(
            "runs_held",
            "Runs that this worker holds",
            this.runs_held.clone(),
        );
        registry.register(
            "queue_waiting",
            "Wake-ups that no worker has taken",
            this.waiting.clone(),
        );
        registry.register(
            "queue_under_way",
            "Wake-ups that workers hold",
            this.under_way.clone(),
        );
        registry.register_with_unit(
            "queue_oldest",
            "How long ago the oldest wake-up came that is not done with",
            Unit::Seconds,
            this.oldest.clone(),
        );
        registry.register(
            "approvals_waiting",
            "Approvals that nobody has decided, up to 10,000",
            this.approvals.clone(),
        );
        registry.register(
            "projector_lag_commits",
            "Commits of the stream that are not in the read tables",
            this.behind.clone(),
        );
        registry.register_with_unit(
            "projector_lag",
            "How long the oldest commit that was written last had been in the stream; 0 when nothing waits",
            Unit::Seconds,
            this.late.clone(),
        );
        this
    }
}

/// Everything that was measured, as Prometheus reads it (`OpenMetrics` text).
pub fn render() -> String {
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    let _ = encode(&mut text, &METRICS.registry);
    text
}

/// A commit is stored.
pub(crate) fn appended(events: &[Event], took: Duration) {
    METRICS.append.observe(took.as_secs_f64());
    for event in events {
        let r#type = event.event_type.as_str();
        METRICS.events.get_or_create(&OfType { r#type }).inc();
    }
}

/// A commit was refused for its fence.
pub(crate) fn fenced() {
    METRICS.fenced.inc();
}

/// The gate answered.
pub fn decided(category: &'static str, record: &DecisionRecord, took: Duration) {
    let seconds = took.as_secs_f64();
    let gate = METRICS.gate.get_or_create(&OfCategory { category });
    gate.observe(seconds);
    drop(gate);
    let answer = Answer {
        category,
        decision: record.decision.as_str(),
        reason: record.reason_code.as_str(),
        blocked: if record.blocked { "true" } else { "false" },
    };
    METRICS.decisions.get_or_create(&answer).inc();
}

/// A worker was fenced in the middle of a turn.
pub fn lease_lost() {
    METRICS.leases_lost.inc();
}

/// A worker holds so many runs.
pub fn runs_held(runs: usize) {
    METRICS.runs_held.set(gauged(runs as u64));
}

/// What a zone's lane of the queue holds.
pub(crate) fn queue(zone: Zone, lane: Lane, depth: LaneDepth) {
    let of = OfLane {
        zone: zone.as_str(),
        lane: lane.as_str(),
    };
    METRICS
        .waiting
        .get_or_create(&of)
        .set(gauged(depth.waiting));
    METRICS
        .under_way
        .get_or_create(&of)
        .set(gauged(depth.under_way));
    let oldest = depth.oldest.as_secs_f64();
    METRICS.oldest.get_or_create(&of).set(oldest);
}

/// So many approvals wait.
pub fn approvals_waiting(approvals: u64) {
    METRICS.approvals.set(gauged(approvals));
}

/// So many commits are not in the read tables.
pub fn projector_is_behind(commits: u64) {
    METRICS.behind.set(gauged(commits));
    if commits == 0 {
        METRICS.late.set(0.0);
    }
}

/// Commits were written to the read tables, the first of them so long after it was stored.
pub fn projected(late: Duration) {
    METRICS.late.set(late.as_secs_f64());
}

fn gauged(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_told_as_prometheus_reads_it() {
        queue(
            Zone::Sandbox,
            Lane::Interactive,
            LaneDepth {
                waiting: 3,
                under_way: 1,
                oldest: Duration::from_millis(1_500),
            },
        );
        let text = render();
        for line in [
            "# TYPE gatewright_append_seconds histogram",
            "# TYPE gatewright_leases_lost counter",
            "gatewright_queue_waiting{zone=\"sandbox\",lane=\"interactive\"} 3",
            "gatewright_queue_oldest_seconds{zone=\"sandbox\",lane=\"interactive\"} 1.5",
            "gatewright_leases_lost_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
