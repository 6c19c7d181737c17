//! The projector on a stream that is there already: how fast the read tables are made anew.

use std::time::Instant;

use serde::Serialize;

use super::fleet::BenchFleet;

/// How fast the read tables are made anew.
#[derive(Debug, Clone, Serialize)]
pub struct Projection {
    pub commits: u64,
    pub events: u64,
    pub seconds: f64,
    pub events_per_s: f64,
}

pub async fn measure(fleet: &mut BenchFleet) -> anyhow::Result<Projection> {
    fleet.stop_projector().await?;
    let options = gatewright_projector::Options::default();
    let began = Instant::now();
    gatewright_projector::rebuild(&fleet.fleet, &fleet.store, &options, |_, _| ()).await?;
    let seconds = began.elapsed().as_secs_f64();
    let commits = fleet.fleet.stream_identity().await?.last_sequence;
    let events = gatewright_store::event::count_all(&fleet.store).await?;
    fleet.start_projector()?;
    #[expect(clippy::cast_precision_loss, reason = "counts of events are small")]
    let events_per_s = events as f64 / seconds;
    Ok(Projection {
        commits,
        events,
        seconds,
        events_per_s,
    })
}
