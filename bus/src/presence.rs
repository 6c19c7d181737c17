//! Which workers there are, and whether they live.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::client::RequestErrorKind;
use futures::{StreamExt as _, stream::select};
use gatewright_schemas::{Timestamp, WorkerHeartbeat, WriterId};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    Fleet,
    bucket::{Bucket, Entry},
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
        let listen = async |subject| {
            let pings = self.client.subscribe(subject).await;
            pings.map_err(|error| unavailable("listen for pings", &error))
        };
        let mut pings = select(
            listen(self.names.ping(&self.writer)).await?,
            listen(self.names.peer(&self.writer)).await?,
        );
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
        self.ping_on(self.names.ping(worker), run).await
    }

    /// The same, for one worker that asks another.
    pub async fn ping_peer(&self, worker: &WriterId, run: &str) -> Presence {
        self.ping_on(self.names.peer(worker), run).await
    }

    async fn ping_on(&self, subject: String, run: &str) -> Presence {
        let request = async_nats::Request::new()
            .payload(run.to_owned().into())
            .timeout(Some(Duration::from_secs(1)));
        match self.client.send_request(subject, request).await {
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
        let key = heartbeat.worker_id.as_str();
        let put = self.workers().put(key, value.into()).await;
        put.map_err(|error| error.told("write a heartbeat"))?;
        Ok(())
    }

    /// Strikes a worker off the list.
    pub async fn strike_off(&self, worker: &WriterId) -> Result<(), LayoutError> {
        let purged = self.workers().purge(worker.as_str(), None).await;
        purged.map_err(|error| error.told("strike a worker off"))
    }

    /// Every worker on the list, by name, with what it said last.
    pub async fn list_workers(&self) -> Result<Vec<WorkerHeartbeat>, LayoutError> {
        let bucket = self.names.workers_bucket();
        let listed = Listed::default();
        let read = self
            .entries_now(&bucket, |entry| take(&listed, entry))
            .await;
        read.map_err(|reason| LayoutError::Unavailable {
            what: "list the workers".into(),
            reason,
            transient: true,
        })?;
        let listed = listed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut workers: Vec<_> = listed.values().cloned().collect();
        workers.sort_by(|a, b| a.worker_id.cmp(&b.worker_id));
        Ok(workers)
    }

    fn workers(&self) -> Bucket<'_> {
        self.bucket(self.names.workers_bucket())
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
    match entry.value {
        None => {
            listed.remove(&entry.key);
        }
        Some(value) => {
            if let Ok(heartbeat) = serde_json::from_slice(&value) {
                listed.insert(entry.key, heartbeat);
            }
        }
    }
}
