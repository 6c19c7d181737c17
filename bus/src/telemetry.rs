//! What a role measures of itself, for Prometheus.
//!
//! Labels come from closed sets only (types of events, decisions, reason codes, zones, lanes). Nothing that comes from outside becomes
//! one, so the number of series is bounded whatever is submitted.

use std::{sync::LazyLock, time::Duration};

use gatewright_schemas::{DecisionRecord, Event, Lane, Timestamp, Zone};
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
    looked: Float,
    alive: Gauge,
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
            looked: Float::default(),
            alive: Gauge::default(),
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
            "alive",
            "1 while the role's loop comes round and its connection stands, as `/health` answers; else 0",
            this.alive.clone(),
        );
        this.register_projectors();
        this
    }

    fn register_projectors(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "projector_lag_commits",
            "Commits of the stream that are not in the read tables",
            self.behind.clone(),
        );
        registry.register_with_unit(
            "projector_lag",
            "How long the oldest commit that was written last had been in the stream; 0 when nothing waits",
            Unit::Seconds,
            self.late.clone(),
        );
        registry.register_with_unit(
            "projector_looked_timestamp",
            "When this projector last compared the read tables with the stream, in Unix time; 0 when it never did, as while it stands by",
            Unit::Seconds,
            self.looked.clone(),
        );
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

/// So many commits were not in the read tables at `now`, when both were looked at.
pub fn projector_is_behind(commits: u64, now: Timestamp) {
    METRICS.behind.set(gauged(commits));
    METRICS
        .looked
        .set(Duration::from_micros(now.as_micros().unsigned_abs()).as_secs_f64());
    if commits == 0 {
        METRICS.late.set(0.0);
    }
}

/// Commits were written to the read tables, the first of them so long after it was stored.
pub fn projected(late: Duration) {
    METRICS.late.set(late.as_secs_f64());
}

/// Whether the role is well, told with everything else when it is asked for.
pub fn is_alive(alive: bool) {
    METRICS.alive.set(alive.into());
}

fn gauged(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// The names of all that is measured, and the labels of each.
    fn measured() -> BTreeMap<String, BTreeSet<String>> {
        // A family without a series is not told.
        let (r#type, category) = ("run.created", "tool");
        drop(METRICS.events.get_or_create(&OfType { r#type }));
        drop(METRICS.gate.get_or_create(&OfCategory { category }));
        drop(METRICS.decisions.get_or_create(&Answer {
            category,
            decision: "allow",
            reason: "default_allow",
            blocked: "false",
        }));
        queue(Zone::Sandbox, Lane::Background, LaneDepth::default());
        let text = render();
        let mut measured = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}').split(',');
            let labels = labels.filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            let labels = labels.filter(|label| label != "le").collect();
            let histogram = name.strip_suffix("_bucket").unwrap_or(name);
            measured.insert(histogram.to_owned(), labels);
        }
        measured.retain(|name, _| !name.ends_with("_sum") && !name.ends_with("_count"));
        measured
    }

    /// The metrics that a text names, each with the labels that it gives there: `name{one,other="value"}`.
    fn named(text: &str) -> Vec<(String, Vec<String>)> {
        let mut named = Vec::new();
        for (at, _) in text.match_indices("gatewright_") {
            let rest = text.get(at..).unwrap();
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
            let (name, behind) = rest.split_at(end.unwrap_or(rest.len()));
            let labels = behind.strip_prefix('{').and_then(|b| b.split_once('}'));
            let labels = labels.map_or("", |(labels, _)| labels).split(',');
            let labels = labels.map(|label| label.split('=').next().unwrap().to_owned());
            let labels = labels.filter(|label| !label.is_empty()).collect();
            named.push((name.to_owned(), labels));
        }
        named
    }

    #[test]
    fn documents_and_alarms_name_what_is_measured() {
        let measured = measured();
        let read = |path: &str| {
            let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
            named(&std::fs::read_to_string(path).unwrap())
        };
        let guide = read("docs/howto/measure-a-fleet.md");
        let alarms = read("deploy/prometheus/alerts.yml");
        assert!(alarms.len() > 5, "{alarms:?}");
        for (name, labels) in guide.iter().chain(&alarms) {
            let Some(known) = measured.get(name) else {
                panic!("{name} is not measured; these are: {:?}", measured.keys());
            };
            for label in labels {
                assert!(known.contains(label), "{name} has no label {label}");
            }
        }
        for (name, labels) in measured {
            let told = guide.iter().any(|(told, with)| {
                *told == name && with.iter().cloned().collect::<BTreeSet<_>>() == labels
            });
            assert!(told, "the guide does not tell of {name} with {labels:?}");
        }
    }

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
