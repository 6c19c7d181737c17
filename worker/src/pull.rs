//! Taking wake-ups: as many as there are free slots, the interactive lane first, zones by turns, none hoarded.
//!
//! A queue is *hot* while it yields; hot queues are asked in the order of the [`Rota`] for as many wake-ups as there are free slots.
//! When one yields nothing it is *idle*: one long request for a single wake-up waits at the server, and its answer makes it hot again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use gatewright_bus::{
    clock,
    queue::{Delivery, Queue},
    retry::Retry,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::task::TaskTracker;

use crate::{Worker, rota::Rota};

/// Wake-ups taken in one request at most.
const MOST: usize = 64;

/// How long a wake-up that came after the last place was taken waits for one. Well below its lease.
const SOON: Duration = Duration::from_millis(200);

/// The loop counts as alive when it came round within this time. A long request takes 20 seconds at most.
const LATELY: Duration = Duration::from_secs(45);

/// A worker's places for runs.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    places: Arc<Semaphore>,
    /// When the loop last came round, in microseconds since 1970.
    pulled_at: Arc<AtomicI64>,
}

impl Slots {
    pub(crate) fn new(count: usize) -> Self {
        let pulled_at = AtomicI64::new(clock::now().as_micros());
        Self {
            places: Arc::new(Semaphore::new(count)),
            pulled_at: Arc::new(pulled_at),
        }
    }

    /// Waits for a free place and takes up to `most` of those that are free then.
    async fn take(&self, most: usize) -> Vec<OwnedSemaphorePermit> {
        let mut places = Vec::new();
        if let Ok(first) = Arc::clone(&self.places).acquire_owned().await {
            places.push(first);
        }
        while places.len() < most
            && let Ok(another) = Arc::clone(&self.places).try_acquire_owned()
        {
            places.push(another);
        }
        places
    }

    fn come_round(&self) {
        self.pulled_at
            .store(clock::now().as_micros(), Ordering::Relaxed);
    }

    /// Whether the loop that takes runs is alive: it came round lately, or every place is taken.
    pub(crate) fn pulled_lately(&self) -> bool {
        let last =
            gatewright_schemas::Timestamp::from_micros(self.pulled_at.load(Ordering::Relaxed));
        clock::now().since(last) < LATELY || self.places.available_permits() == 0
    }
}

/// Takes wake-ups and gives each a turn of its own, for ever.
pub(crate) async fn pull(worker: &Worker, turns: &TaskTracker) {
    let queues = &worker.0.queues;
    let mut rota = Rota::new(queues.iter().map(|queue| queue.lane));
    let mut hot = vec![true; queues.len()];
    let mut idle: JoinSet<usize> = JoinSet::new();
    let mut retry = Retry::for_servers();
    loop {
        worker.0.slots.come_round();
        let mut places = worker.0.slots.take(MOST).await;
        for index in rota.order() {
            let Some(queue) = queues.get(index) else {
                continue;
            };
            if places.is_empty() || hot.get(index) != Some(&true) {
                continue;
            }
            match queue.take(places.len()).await {
                Ok(taken) if taken.is_empty() => {
                    if let Some(hot) = hot.get_mut(index) {
                        *hot = false;
                    }
                    idle.spawn(wait(worker.clone(), turns.clone(), index, queue.clone()));
                }
                Ok(taken) => {
                    retry = Retry::for_servers();
                    rota.served(index);
                    for delivery in taken {
                        start(worker, turns, delivery, places.pop());
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "trying again");
                    retry.wait().await;
                }
            }
        }
        let all_idle = hot.iter().all(|hot| !hot);
        drop(places);
        // While something is hot, an idle queue's answer is taken in passing; otherwise it is waited for.
        let woken = if all_idle {
            idle.join_next().await
        } else {
            idle.try_join_next()
        };
        if let Some(Ok(index)) = woken
            && let Some(hot) = hot.get_mut(index)
        {
            *hot = true;
        }
    }
}

/// Waits for a wake-up of an idle queue and starts its turn: nothing that was handed out lies about with its clock ticking.
async fn wait(worker: Worker, turns: TaskTracker, index: usize, queue: Queue) -> usize {
    match queue.wait().await {
        Ok(deliveries) => {
            for delivery in deliveries {
                start(&worker, &turns, delivery, None);
            }
        }
        Err(error) => tracing::debug!(%error, "a long request ended"),
    }
    index
}

/// Gives the wake-up a turn, in `place` or in one that is free soon; otherwise another worker gets it.
/// Its lease is kept alive while the turn lasts.
fn start(
    worker: &Worker,
    turns: &TaskTracker,
    delivery: Delivery,
    place: Option<OwnedSemaphorePermit>,
) {
    let worker = worker.clone();
    turns.spawn(async move {
        let place = match place {
            Some(place) => Some(place),
            None => tokio::time::timeout(SOON, worker.0.slots.take(1))
                .await
                .ok()
                .and_then(|mut taken| taken.pop()),
        };
        if place.is_some() {
            worker.take_turn(delivery).await;
        } else {
            delivery.give_back(None).await;
        }
        drop(place);
    });
}
