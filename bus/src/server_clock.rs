//! What time the server has.

use std::time::{Duration, Instant};

use gatewright_schemas::Timestamp;

use crate::{
    Fleet,
    bucket::stream_of,
    clock,
    layout::{LayoutError, unavailable},
    retry::Retry,
};

const WHAT: &str = "ask for the server's time";

/// Begins the keys of the quotas' bucket that are no quota's: nothing but when they were stored is of interest.
/// No counter's key begins so: what follows on a `=` there is two hexadecimal digits.
pub(crate) const STAMPED: &str = "=stamped.";

/// How long a replica that lags is waited for.
const CATCHES_UP: Duration = Duration::from_secs(5);

/// How far two clocks are apart, as one request can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockDifference {
    /// By how many microseconds the server's clock is ahead of ours.
    pub ahead_us: i64,
    /// How far off that may be: half of what the request took.
    pub uncertainty_us: i64,
}

impl ClockDifference {
    /// `theirs` was the server's time between `sent` and `received`.
    fn new(theirs: Timestamp, sent: Timestamp, received: Timestamp) -> Self {
        let (sent, received) = (sent.as_micros(), received.as_micros());
        Self {
            ahead_us: theirs.as_micros() - i64::midpoint(sent, received),
            uncertainty_us: (received - sent) / 2,
        }
    }
}

impl Fleet {
    /// Compares this machine's clock with that of the server which keeps the stream of events.
    ///
    /// For whoever may ask how that stream is: a worker may not.
    pub async fn clock_difference(&self) -> Result<ClockDifference, LayoutError> {
        let sent = clock::now();
        let subject = format!("$JS.API.STREAM.INFO.{}", self.names.events());
        let answer = self
            .client
            .request(subject, bytes::Bytes::new())
            .await
            .map_err(|error| unavailable(WHAT, &error))?;
        let received = clock::now();
        let answer: serde_json::Value = serde_json::from_slice(&answer.payload)
            .map_err(|_| no_time("the answer is no JSON", false))?;
        let theirs = answer
            .get("ts")
            .and_then(|ts| ts.as_str()?.parse().ok())
            .ok_or_else(|| no_time("the answer tells no time", false))?;
        Ok(ClockDifference::new(theirs, sent, received))
    }

    /// Compares this machine's clock with the time that the server which keeps the quotas stamps on a message.
    ///
    /// For whoever may write there: workers.
    pub(crate) async fn stamped_difference(&self) -> Result<ClockDifference, LayoutError> {
        let quotas = self.names.quota_bucket();
        let key = format!("{STAMPED}{}", self.writer);
        let sent = clock::now();
        let bucket = self.bucket(quotas.clone());
        let stored = bucket.put(&key, bytes::Bytes::new()).await;
        let stored = stored.map_err(|error| error.told(WHAT))?;
        let received = clock::now();
        let (asked, mut retry) = (Instant::now(), Retry::for_conflicts());
        loop {
            let message = self.message_at(&stream_of(&quotas), stored).await;
            match message.map_err(|reason| no_time(&reason, true))? {
                Some(message) => {
                    return Ok(ClockDifference::new(message.time.into(), sent, received));
                }
                None if asked.elapsed() > CATCHES_UP => {
                    return Err(no_time("what was stored cannot be seen", true));
                }
                None => retry.wait().await,
            }
        }
    }
}

fn no_time(reason: &str, transient: bool) -> LayoutError {
    LayoutError::Unavailable {
        what: WHAT.to_owned(),
        reason: reason.to_owned(),
        transient,
    }
}
