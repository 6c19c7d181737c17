//! The fleet as a program in another language sees it: plain NATS, plain JSON, none of this project's code.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_nats::{
    Client, HeaderMap, Subscriber,
    jetstream::{
        self, Context,
        consumer::{DeliverPolicy, pull},
    },
};
use futures::StreamExt as _;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(10);

/// A client of the NATS server.
pub struct Outsider {
    /// Its connection.
    pub client: Client,
    /// Its JetStream.
    pub jetstream: Context,
}

/// A message of a stream as it is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its sequence.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// Its message id.
    pub id: Option<String>,
    /// What it says.
    pub body: Value,
}

/// What a service was asked.
#[derive(Debug, Default)]
pub struct Served(Arc<Mutex<HeaderMap>>);

impl Served {
    /// The headers of the last request.
    pub fn last(&self) -> HeaderMap {
        self.0.lock().unwrap().clone()
    }
}

impl Outsider {
    /// Connects.
    pub async fn connect(url: &str) -> Self {
        let client = async_nats::connect(url).await.unwrap();
        let jetstream = jetstream::new(client.clone());
        Self { client, jetstream }
    }

    /// Publishes and waits until the server has it.
    pub async fn publish(&self, subject: &str, payload: impl Into<Vec<u8>>) {
        self.publish_with(subject, HeaderMap::new(), payload).await;
    }

    /// Publishes with headers and waits until the server has it.
    pub async fn publish_with(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: impl Into<Vec<u8>>,
    ) {
        let payload: Vec<u8> = payload.into();
        let stored = self
            .jetstream
            .publish_with_headers(subject.to_owned(), headers, payload.into())
            .await;
        stored.unwrap().await.unwrap();
    }

    /// Listens on a subject.
    pub async fn subscribe(&self, subject: &str) -> Subscriber {
        let subscription = self.client.subscribe(subject.to_owned()).await.unwrap();
        self.client.flush().await.unwrap();
        subscription
    }

    /// Listens on a subject and answers requests, for as long as this program runs.
    ///
    /// `answer` gives the reply, or nothing for none at all, or an error's text.
    pub async fn serve(
        &self,
        subject: &str,
        answer: impl Fn(Value) -> Result<Option<String>, String> + Send + 'static,
    ) -> Served {
        let mut requests = self.subscribe(subject).await;
        let served = Served::default();
        let (client, headers) = (self.client.clone(), Arc::clone(&served.0));
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                *headers.lock().unwrap() = request.headers.unwrap_or_default();
                let question = serde_json::from_slice(&request.payload).unwrap_or_default();
                let mut told = HeaderMap::new();
                let reply = match answer(question) {
                    Ok(None) => continue,
                    Ok(Some(reply)) => reply,
                    Err(text) => {
                        told.insert("Nats-Service-Error", text);
                        told.insert("Nats-Service-Error-Code", "500");
                        String::new()
                    }
                };
                let inbox = request.reply.unwrap();
                client
                    .publish_with_headers(inbox, told, reply.into())
                    .await
                    .unwrap();
            }
        });
        served
    }

    /// What a consumer of `stream` with this filter gets: everything that is stored for it now.
    pub async fn stored(&self, stream: &str, filter: &str) -> Vec<Stored> {
        let stream = self.jetstream.get_stream(stream).await.unwrap();
        let config = pull::OrderedConfig {
            filter_subject: filter.to_owned(),
            deliver_policy: DeliverPolicy::All,
            ..pull::OrderedConfig::default()
        };
        let mut consumer = stream.create_consumer(config).await.unwrap();
        let mut pending = consumer.info().await.unwrap().num_pending;
        let mut messages = consumer.messages().await.unwrap();
        let mut stored = Vec::new();
        while pending > 0 {
            let message = next(&mut messages).await.unwrap();
            let info = message.info().unwrap();
            pending = info.pending;
            let id = message.headers.as_ref().and_then(|h| h.get("Nats-Msg-Id"));
            stored.push(Stored {
                sequence: info.stream_sequence,
                subject: message.subject.to_string(),
                id: id.map(|id| id.as_str().to_owned()),
                body: serde_json::from_slice(&message.payload).unwrap_or_default(),
            });
        }
        stored
    }

    /// Whether a stream, also a work queue, holds a message of this subject.
    pub async fn holds(&self, stream: &str, subject: &str) -> bool {
        let stream = self.jetstream.get_stream(stream).await.unwrap();
        stream.direct_get_last_for_subject(subject).await.is_ok()
    }

    /// How many messages a stream, also a work queue, holds of these subjects.
    pub async fn count_of(&self, stream: &str, filter: &str) -> usize {
        let stream = self.jetstream.get_stream(stream).await.unwrap();
        let subjects = stream.info_with_subjects(filter).await.unwrap();
        let counts = subjects.map(|subject| subject.unwrap().1);
        counts
            .fold(0, |sum, count| async move { sum + count })
            .await
    }

    /// How many messages a stream holds.
    pub async fn count(&self, stream: &str) -> u64 {
        let mut stream = self.jetstream.get_stream(stream).await.unwrap();
        stream.info().await.unwrap().state.messages
    }
}

/// The next of a stream of messages, which must come soon.
pub async fn next<T>(messages: &mut (impl futures::Stream<Item = T> + Unpin)) -> T {
    tokio::time::timeout(PATIENCE, messages.next())
        .await
        .expect("a message comes")
        .expect("the subscription lasts")
}
