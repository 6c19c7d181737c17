//! What was measured, for people and for programs.

use std::fmt;

use serde::Serialize;

use super::{
    approval::Parked, fleet::Durability, gate::GateFigures, latency::Latency,
    projection::Projection, quota::QuotaFigures, sandbox::SandboxFigures, takeover::Takeover,
    throughput::Throughput,
};

/// Everything that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub cores: usize,
    pub optimized: bool,
    pub gate: Vec<GateFigures>,
    pub sandbox: Option<SandboxFigures>,
    pub fleets: Vec<Figures>,
}

/// What was measured on one fleet.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub durability: Durability,
    pub latency: Option<Latency>,
    pub throughput: Option<Throughput>,
    pub worker_resident_mb: Option<f64>,
    pub quota: Option<QuotaFigures>,
    pub projection: Option<Projection>,
    pub takeover: Option<Takeover>,
    pub parked: Option<Parked>,
}

impl Figures {
    pub fn new(durability: Durability) -> Self {
        Self {
            durability,
            latency: None,
            throughput: None,
            worker_resident_mb: None,
            quota: None,
            projection: None,
            takeover: None,
            parked: None,
        }
    }
}

impl Report {
    pub fn of_this_machine() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            optimized: !cfg!(debug_assertions),
            gate: Vec::new(),
            sandbox: None,
            fleets: Vec::new(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let build = if self.optimized {
            ""
        } else {
            ", NOT optimized: build with --release before you quote these figures"
        };
        writeln!(
            f,
            "gatewright {} on {} cores{build}",
            self.version, self.cores
        )?;
        if !self.gate.is_empty() {
            writeln!(f, "\nthe gate, one decision")?;
        }
        for gate in &self.gate {
            writeln!(
                f,
                "  {:>6} tokens and rules   p50 {:>6.2} µs   p99 {:>6.2} µs",
                gate.tokens_and_rules, gate.p50_us, gate.p99_us
            )?;
        }
        if let Some(s) = &self.sandbox {
            writeln!(f, "\na command that does nothing ({} of each)", s.commands)?;
            writeln!(
                f,
                "  bare                  p50 {:>6.2} ms\n  in the sandbox        p50 {:>6.2} ms   p99 {:>6.2} ms",
                s.bare_p50_ms, s.sandboxed_p50_ms, s.sandboxed_p99_ms
            )?;
        }
        for fleet in &self.fleets {
            writeln!(f, "\n{}", fleet.durability)?;
            if let Some(t) = &fleet.throughput {
                writeln!(
                    f,
                    "  throughput            {:>8.0} runs/s ended, {:.0} runs/s projected ({} runs)",
                    t.ended_per_s, t.projected_per_s, t.runs
                )?;
                if let Some(cpu) = t.processor_s_per_1000 {
                    writeln!(
                        f,
                        "  processor time        {cpu:>8.2} s for 1,000 runs, all processes"
                    )?;
                }
            }
            if let Some(l) = &fleet.latency {
                writeln!(
                    f,
                    "  submit to terminal    p50 {:>6.2} ms   p99 {:>6.2} ms ({} runs, unloaded)",
                    l.ended_p50_ms, l.ended_p99_ms, l.runs
                )?;
                writeln!(
                    f,
                    "  submit to projected   p50 {:>6.2} ms   p99 {:>6.2} ms",
                    l.projected_p50_ms, l.projected_p99_ms
                )?;
            }
            if let Some(mb) = fleet.worker_resident_mb {
                writeln!(f, "  a worker's memory     {mb:>8.1} MB at most")?;
            }
            if let Some(q) = &fleet.quota {
                writeln!(
                    f,
                    "  a limit, reserved     p50 {:>6.2} µs   p99 {:>6.2} µs (from memory)",
                    q.reserve_p50_us, q.reserve_p99_us
                )?;
                writeln!(
                    f,
                    "  a limit, leased       p50 {:>6.0} µs   p99 {:>6.0} µs (once for up to 1,000 calls)",
                    q.lease_p50_us, q.lease_p99_us
                )?;
            }
            if let Some(p) = &fleet.projection {
                writeln!(
                    f,
                    "  projector, cold       {:>8.0} events/s ({} events)",
                    p.events_per_s, p.events
                )?;
            }
            if let Some(t) = &fleet.takeover {
                writeln!(
                    f,
                    "  after a SIGKILL       first run resumed in {:.0} ms, last of {} in {:.0} ms",
                    t.first_resumed_ms, t.held, t.last_resumed_ms
                )?;
            }
            if let Some(parked) = &fleet.parked {
                parked_runs(f, parked)?;
            }
        }
        Ok(())
    }
}

fn parked_runs(f: &mut fmt::Formatter<'_>, parked: &Parked) -> fmt::Result {
    writeln!(
        f,
        "  a yes to its call     p50 {:>6.2} ms   p99 {:>6.2} ms",
        parked.decided_to_executed_p50_ms, parked.decided_to_executed_p99_ms
    )?;
    writeln!(
        f,
        "  parked runs           {:>8} in {:.0} s, {} acknowledgements pending; {} of them woken and ended in {:.1} s",
        parked.runs,
        parked.all_in_s,
        parked.acknowledgements_pending,
        parked.woken,
        parked.woken_in_s
    )?;
    for memory in &parked.memory {
        writeln!(
            f,
            "    {:<19} {:>8.0} MB before, {:.0} MB with them",
            memory.process, memory.before_mb, memory.after_mb
        )?;
    }
    Ok(())
}
