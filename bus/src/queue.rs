//! The queue: runs are woken here, and workers take them.
//!
//! A message means only "wake this run". It is acknowledged after the run's terminal or parking commit is stored, and not before;
//! a worker that is fenced neither acknowledges nor gives back. What a late acknowledgement of a zombie takes away, the reconciler mends.

use std::{collections::HashSet, pin::pin, time::Duration};

use async_nats::{
    HeaderMap, Request, StatusCode, Subscriber,
    client::RequestErrorKind,
    connection::State,
    header::NATS_MESSAGE_ID,
    jetstream::{AckKind, Message, consumer::pull},
};
use futures::{FutureExt as _, StreamExt as _};
use gatewright_schemas::{Lane, RunId, Timestamp, TraceContext, Wake, WorkspaceId, Zone};
use serde::Serialize;

use crate::{
    Fleet,
    append::{Attempt, GroupCommit, Outgoing},
    clock,
    layout::{ACK_WAIT, LayoutError, unavailable},
    retry::Retry,
    trace,
};

/// How often a worker says that it still holds a run.
pub const EXTEND_EVERY: Duration = Duration::from_secs(ACK_WAIT.as_secs() / 3);

/// Messages of the queue that are looked at in one request.
const PAGE: usize = 500;

/// How long a pull request waits at the server for a message: so long the wake-ups that come may be handed to a worker that is gone.
///
/// A server alone notices that nobody waits for the answer any more. In a cluster, of a worker in an account of its own, it does not.
pub const LONG_POLL: Duration = Duration::from_secs(20);

/// How long an answer that needs no waiting may take.
const AT_ONCE: Duration = Duration::from_secs(5);

/// How often a pull request that waits looks whether its connection is still the one it went out on.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// No request for wake-ups: the beginning of one.
const NO_REQUEST: &str = "{";
const BAD_REQUEST: u16 = 400;

/// A request for wake-ups, as the server reads it. The client library makes them too, but asks about the consumer first,
/// which a worker's account may not (`docs/adr/0017-credentials-per-role.md`).
#[derive(Serialize)]
struct Pull {
    /// How many at most.
    batch: usize,
    /// Whether to answer at once, with those that wait.
    no_wait: bool,
    /// Otherwise how long the request is good for, in nanoseconds.
    expires: u64,
}

/// A wake-up that a worker was handed, and its lease on the run.
#[derive(Debug)]
pub struct Delivery {
    message: Message,
    /// Its sequence in the queue: the lease's name in the run's history.
    pub sequence: u64,
    /// How often it was handed out, this time included.
    pub delivered: i64,
    /// When the server stored it.
    pub stored_at: Timestamp,
    /// The zone it came through.
    pub zone: Zone,
    /// Where in a trace the run was woken.
    pub trace: Option<TraceContext>,
    /// What it says; otherwise what is wrong with it.
    pub wake: Result<Wake, String>,
}

/// The consumer of one zone and lane.
#[derive(Debug, Clone)]
pub struct Queue {
    /// The zone.
    pub zone: Zone,
    /// The lane.
    pub lane: Lane,
    fleet: Fleet,
}

/// Why no wake-ups come.
#[derive(Debug, thiserror::Error)]
#[error("cannot take runs from the queue `{zone}`/`{lane}`: {reason}")]
pub struct PullError {
    zone: Zone,
    lane: Lane,
    reason: String,
}

/// The server refuses a message for good.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NeverStored;

impl Fleet {
    /// Joins the workers of a zone and lane.
    pub async fn queue(&self, zone: Zone, lane: Lane) -> Result<Queue, LayoutError> {
        let queue = Queue {
            zone,
            lane,
            fleet: self.clone(),
        };
        queue.check().await?;
        Ok(queue)
    }

