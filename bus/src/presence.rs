//! Which workers there are, and whether they live.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::{
    client::RequestErrorKind,
    jetstream::kv::{Entry, Operation},
};
use futures::{StreamExt as _, TryStreamExt as _};
use gatewright_schemas::{Timestamp, WorkerHeartbeat, WriterId};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    Fleet,
    layout::{LayoutError, unavailable},
};

/// How often a worker says that it is there.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);

/// A worker that was silent for longer does not count as alive; it beats every second.
pub const SILENT_AFTER: Duration = Duration::from_secs(10);

/// A worker, and whether it counts as alive.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Sighting {
    /// What it last said of itself.
    #[serde(flatten)]
    pub heartbeat: WorkerHeartbeat,
    /// `alive`, `draining` or `silent`.
    #[schemars(extend("enum" = ["alive", "draining", "silent"]))]
    pub state: &'static str,
    /// Since when it was not heard of, in milliseconds.
    pub age_ms: u64,
}

impl Sighting {
    /// The worker as it is at `now`.
    pub fn at(now: Timestamp, heartbeat: WorkerHeartbeat) -> Self {
        let age = now.since(heartbeat.seen_at);
        Self {
            state: match heartbeat.draining {
                _ if age > SILENT_AFTER => "silent",
                true => "draining",
                false => "alive",
            },
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            heartbeat,
        }
    }
}

/// What a ping says of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It answered, and says whether it holds the run that it was asked about.
    Alive {
        /// Whether it holds the run.
        holds: bool,
    },
    /// Nobody listens under its name: its connection is gone.
    Gone,
    /// No answer in time; it may be slow.
    Silent,
}

impl Fleet {
    /// Answers pings under this connection's name until the future is dropped: that it lives, and whether it holds the run asked about.
    ///
    /// A worker runs this beside its loop. `holds` is given `<workspace>/<run>`.
    pub async fn answer_pings(&self, holds: impl Fn(&str) -> bool) -> Result<(), LayoutError> {
        let mut pings = self
            .client
            .subscribe(self.names.ping(&self.writer))
            .await
            .map_err(|error| unavailable("listen for pings", &error))?;
        while let Some(ping) = pings.next().await {
            let asked = String::from_utf8_lossy(&ping.payload);
            let answer: &'static [u8] = if holds(&asked) { b"holds" } else { b"" };
            if let Some(to) = ping.reply
                && let Err(error) = self
                    .client
                    .publish(to, bytes::Bytes::from_static(answer))
                    .await
            {
                tracing::debug!(%error, "a ping was not answered");
            }
        }
        Ok(())
    }

    /// Asks a worker whether it lives and holds `run`, a `<workspace>/<run>`.
    ///
    /// A dead one's answer comes at once: the server knows that nobody listens.
    pub async fn ping(&self, worker: &WriterId, run: &str) -> Presence {
        let request = async_nats::Request::new()
            .payload(run.to_owned().into())
            .timeout(Some(Duration::from_secs(1)));
        match self
            .client
            .send_request(self.names.ping(worker), request)
            .await
        {
            Ok(answer) => Presence::Alive {
                holds: &answer.payload[..] == b"holds",
            },
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Presence::Gone,
            Err(_) => Presence::Silent,
        }
    }

    /// Says that this worker is there.
    pub async fn beat(&self, heartbeat: &WorkerHeartbeat) -> Result<(), LayoutError> {
        let value = serde_json::to_vec(heartbeat).unwrap_or_default();
        let bucket = self.workers().await?;
        bucket
            .put(heartbeat.worker_id.as_str(), value.into())
            .await
            .map_err(|error| unavailable("write a heartbeat", &error))?;
        Ok(())
    }

    /// Strikes a worker off the list.
    pub async fn strike_off(&self, worker: &WriterId) -> Result<(), LayoutError> {
        let bucket = self.workers().await?;
        bucket
            .purge(worker.as_str())
            .await
            .map_err(|error| unavailable("strike a worker off", &error))
    }

    /// Every worker on the list, with what it said last.
    pub async fn list_workers(&self) -> Result<Vec<WorkerHeartbeat>, LayoutError> {
        let what = "list the workers";
        let bucket = self.workers().await?;
        let keys = bucket
            .keys()
            .await
            .map_err(|error| unavailable(what, &error))?;
        let keys: Vec<String> = keys
            .try_collect()
            .await
            .map_err(|error| unavailable(what, &error))?;
        let mut workers = Vec::new();
        for key in keys {
            if let Some(value) = bucket
                .get(&key)
                .await
                .map_err(|error| unavailable(what, &error))?
                && let Ok(heartbeat) = serde_json::from_slice(&value)
            {
                workers.push(heartbeat);
            }
        }
        Ok(workers)
    }

    async fn workers(&self) -> Result<async_nats::jetstream::kv::Store, LayoutError> {
        let bucket = self.names.workers_bucket();
        self.jetstream
            .get_key_value(&bucket)
            .await
            .map_err(|error| unavailable(&format!("open the bucket `{bucket}`"), &error))
    }
}

/// A copy of the list of workers, kept up to date by a watch until this is dropped.
#[derive(Debug)]
pub struct LiveWorkers {
    listed: Listed,
    keeper: tokio::task::JoinHandle<()>,
}

/// By the key of the bucket, which is the worker's name.
type Listed = Arc<Mutex<HashMap<String, WorkerHeartbeat>>>;

impl LiveWorkers {
    /// Starts watching. The copy is empty until the first entries have come.
    pub fn watch(fleet: &Fleet) -> Self {
        let listed = Listed::default();
        let (fleet, copy) = (fleet.clone(), Arc::clone(&listed));
        let keeper = tokio::spawn(async move {
            let bucket = fleet.names.workers_bucket();
            match fleet
                .watch_bucket(&bucket, |entry| take(&copy, entry))
                .await {}
        });
        Self { listed, keeper }
    }

    /// Every worker on the list, with what it said last.
    pub fn now(&self) -> Vec<WorkerHeartbeat> {
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.values().cloned().collect()
    }

    /// Forgets a process, for whoever has struck it off the list and does not wait to be told so. Another one of its name stays.
    pub fn forget(&self, gone: &WorkerHeartbeat) {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.retain(|_, worker| {
            worker.worker_id != gone.worker_id || worker.started_at != gone.started_at
        });
    }
}

impl Drop for LiveWorkers {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

fn take(listed: &Listed, entry: Entry) {
    let mut listed = listed.lock().unwrap_or_else(PoisonError::into_inner);
    if entry.operation != Operation::Put {
        listed.remove(&entry.key);
    } else if let Ok(heartbeat) = serde_json::from_slice(&entry.value) {
        listed.insert(entry.key, heartbeat);
    }
}
