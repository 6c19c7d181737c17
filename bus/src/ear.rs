//! When to look at a stream: what is published on its subjects only says that something may be stored soon, or never.

use std::time::Duration;

use async_nats::Subscriber;
use futures::{FutureExt as _, StreamExt as _};

/// How long a stream is not looked at while nothing is heard of it.
const QUIET: Duration = Duration::from_secs(1);
/// After something was heard: how long to wait before each look.
const LOOKS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(2),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(200),
];

/// Listens, and says when to look.
#[derive(Debug)]
pub(crate) struct Ear {
    heard: Subscriber,
    /// Messages that were heard and not seen yet.
    owed: usize,
    /// How often it was looked since the last of them was heard.
    looked: usize,
}

impl Ear {
    /// The first look is at once.
    pub(crate) fn new(heard: Subscriber) -> Self {
        Self {
            heard,
            owed: 1,
            looked: 0,
        }
    }

    /// Waits until it is time to look. May be dropped at any time.
    pub(crate) async fn time_to_look(&mut self) {
        if self.owed == 0 || self.looked == LOOKS.len() {
            // A subscription that ended is heard of no more; then looking now and then has to do.
            let heard = tokio::time::timeout(QUIET, async {
                if self.heard.next().await.is_none() {
                    std::future::pending::<()>().await;
                }
            });
            self.owed = usize::from(heard.await.is_ok());
            self.looked = 0;
            while self.heard.next().now_or_never().flatten().is_some() {
                self.owed += 1;
            }
        }
        if let Some(wait) = LOOKS.get(self.looked) {
            tokio::time::sleep(*wait).await;
        }
        self.looked += 1;
    }

    /// So many messages were seen: those that were heard are looked for no more.
    pub(crate) fn saw(&mut self, messages: usize) {
        self.owed = self.owed.saturating_sub(messages);
    }
}