    /// Wakes a run. For the same state of the run and the same `reason` it is queued once, however often this is called within half a minute.
    ///
    /// Goes on until the server has it.
    pub async fn wake(&self, zone: Zone, lane: Lane, wake: &Wake, reason: &str) {
        let subject = self.names.wake(zone, lane);
        let mut headers = HeaderMap::new();
        let Wake {
            workspace_id,
            run_id,
            seen,
            ..
        } = wake;
        headers.insert(
            NATS_MESSAGE_ID,
            format!("{workspace_id}.{run_id}.{seen}.{reason}"),
        );
        trace::put_current(&mut headers);
        let publish = async |wake: &Wake| {
            // Derived serialisers of plain structs with string keys have no way to fail.
            let payload = serde_json::to_vec(wake).unwrap_or_default();
            let outgoing = Outgoing {
                subject: subject.clone(),
                headers: headers.clone(),
                payload: payload.into(),
            };
            self.send_until_stored(outgoing, self.wake_groups.as_ref())
                .await
        };
        if publish(wake).await.is_err() && wake.hint.is_some() {
            // The hint only saves the worker a look at the history.
            let bare = Wake {
                hint: None,
                ..wake.clone()
            };
            let _ = publish(&bare).await;
        }
    }

    /// Publishes until the server has it. With a message id the message is stored once.
    pub(crate) async fn publish_until_stored(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: bytes::Bytes,
    ) -> Result<(), NeverStored> {
        let outgoing = Outgoing {
            subject: subject.to_owned(),
            headers,
            payload,
        };
        self.send_until_stored(outgoing, None).await
    }

    async fn send_until_stored(
        &self,
        outgoing: Outgoing,
        groups: Option<&GroupCommit>,
    ) -> Result<(), NeverStored> {
        let subject = &outgoing.subject;
        let mut retry = Retry::for_servers();
        loop {
            let attempt = match groups {
                Some(groups) => groups.send(outgoing.clone()).await,
                None => self.send(&outgoing).await,
            };
            match attempt {
                Attempt::Stored(_) => return Ok(()),
                // No repetition helps, and whoever waits for it would wait for ever.
                Attempt::Refused(reason) => {
                    tracing::error!(%subject, %reason, "the server will never store a message");
                    return Err(NeverStored);
                }
                Attempt::SequenceMoved => {
                    tracing::warn!(%subject, "a message is not stored yet, sending it again");
                }
                Attempt::Unknown(why) => {
                    tracing::warn!(%subject, %why, "a message is not stored yet, sending it again");
                }
            }
            retry.wait().await;
        }
    }

    /// Wake-ups that were handed out and not yet acknowledged, oldest first, `most` at most: what a dead worker may have held.
    pub async fn wakes_under_way(&self, most: usize) -> Result<Vec<Wake>, PullError> {
        let mut wakes = Vec::new();
        for (zone, lane) in crate::layout::zones_and_lanes() {
            let failed = |reason: String| PullError { zone, lane, reason };
            let stream = self
                .jetstream
                .get_stream_no_info(self.names.queue())
                .await
                .map_err(|error| failed(error.to_string()))?;
            let consumer = stream
                .get_consumer::<pull::Config>(&self.names.queue_consumer(zone, lane))
                .await
                .map_err(|error| failed(error.to_string()))?;
            let info = consumer.cached_info();
            if info.num_ack_pending == 0 {
                continue;
            }
            let handed_out = info.delivered.stream_sequence;
            let mut next = info.ack_floor.stream_sequence + 1;
            // The stream keeps only what is not acknowledged, so up to `handed_out` it is what is under way.
            while next <= handed_out && wakes.len() < most {
                let page = self
                    .page(
                        &self.names.queue(),
                        &self.names.wake(zone, lane),
                        next,
                        PAGE,
                    )
                    .await
                    .map_err(failed)?;
                let full = page.len() == PAGE;
                for message in page
                    .into_iter()
                    .filter(|message| message.sequence <= handed_out)
                {
                    next = message.sequence + 1;
                    if let Ok(wake) = Wake::read(&message.payload) {
                        wakes.push(wake);
                    }
                }
                if !full {
                    break;
                }
            }
        }
        Ok(wakes)
    }
}

/// The wake-ups of a zone's lane that have waited longest.
#[derive(Debug)]
pub struct LongestWaiting {
    runs: HashSet<(WorkspaceId, RunId)>,
    /// Everything that was stored before this is among them; none when that is all there is.
    up_to: Option<Timestamp>,
}

