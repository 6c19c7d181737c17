//! A bucket of KV, watched for a local copy: read page by page, again whenever something is published to it.
//!
//! Not by a consumer, as the client library does it: whoever may make one says where it delivers to.

use std::convert::Infallible;

use crate::{
    Fleet,
    bucket::{Entry, stream_of},
    ear::Ear,
    layout::{LayoutError, unavailable},
    pages::From,
    retry::Retry,
};

/// Entries asked for at a time.
const PAGE: usize = 250;

impl Fleet {
    /// Hands over every entry of the bucket as it is, then every change of one, in the order in which they were made.
    ///
    /// Over another connection, and after a fault, it begins again: it tells everything anew, also what was deleted,
    /// and nothing needs to be forgotten before.
    pub(crate) async fn watch_bucket(
        &self,
        bucket: &str,
        mut take: impl FnMut(Entry),
    ) -> Infallible {
        let mut retry = Retry::for_servers();
        loop {
            let watched = self
                .watch_bucket_once(bucket, |entry| {
                    retry = Retry::for_servers();
                    take(entry);
                })
                .await;
            if let Err(error) = watched {
                tracing::warn!(%error, bucket, "a bucket cannot be watched, trying again");
                retry.wait().await;
            }
        }
    }

    /// Watches until the connection is another one: the server may have lost its tail, and give its numbers again.
    async fn watch_bucket_once(
        &self,
        bucket: &str,
        mut take: impl FnMut(Entry),
    ) -> Result<(), LayoutError> {
        let what = format!("watch the bucket `{bucket}`");
        let connection = self.times_connected();
        let heard = self.client.subscribe(format!("$KV.{bucket}.>")).await;
        let mut ear = Ear::new(heard.map_err(|error| unavailable(&what, &error))?);
        let mut next = 1;
        while connection == self.times_connected() {
            ear.time_to_look().await;
            let page = self.entries(bucket, &mut next, &mut take).await;
            ear.saw(page.map_err(|reason| LayoutError::Unavailable {
                what: what.clone(),
                reason,
                transient: true,
            })?);
        }
        Ok(())
    }

    /// Hands over every entry of the bucket as it is now, in the order of their changes.
    pub(crate) async fn entries_now(
        &self,
        bucket: &str,
        mut take: impl FnMut(Entry),
    ) -> Result<(), String> {
        self.entries(bucket, &mut 1, &mut take).await.map(|_| ())
    }

    /// Hands over what was changed from the revision `next` on, and moves that on; answers with how many that were.
    async fn entries(
        &self,
        bucket: &str,
        next: &mut u64,
        take: &mut impl FnMut(Entry),
    ) -> Result<usize, String> {
        let (stream, filter) = (stream_of(bucket), format!("$KV.{bucket}.>"));
        let mut seen = 0;
        loop {
            // Not in turn with those who read histories: a gate's copy must not get old for their sake.
            let page = self.read_page(&stream, &filter, From::Seq(*next), PAGE);
            let page = page.await?;
            for message in &page {
                *next = message.sequence + 1;
                if let Some(entry) = Entry::read(bucket, message) {
                    take(entry);
                }
            }
            seen += page.len();
            if page.len() < PAGE {
                return Ok(seen);
            }
        }
    }
}
