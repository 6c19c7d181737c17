//! Messages of a stream by direct get: one, or a page of many of one filter for one request (server 2.11).
//!
//! It needs no consumer, and hence no permission to make one.

use async_nats::{Message, StatusCode, Subscriber, jetstream::message::StreamMessage};
use futures::StreamExt as _;
use gatewright_schemas::Timestamp;
use serde::Serialize;

use crate::Fleet;

/// How long the server may be silent within a page.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Pages that one process asks for at once. The server searches them one after the other, each for milliseconds:
/// more of them would wait there, and be given up before their turn.
pub(crate) const AT_ONCE: usize = 32;

const NO_CONTENT: u16 = 204;
const NOT_FOUND: u16 = 404;

/// Where a page begins.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum From {
    /// At this sequence.
    Seq(u64),
    /// At the first message that was stored at this time or later.
    StartTime(Timestamp),
}

#[derive(Serialize)]
struct Request<'a> {
    #[serde(flatten)]
    from: From,
    next_by_subj: &'a str,
    batch: usize,
}

impl Fleet {
    /// Up to `most` (1,000) messages of `stream` that match `filter`, from the sequence `from` on; fewer only at the end.
    pub(crate) async fn page(
        &self,
        stream: &str,
        filter: &str,
        from: u64,
        most: usize,
    ) -> Result<Vec<StreamMessage>, String> {
        self.page_from(stream, filter, From::Seq(from), most).await
    }

    /// [`page`](Self::page) from anywhere on.
    pub(crate) async fn page_from(
        &self,
        stream: &str,
        filter: &str,
        from: From,
        most: usize,
    ) -> Result<Vec<StreamMessage>, String> {
        let turn = self.page_turns.acquire().await;
        let _turn = turn.map_err(|error| error.to_string())?;
        self.read_page(stream, filter, from, most).await
    }

    /// [`page_from`](Self::page_from) without waiting for one's turn.
    pub(crate) async fn read_page(
        &self,
        stream: &str,
        filter: &str,
        from: From,
        most: usize,
    ) -> Result<Vec<StreamMessage>, String> {
        let request = Request {
            from,
            next_by_subj: filter,
            batch: most,
        };
        let request = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
        let mut answers = self.direct_get(stream, request).await?;
        let mut page = Vec::new();
        loop {
            let message = next(&mut answers).await?;
            match message.status {
                None => page.push(in_stream(message)?),
                // End of the page, and nothing (more) that matches.
                Some(status) if [NO_CONTENT, NOT_FOUND].contains(&status.as_u16()) => {
                    return Ok(page);
                }
                Some(status) => return Err(refused(stream, status, message.description)),
            }
            if page.len() == most {
                return Ok(page);
            }
        }
    }

    /// The message of `stream` with this sequence; none when there is none.
    pub(crate) async fn message_at(
        &self,
        stream: &str,
        sequence: u64,
    ) -> Result<Option<StreamMessage>, String> {
        let request =
            serde_json::to_vec(&From::Seq(sequence)).map_err(|error| error.to_string())?;
        let mut answers = self.direct_get(stream, request).await?;
        let message = next(&mut answers).await?;
        match message.status {
            None => in_stream(message).map(Some),
            Some(status) if status.as_u16() == NOT_FOUND => Ok(None),
            Some(status) => Err(refused(stream, status, message.description)),
        }
    }

    /// Asks, and hears the answers in an inbox of their own: the server forgets whom it answers once that is gone.
    async fn direct_get(&self, stream: &str, request: Vec<u8>) -> Result<Subscriber, String> {
        let inbox = self.client.new_inbox();
        let answers = self.client.subscribe(inbox.clone()).await;
        let answers = answers.map_err(|error| error.to_string())?;
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        let asked = self
            .client
            .publish_with_reply(subject, inbox, request.into());
        asked.await.map_err(|error| error.to_string())?;
        Ok(answers)
    }
}

async fn next(answers: &mut Subscriber) -> Result<Message, String> {
    tokio::time::timeout(PATIENCE, answers.next())
        .await
        .map_err(|_| "no answer in time".to_owned())?
        .ok_or_else(|| "the connection was closed".to_owned())
}

fn refused(stream: &str, status: StatusCode, why: Option<String>) -> String {
    match status {
        StatusCode::NO_RESPONDERS => format!("nobody serves the stream `{stream}`"),
        status => format!("the server answered {status} {}", why.unwrap_or_default()),
    }
}

/// The message as it stands in the stream: direct gets tell that in headers.
fn in_stream(message: Message) -> Result<StreamMessage, String> {
    StreamMessage::try_from(message).map_err(|error| error.to_string())
}
