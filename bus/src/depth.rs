//! How much waits in the queue, how much of it workers hold, and for how long.

use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use gatewright_schemas::{Lane, Timestamp, Zone};

use crate::{
    Fleet, clock,
    layout::{LayoutError, unavailable, unavailable_boxed, zones_and_lanes},
    telemetry,
};

/// What one zone's lane of the queue holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneDepth {
    /// Wake-ups that no worker has taken.
    pub waiting: u64,
    /// Wake-ups that workers hold and have not acknowledged.
    pub under_way: u64,
    /// How long ago the oldest of them was stored; zero where there is none.
    pub oldest: Duration,
}

impl Fleet {
    /// What the queue of every zone and lane holds now.
    pub async fn lane_depths(&self) -> Result<Vec<(Zone, Lane, LaneDepth)>, LayoutError> {
        let what = "see how much waits in the queue";
        let stream = self
            .jetstream
            .get_stream_no_info(self.names.queue())
            .await
            .map_err(|error| unavailable(what, &error))?;
        let mut depths = Vec::new();
        for (zone, lane) in zones_and_lanes() {
            let name = self.names.queue_consumer(zone, lane);
            let consumer = stream
                .get_consumer::<pull::Config>(&name)
                .await
                .map_err(|error| unavailable_boxed(what, &error))?;
            let info = consumer.cached_info();
            let mut depth = LaneDepth {
                waiting: info.num_pending,
                under_way: info.num_ack_pending as u64,
                oldest: Duration::ZERO,
            };
            if depth.waiting + depth.under_way > 0 {
                let (stream, subject) = (self.names.queue(), self.names.wake(zone, lane));
                let oldest = self.page(&stream, &subject, 1, 1).await;
                let oldest = oldest.map_err(|reason| LayoutError::Unavailable {
                    what: what.to_owned(),
                    reason,
                    transient: true,
                })?;
                let stored_at = oldest.first().map(|oldest| Timestamp::from(oldest.time));
                depth.oldest = stored_at.map_or(Duration::ZERO, |at| clock::now().since(at));
            }
            depths.push((zone, lane, depth));
        }
        Ok(depths)
    }

    /// Measures the queues, for Prometheus.
    pub async fn measure_queues(&self) -> Result<(), LayoutError> {
        for (zone, lane, depth) in self.lane_depths().await? {
            telemetry::queue(zone, lane, depth);
        }
        Ok(())
    }
}
