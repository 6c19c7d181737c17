//! What time the server has.

use gatewright_schemas::Timestamp;

use crate::{
    Fleet, clock,
    layout::{LayoutError, unavailable},
};

/// How far two clocks are apart, as one request can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockDifference {
    /// By how many microseconds the server's clock is ahead of ours.
    pub ahead_us: i64,
    /// How far off that may be: half of what the request took.
    pub uncertainty_us: i64,
}

impl Fleet {
    /// Compares this machine's clock with that of the server which keeps the stream of events.
    pub async fn clock_difference(&self) -> Result<ClockDifference, LayoutError> {
        let what = "ask for the server's time";
        let unreadable = |reason: &str| LayoutError::Unavailable {
            what: what.to_owned(),
            reason: reason.to_owned(),
            transient: false,
        };
        let sent = clock::now().as_micros();
        let subject = format!("$JS.API.STREAM.INFO.{}", self.names.events());
        let answer = self
            .client
            .request(subject, bytes::Bytes::new())
            .await
            .map_err(|error| unavailable(what, &error))?;
        let received = clock::now().as_micros();
        let answer: serde_json::Value = serde_json::from_slice(&answer.payload)
            .map_err(|_| unreadable("the answer is no JSON"))?;
        let theirs: Timestamp = answer
            .get("ts")
            .and_then(|ts| ts.as_str()?.parse().ok())
            .ok_or_else(|| unreadable("the answer tells no time"))?;
        Ok(ClockDifference {
            ahead_us: theirs.as_micros() - i64::midpoint(sent, received),
            uncertainty_us: (received - sent) / 2,
        })
    }
}
