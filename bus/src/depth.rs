//! How much waits in the queue, and how much of it workers hold.

use async_nats::jetstream::consumer::pull;

use crate::{
    Fleet,
    layout::{LayoutError, unavailable, unavailable_boxed, zones_and_lanes},
};

/// What the queues of all zones and lanes hold together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Wake-ups that no worker has taken.
    pub waiting: u64,
    /// Wake-ups that workers hold and have not acknowledged.
    pub under_way: u64,
}

impl Fleet {
    /// What the queues hold now.
    pub async fn queue_depth(&self) -> Result<QueueDepth, LayoutError> {
        let what = "see how much waits in the queue";
        let stream = self
            .jetstream
            .get_stream_no_info(self.names.queue())
            .await
            .map_err(|error| unavailable(what, &error))?;
        let mut depth = QueueDepth::default();
        for (zone, lane) in zones_and_lanes() {
            let name = self.names.queue_consumer(zone, lane);
            let consumer = stream
                .get_consumer::<pull::Config>(&name)
                .await
                .map_err(|error| unavailable_boxed(what, &error))?;
            let info = consumer.cached_info();
            depth.waiting += info.num_pending;
            depth.under_way += info.num_ack_pending as u64;
        }
        Ok(depth)
    }
}
