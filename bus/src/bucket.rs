//! Entries of KV buckets, one at a time.
//!
//! The client library opens a bucket by asking how its stream is set up. A worker's account may not ask that
//! (`docs/adr/0017-credentials-per-role.md`), and need not: what an entry is, is told by its subject and headers.

use std::time::Duration;

use async_nats::{
    HeaderMap, StatusCode,
    header::{
        NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MARKER_REASON, NATS_MESSAGE_TTL, NATS_ROLLUP,
    },
    jetstream::{
        context::{PublishError, PublishErrorKind},
        message::StreamMessage,
        stream::{DirectGetError, DirectGetErrorKind},
    },
};
use bytes::Bytes;

use crate::{
    Fleet,
    layout::{LayoutError, unavailable},
};

/// Says what was done to a key; a message without it puts a value.
const OPERATION: &str = "KV-Operation";
const PURGE: &str = "PURGE";
const DELETE: &str = "DEL";

/// A bucket of this fleet.
pub(crate) struct Bucket<'a> {
    fleet: &'a Fleet,
    name: String,
}

/// What was last done to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: String,
    /// Its value; none when the key was deleted.
    pub(crate) value: Option<Bytes>,
    /// Its revision, the sequence of its message: a swap names it.
    pub(crate) revision: u64,
}

/// Why an entry cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BucketError {
    /// Nobody serves it.
    #[error("the bucket `{0}` does not exist, or this credential does not reach it")]
    Missing(String),
    /// It cannot be read now.
    #[error(transparent)]
    Unread(#[from] DirectGetError),
    /// It was not written, or nobody knows.
    #[error(transparent)]
    Unwritten(#[from] PublishError),
}

impl BucketError {
    /// What that means for whoever wanted to do `what`.
    pub(crate) fn told(self, what: &str) -> LayoutError {
        match self {
            Self::Missing(name) => LayoutError::Missing {
                what: format!("the bucket `{name}`"),
            },
            Self::Unread(error) => unavailable(what, &error),
            Self::Unwritten(error) => unavailable(what, &error),
        }
    }
}

impl Fleet {
    /// The bucket of this name.
    pub(crate) fn bucket(&self, name: String) -> Bucket<'_> {
        Bucket { fleet: self, name }
    }
}

impl Bucket<'_> {
    /// What was last done to a key; none when nothing is known of it.
    pub(crate) async fn entry(&self, key: &str) -> Result<Option<Entry>, BucketError> {
        let stream = self.fleet.jetstream.get_stream_no_info(self.stream()).await;
        // Nothing is asked for: it cannot fail but for a name that is none.
        let stream = stream.map_err(|_| self.missing())?;
        match stream.direct_get_last_for_subject(self.subject(key)).await {
            Ok(message) => Ok(Entry::read(&self.name, &message)),
            Err(error) => match error.kind() {
                DirectGetErrorKind::NotFound => Ok(None),
                DirectGetErrorKind::ErrorResponse(StatusCode::NO_RESPONDERS, _) => {
                    Err(self.missing())
                }
                _ => Err(error.into()),
            },
        }
    }

    /// A key's value, if it has one.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Bytes>, BucketError> {
        Ok(self.entry(key).await?.and_then(|entry| entry.value))
    }

    /// Gives a key a value; answers with the revision.
    pub(crate) async fn put(&self, key: &str, value: Bytes) -> Result<u64, BucketError> {
        self.write(key, HeaderMap::new(), value).await
    }

    /// Gives a key a value if `revision` is still its last one (0: nothing is known of it); answers with the new one.
    pub(crate) async fn update(
        &self,
        key: &str,
        value: Bytes,
        revision: u64,
    ) -> Result<u64, BucketError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, revision.to_string());
        self.write(key, headers, value).await
    }

    /// Gives a key a value if it has none; answers whether it did.
    pub(crate) async fn create(&self, key: &str, value: Bytes) -> Result<bool, BucketError> {
        let Err(error) = self.update(key, value.clone(), 0).await else {
            return Ok(true);
        };
        match self.entry(key).await? {
            Some(Entry { value: Some(_), .. }) => Ok(false),
            Some(gone) => self
                .update(key, value, gone.revision)
                .await
                .map(|_revision| true),
            None => Err(error),
        }
    }

    /// Deletes a key and forgets what it was. A mark of that stays, for `marked` where that is given.
    pub(crate) async fn purge(
        &self,
        key: &str,
        marked: Option<Duration>,
    ) -> Result<(), BucketError> {
        let mut headers = HeaderMap::new();
        headers.insert(OPERATION, PURGE);
        headers.insert(NATS_ROLLUP, "sub");
        if let Some(marked) = marked {
            headers.insert(NATS_MESSAGE_TTL, marked.as_secs().to_string());
        }
        self.write(key, headers, Bytes::new()).await?;
        Ok(())
    }

    async fn write(&self, key: &str, headers: HeaderMap, value: Bytes) -> Result<u64, BucketError> {
        let published =
            self.fleet
                .jetstream
                .publish_with_headers(self.subject(key), headers, value);
        let written = async { published.await?.await }.await;
        match written {
            Ok(stored) => Ok(stored.sequence),
            Err(error) if error.kind() == PublishErrorKind::StreamNotFound => Err(self.missing()),
            Err(error) => Err(error.into()),
        }
    }

    fn missing(&self) -> BucketError {
        BucketError::Missing(self.name.clone())
    }

    fn stream(&self) -> String {
        stream_of(&self.name)
    }

    fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.name)
    }
}

impl Entry {
    /// The entry of the bucket that a message of its stream is; none when it is none.
    pub(crate) fn read(bucket: &str, message: &StreamMessage) -> Option<Self> {
        let key = message.subject.strip_prefix("$KV.")?;
        let key = key.strip_prefix(bucket)?.strip_prefix('.')?;
        let operation = message.headers.get(OPERATION);
        let operation = operation.map(async_nats::HeaderValue::as_str);
        // The server itself marks what went by its age.
        let is_gone = matches!(operation, Some(DELETE | PURGE))
            || message.headers.get(NATS_MARKER_REASON).is_some();
        Some(Self {
            key: key.to_owned(),
            value: (!is_gone).then(|| message.payload.clone()),
            revision: message.sequence,
        })
    }
}

/// The stream behind the bucket of this name.
pub(crate) fn stream_of(bucket: &str) -> String {
    format!("KV_{bucket}")
}
