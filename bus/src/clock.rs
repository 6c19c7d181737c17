//! Time and identity from the machine: the only place of the fleet's programs that asks for them.

use gatewright_schemas::{CommitId, Timestamp};
use time::OffsetDateTime;
use uuid::Uuid;

/// Now.
pub fn now() -> Timestamp {
    Timestamp::from(OffsetDateTime::now_utc())
}

/// A fresh id, 32 hexadecimal characters, that sorts by the time it was made.
pub fn fresh_id() -> String {
    Uuid::now_v7().simple().to_string()
}

/// A fresh id of a commit.
#[expect(
    clippy::missing_panics_doc,
    reason = "32 hexadecimal characters are a token"
)]
pub fn fresh_commit_id() -> CommitId {
    #[expect(clippy::expect_used, reason = "32 hexadecimal characters are a token")]
    CommitId::new(fresh_id()).expect("a UUID is a token")
}
