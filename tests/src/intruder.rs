//! Somebody who has a role's credential and is up to no good.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use gatewright_bus::permissions::Role;
use tokio::sync::mpsc;

use crate::Fleetlet;

/// How long the server may take to say that it refuses.
const SOON: Duration = Duration::from_secs(20);

/// A client with a credential and none of this project's code, and what the server refuses it.
pub struct Intruder {
    /// Its connection.
    pub client: Client,
    refused: mpsc::UnboundedReceiver<String>,
}

impl Intruder {
    /// Connects with the credential of `role` under this name.
    pub async fn connect(fleet: &Fleetlet, name: &str, role: &Role) -> Self {
        // The seed is known to the server once the fleet's own client was let in with it.
        fleet.join(name, role).await;
        let seed = std::fs::read_to_string(fleet.nkey(name, role)).unwrap();
        let (tell, refused) = mpsc::unbounded_channel();
        let client = ConnectOptions::with_nkey(seed)
            .custom_inbox_prefix(format!("_INBOX.{name}"))
            .event_callback(move |event| {
                let tell = tell.clone();
                async move {
                    if let Event::ServerError(error) = event {
                        let _ = tell.send(error.to_string().to_lowercase());
                    }
                }
            })
            .connect(fleet.nats.url())
            .await
            .unwrap();
        Self { client, refused }
    }

    /// Waits until the server has refused this.
    async fn is_refused(&mut self, what: &str, subject: &str) {
        let wanted = format!("{what} \"{subject}\"").to_lowercase();
        let refusal = tokio::time::timeout(SOON, self.refused.recv()).await;
        let refusal = refusal.unwrap_or_else(|_| panic!("{wanted} was not refused"));
        let refusal = refusal.unwrap();
        assert!(
            refusal.contains("permissions violation") && refusal.contains(&wanted),
            "{wanted}: {refusal}"
        );
    }

    /// Publishes, and waits until the server has refused it.
    pub async fn cannot_publish(&mut self, subject: &str) {
        let payload = "{}".into();
        self.client
            .publish(subject.to_owned(), payload)
            .await
            .unwrap();
        self.client.flush().await.unwrap();
        self.is_refused("publish to", subject).await;
    }

    /// Listens, and waits until the server has refused it.
    pub async fn cannot_hear(&mut self, subject: &str) {
        let _kept = self.client.subscribe(subject.to_owned()).await.unwrap();
        self.client.flush().await.unwrap();
        self.is_refused("subscription to", subject).await;
    }

    /// Publishes what it may, and gets the server's answer.
    pub async fn stores(&self, subject: &str) {
        let answer = self.client.request(subject.to_owned(), "{}".into()).await;
        let answer: serde_json::Value = serde_json::from_slice(&answer.unwrap().payload).unwrap();
        assert!(answer["seq"].is_u64(), "{subject}: {answer}");
    }

    /// Publishes and has the answer go somewhere else.
    pub async fn asks_for(&self, subject: &str, elsewhere: &str, payload: &str) {
        let (subject, elsewhere) = (subject.to_owned(), elsewhere.to_owned());
        let payload = payload.to_owned().into();
        let asked = self.client.publish_with_reply(subject, elsewhere, payload);
        asked.await.unwrap();
    }
}
