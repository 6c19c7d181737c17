//! A bucket of KV, watched for a local copy.

use std::convert::Infallible;

use async_nats::jetstream::kv::Entry;
use futures::StreamExt as _;

use crate::{
    Fleet,
    layout::{LayoutError, unavailable},
    retry::Retry,
};

impl Fleet {
    /// Hands over every entry of the bucket as it is, then every change of one.
    ///
    /// A watch that broke begins again, and tells everything anew, also what was deleted: nothing needs to be forgotten before.
    pub(crate) async fn watch_bucket(
        &self,
        bucket: &str,
        mut take: impl FnMut(Entry),
    ) -> Infallible {
        let mut retry = Retry::for_servers();
        loop {
            let watch = async {
                let what = format!("watch the bucket `{bucket}`");
                let opened = self.jetstream.get_key_value(bucket).await;
                let opened = opened.map_err(|error| unavailable(&what, &error))?;
                let watch = opened.watch_with_history(">").await;
                watch.map_err(|error| unavailable(&what, &error))
            };
            let watch: Result<_, LayoutError> = watch.await;
            match watch {
                Ok(mut entries) => {
                    while let Some(entry) = entries.next().await {
                        match entry {
                            Ok(entry) => {
                                retry = Retry::for_servers();
                                take(entry);
                            }
                            Err(error) => {
                                tracing::warn!(%error, bucket, "a watch broke, starting it again");
                                break;
                            }
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, bucket, "a bucket cannot be watched, trying again");
                }
            }
            retry.wait().await;
        }
    }
}