impl LongestWaiting {
    /// Whether a run that has waited since `since` has no wake-up: it would be among these.
    pub fn lack(&self, workspace: &WorkspaceId, run: &RunId, since: Timestamp) -> bool {
        let is_covered = self.up_to.is_none_or(|up_to| since.plus(ACK_WAIT) < up_to);
        is_covered && !self.runs.contains(&(workspace.clone(), run.clone()))
    }
}

impl Fleet {
    /// The wake-ups that have waited longest in a zone's lane, those included that are handed out.
    pub async fn longest_waiting(
        &self,
        zone: Zone,
        lane: Lane,
    ) -> Result<LongestWaiting, PullError> {
        let (stream, subject) = (self.names.queue(), self.names.wake(zone, lane));
        let page = self.page(&stream, &subject, 1, PAGE).await;
        let page = page.map_err(|reason| PullError { zone, lane, reason })?;
        let last = page.last().filter(|_| page.len() == PAGE);
        let up_to = last.map(|last| Timestamp::from(last.time));
        let wakes = page.iter().filter_map(|m| Wake::read(&m.payload).ok());
        let runs = wakes.map(|wake| (wake.workspace_id, wake.run_id)).collect();
        Ok(LongestWaiting { runs, up_to })
    }
}

impl Queue {
    /// Takes up to `most` wake-ups that wait already.
    pub async fn take(&self, most: usize) -> Result<Vec<Delivery>, PullError> {
        let request = Pull {
            batch: most,
            no_wait: true,
            expires: 0,
        };
        self.pull(&request, AT_ONCE).await
    }

    /// Waits for one wake-up, and answers with none after a while.
    pub async fn wait(&self) -> Result<Vec<Delivery>, PullError> {
        let request = Pull {
            batch: 1,
            no_wait: false,
            expires: LONG_POLL.as_secs() * 1_000_000_000,
        };
        self.pull(&request, LONG_POLL + AT_ONCE).await
    }

