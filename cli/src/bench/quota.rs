//! The fleet's counters: what a limit costs a call.

use std::time::{Duration, Instant};

use anyhow::Result;
use gatewright_bus::{Fleet, clock, quota::QuotaLeases};
use gatewright_policy::{Quota, QuotaWindow};
use serde::Serialize;

use super::percentile;

const WARM_ROUNDS: usize = 100_000;
/// Of a limit so small, each lease has one unit.
const SMALL: u64 = 150;
const COUNTERS: usize = 10;

/// How long a reservation takes.
#[derive(Debug, Clone, Serialize)]
#[expect(clippy::struct_field_names, reason = "each tells its unit")]
pub struct QuotaFigures {
    /// Of a large limit: mostly from memory, and one lease in a thousand.
    pub reserve_p50_us: f64,
    pub reserve_p99_us: f64,
    /// When a lease is needed for it: a read and a compare-and-swap.
    pub lease_p50_us: f64,
    pub lease_p99_us: f64,
}

/// Reserves units again and again.
pub async fn measure(fleet: &Fleet) -> Result<QuotaFigures> {
    let leases = QuotaLeases::new(fleet);
    let mut warm = times(&leases, &quota("bench.large", u64::MAX), WARM_ROUNDS).await?;
    let mut cold = Vec::new();
    for n in 0..COUNTERS {
        let quota = quota(&format!("bench.small-{n}"), SMALL);
        cold.extend(times(&leases, &quota, usize::try_from(SMALL)?).await?);
    }
    warm.sort_unstable();
    cold.sort_unstable();
    leases.close().await;
    Ok(QuotaFigures {
        reserve_p50_us: microseconds(&warm, 0.5),
        reserve_p99_us: microseconds(&warm, 0.99),
        lease_p50_us: microseconds(&cold, 0.5),
        lease_p99_us: microseconds(&cold, 0.99),
    })
}

fn quota(name: &str, limit: u64) -> Quota {
    Quota {
        name: name.to_owned(),
        limit,
        window: QuotaWindow::Day,
    }
}

async fn times(leases: &QuotaLeases, quota: &Quota, rounds: usize) -> Result<Vec<Duration>> {
    let now = clock::now();
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let began = Instant::now();
        leases.reserve(quota, 1, now).await?.spend();
        times.push(began.elapsed());
    }
    Ok(times)
}

fn microseconds(sorted: &[Duration], share: f64) -> f64 {
    percentile(sorted, share).as_secs_f64() * 1_000_000.0
}
