//! Group commit: where the server syncs every message to disk before it answers, messages to one stream share one sync.
//!
//! An atomic batch carries appends of different runs, each with its own fence and id, or wake-ups of different runs,
//! and costs one sync whatever its size.
//! While one group is under way the next one gathers; a message that is alone goes alone.
//! One stale fence (10071), or one message that is stored already (10201), rejects a whole group.
//! Then its members are sent one by one, and each gets its own answer.

use std::collections::HashSet;

use async_nats::{
    Client, HeaderMap, client::RequestErrorKind, header::NATS_MESSAGE_ID, jetstream::ErrorCode,
};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::{Attempt, FENCE_FILTER, Outgoing, attempt_of_code};

/// Members of a group at most. The server's own limit is 1,000.
const MOST: usize = 400;
/// Groups of one stream are handled one after the other by the server, so a second one in flight only fills the pipe.
const IN_FLIGHT: usize = 2;
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

type Waiting = (Outgoing, oneshot::Sender<Attempt>);

/// The way to one stream of messages that go in groups. Cheap to clone.
#[derive(Debug, Clone)]
pub struct GroupCommit(mpsc::UnboundedSender<Waiting>);

/// The server's answer to a publish.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    error: Option<AnswerError>,
}

#[derive(Debug, Deserialize)]
struct AnswerError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl GroupCommit {
    /// Starts gathering, until every clone is dropped.
    pub(crate) fn start(client: Client) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(gather(client, receiver));
        Self(sender)
    }

    /// Sends a message with the next group.
    pub(crate) async fn send(&self, outgoing: Outgoing) -> Attempt {
        let (answer, answered) = oneshot::channel();
        if self.0.send((outgoing, answer)).is_err() {
            return Attempt::Unknown("the connection is being closed".into());
        }
        answered
            .await
            .unwrap_or_else(|_| Attempt::Unknown("the group was abandoned".into()))
    }
}

async fn gather(client: Client, mut waiting: mpsc::UnboundedReceiver<Waiting>) {
    let mut left = Vec::new();
    let slots = std::sync::Arc::new(tokio::sync::Semaphore::new(IN_FLIGHT));
    loop {
        let Ok(slot) = std::sync::Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let mut group = std::mem::take(&mut left);
        if group.is_empty() && waiting.recv_many(&mut group, MOST).await == 0 {
            return;
        }
        left = one_of_each(&mut group);
        let client = client.clone();
        tokio::spawn(async move {
            send_group(&client, group).await;
            drop(slot);
        });
    }
}

/// Keeps the first append of each run, or the first message of each id, in the group, and hands back the others for a later one.
///
/// The server checks a fence's filter once a batch: of two members with the same fence it would store both, and fork the run.
fn one_of_each(group: &mut Vec<Waiting>) -> Vec<Waiting> {
    let mut seen = HashSet::new();
    let (first, again) = std::mem::take(group)
        .into_iter()
        .partition(|(outgoing, _)| {
            let headers = &outgoing.headers;
            let what = headers
                .get(FENCE_FILTER)
                .or_else(|| headers.get(NATS_MESSAGE_ID));
            what.is_none_or(|what| seen.insert(what.as_str().to_owned()))
        });
    *group = first;
    again
}

async fn send_group(client: &Client, group: Vec<Waiting>) {
    if group.len() > 1 {
        let messages: Vec<&Outgoing> = group.iter().map(|(outgoing, _)| outgoing).collect();
        match send_batch(client, &messages).await {
            Attempt::Stored(last) => {
                // Members are stored one after the other; the answer names the last.
                let first = last + 1 - group.len() as u64;
                for (sequence, (_, answer)) in (first..).zip(group) {
                    let _ = answer.send(Attempt::Stored(sequence));
                }
                return;
            }
            // Nobody knows: every member asks again under its own id.
            Attempt::Unknown(why) if why == TIMED_OUT => {
                for (_, answer) in group {
                    let _ = answer.send(Attempt::Unknown(why.clone()));
                }
                return;
            }
            Attempt::SequenceMoved | Attempt::Unknown(_) | Attempt::Refused(_) => {}
        }
    }
    let alone = group.into_iter().map(|(outgoing, answer)| async move {
        let attempt = request(client, &outgoing, outgoing.headers.clone()).await;
        let _ = answer.send(attempt);
    });
    futures::future::join_all(alone).await;
}

/// Sends the members as one atomic batch.
async fn send_batch(client: &Client, members: &[&Outgoing]) -> Attempt {
    let id = crate::clock::fresh_id();
    let headers = |place: usize, member: &Outgoing| {
        let mut headers = member.headers.clone();
        headers.insert("Nats-Batch-Id", id.as_str());
        headers.insert("Nats-Batch-Sequence", (place + 1).to_string());
        headers
    };
    let Some((last, before)) = members.split_last() else {
        return Attempt::Unknown("empty".into());
    };
    for (place, member) in before.iter().enumerate() {
        let published = client
            .publish_with_headers(
                member.subject.clone(),
                headers(place, member),
                member.payload.clone(),
            )
            .await;
        if let Err(error) = published {
            return Attempt::Unknown(error.to_string());
        }
    }
    let mut headers = headers(before.len(), last);
    headers.insert("Nats-Batch-Commit", "1");
    request(client, last, headers).await
}

const TIMED_OUT: &str = "no answer in time";

async fn request(client: &Client, outgoing: &Outgoing, headers: HeaderMap) -> Attempt {
    let request = client.send_request(
        outgoing.subject.clone(),
        async_nats::Request::new()
            .headers(headers)
            .payload(outgoing.payload.clone())
            .timeout(Some(TIMEOUT)),
    );
    let message = match request.await {
        Ok(message) => message,
        Err(error) if error.kind() == RequestErrorKind::TimedOut => {
            return Attempt::Unknown(TIMED_OUT.into());
        }
        Err(error) if error.kind() == RequestErrorKind::MaxPayloadExceeded => {
            return Attempt::Refused(error.to_string());
        }
        Err(error) => return Attempt::Unknown(error.to_string()),
    };
    match serde_json::from_slice::<Answer>(&message.payload) {
        Ok(Answer {
            error: Some(error), ..
        }) => attempt_of_code(ErrorCode(error.err_code), &error.description),
        Ok(Answer { seq, .. }) if seq > 0 => Attempt::Stored(seq),
        Ok(_) | Err(_) => Attempt::Unknown("the server's answer cannot be read".into()),
    }
}