    /// Fails when the consumer is not there, or not for this credential.
    ///
    /// It is asked for something that it cannot understand: who gets its refusal could have got a wake-up.
    async fn check(&self) -> Result<(), LayoutError> {
        let client = &self.fleet.client;
        let what = format!("see the {}", self.named());
        let request = Request::new()
            .payload(NO_REQUEST.into())
            .timeout(Some(AT_ONCE));
        match client.send_request(self.subject(), request).await {
            Ok(answer)
                if answer
                    .status
                    .is_some_and(|status| status.as_u16() == BAD_REQUEST) =>
            {
                Ok(())
            }
            Ok(answer) => Err(LayoutError::Unavailable {
                what,
                reason: format!("it answered {:?}", answer.status),
                transient: false,
            }),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                Err(LayoutError::Missing { what: self.named() })
            }
            Err(_) if self.fleet.was_refused(&self.subject()) => Err(LayoutError::Unavailable {
                what,
                reason: "this credential may not take runs from it".into(),
                transient: false,
            }),
            Err(error) => Err(unavailable(&what, &error)),
        }
    }

    fn named(&self) -> String {
        let consumer = self.fleet.names.queue_consumer(self.zone, self.lane);
        let stream = self.fleet.names.queue();
        format!("the consumer `{consumer}` of the stream `{stream}`")
    }

    /// Where it is asked for wake-ups.
    fn subject(&self) -> String {
        let consumer = self.fleet.names.queue_consumer(self.zone, self.lane);
        let stream = self.fleet.names.queue();
        format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}")
    }

    async fn pull(&self, request: &Pull, patience: Duration) -> Result<Vec<Delivery>, PullError> {
        let connection = self.connection()?;
        let client = &self.fleet.client;
        let inbox = client.new_inbox();
        let answers = client.subscribe(inbox.clone()).await;
        let answers = answers.map_err(|error| self.failed(&error))?;
        let payload = serde_json::to_vec(request).map_err(|error| self.failed(&error))?;
        let asked = client.publish_with_reply(self.subject(), inbox, payload.into());
        asked.await.map_err(|error| self.failed(&error))?;
        self.collect(answers, request.batch, connection, patience)
            .await
    }

    /// The number of the connection that stands now.
    fn connection(&self) -> Result<u64, PullError> {
        match self.fleet.client.connection_state() {
            State::Connected => Ok(self.fleet.times_connected()),
            other => Err(self.failed(&format!("the connection to NATS is {other}"))),
        }
    }

    /// Waits until the connection is another one than `connection`.
    async fn is_replaced(&self, connection: u64) {
        while self.connection().is_ok_and(|now| now == connection) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The answers to a request for `most` wake-ups.
    async fn collect(
        &self,
        mut answers: Subscriber,
        most: usize,
        connection: u64,
        patience: Duration,
    ) -> Result<Vec<Delivery>, PullError> {
        let mut deliveries = Vec::new();
        let mut replaced = pin!(self.is_replaced(connection));
        let mut silent = pin!(tokio::time::sleep(patience));
        while deliveries.len() < most {
            let message = tokio::select! {
                biased;
                message = answers.next() => message,
                // The consumer's leader may be gone with the request.
                () = &mut silent => break,
                // The request went down with its connection: nothing may ever answer it. What came before it did is here.
                () = &mut replaced => match answers.next().now_or_never() {
                    Some(message) => message,
                    None if deliveries.is_empty() => {
                        return Err(self.failed(&"the connection to NATS was lost"));
                    }
                    None => break,
                },
            };
            let Some(message) = message else { break };
            let text = message.description.clone().unwrap_or_default();
            match message.status {
                None => deliveries.push(self.delivery(message)),
                // There are none, or none came.
                Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => break,
                // What came before the fault is leased to us already and must not be lost sight of.
                Some(status) if !deliveries.is_empty() => {
                    tracing::warn!(%status, %text, "a pull ended early");
                    break;
                }
                Some(status) => {
                    return Err(self.failed(&format!("the server answered {status} {text}")));
                }
            }
        }
        Ok(deliveries)
    }

    fn delivery(&self, message: async_nats::Message) -> Delivery {
        let message = Message {
            message,
            context: self.fleet.jetstream.clone(),
        };
        let (sequence, delivered, stored_at) = message.info().map_or_else(
            |_| (0, 1, clock::now()),
            |info| (info.stream_sequence, info.delivered, info.published.into()),
        );
        let wake = Wake::read(&message.payload).map_err(|error| error.to_string());
        Delivery {
            trace: trace::read(message.headers.as_ref()),
            message,
            sequence,
            delivered,
            stored_at,
            zone: self.zone,
            wake,
        }
    }

    fn failed(&self, error: &impl std::fmt::Display) -> PullError {
        PullError {
            zone: self.zone,
            lane: self.lane,
            reason: error.to_string(),
        }
    }
}

impl Delivery {
    /// The run went as far as it goes: forget the message. Only after the commit that says so is stored.
    pub async fn ack(&self) {
        self.settle(AckKind::Ack).await;
    }

    /// Still at it: do not hand the run to another worker.
    pub async fn extend(&self) {
        self.settle(AckKind::Progress).await;
    }

    /// Hand the run to another worker after `delay`.
    pub async fn give_back(&self, delay: Option<Duration>) {
        self.settle(AckKind::Nak(delay)).await;
    }

    /// Never hand the message out again. Only after it is kept as a dead letter.
    pub async fn discard(&self) {
        self.settle(AckKind::Term).await;
    }

    /// The message as it came.
    pub fn payload(&self) -> &[u8] {
        &self.message.payload
    }

    /// Where it was published.
    pub fn subject(&self) -> &str {
        &self.message.subject
    }

    /// A lost acknowledgement costs a redelivery, which finds the run's history as it is.
    async fn settle(&self, kind: AckKind) {
        if let Err(error) = self.message.ack_with(kind).await {
            tracing::warn!(%error, queue.sequence = self.sequence, "an acknowledgement was not sent");
        }
    }
}
