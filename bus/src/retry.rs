//! How everything that may be tried again is tried again: exponential back-off with jitter.
//!
//! The one module that names `backoff`, whose exponential schedule it uses and whose futures it does not.

use std::{error::Error, future::Future, time::Duration};

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff as _};

/// A schedule of waits.
#[derive(Debug)]
pub struct Retry(ExponentialBackoff);

impl Retry {
    /// Waits from `first` up to `most` between attempts, without end.
    pub fn forever(first: Duration, most: Duration) -> Self {
        let schedule = ExponentialBackoffBuilder::new()
            .with_initial_interval(first)
            .with_max_interval(most)
            .with_multiplier(2.0)
            .with_randomization_factor(0.3)
            .with_max_elapsed_time(None)
            .build();
        Self(schedule)
    }

    /// For servers that are away: from 100 milliseconds up to 2 seconds, without end.
    pub fn for_servers() -> Self {
        Self::forever(Duration::from_millis(100), Duration::from_secs(2))
    }

    /// For conflicts that clear by themselves: from 2 up to 200 milliseconds, without end.
    pub fn for_conflicts() -> Self {
        Self::forever(Duration::from_millis(2), Duration::from_millis(200))
    }

    /// How long to wait before the next attempt.
    pub fn next_wait(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }

    /// Waits before the next attempt.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next_wait()).await;
    }

    /// Runs `attempt` until it succeeds or fails for good, as `may_retry` tells, and says in the log what it waits for.
    pub async fn run<T, E: Error, F: Future<Output = Result<T, E>>>(
        mut self,
        what: &str,
        may_retry: impl Fn(&E) -> bool,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, E> {
        loop {
            match attempt().await {
                Err(error) if may_retry(&error) => {
                    let wait = self.next_wait();
                    let error = told(&error);
                    tracing::warn!(%error, retry_in_ms = wait.as_millis(), "{what} failed, trying again");
                    tokio::time::sleep(wait).await;
                }
                result => return result,
            }
        }
    }
}

/// The error and its causes in one sentence.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some say themselves what their cause says.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
