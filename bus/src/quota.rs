//! Quotas: limits that hold across the fleet, whatever crashes.
//!
//! 1. A counter (a limit in one window) has one entry in KV, its [`Ledger`]: how many units are leased out, and to whom.
//! 2. A worker leases units by the dozen and uses them from memory ([`QuotaLeases`]): most calls cost no message.
//!    Units are counted when they are leased, not when they are used.
//!    So whatever happens to a worker, no unit is used twice; what a dead one had left is lost until the window ends.
//!    Nobody gives it back in its place: only it knew how much it had used.
//! 3. Every change of a ledger is a compare-and-swap that names the entry's revision.
//!    Of two workers with one view one wins, and the other looks again.
//! 4. An answer may be lost. The next attempt reads the ledger first:
//!    - the lease that was wished for is there: it was granted, as it stands there;
//!    - the lease that was to go is still there: nothing was stored, and once the next swap is, nothing can be;
//!    - neither: the old one went, and nothing was granted.
//!
//!    A replica may lag: a view that is older than what this worker stored itself is no view, and it asks again.
//! 5. A unit is good only under the policy revision that it was leased under.
//!    Under another, what is left goes back in the same swap that leases anew: so a limit that was lowered holds at once.
//! 6. Units are leased only while the window is open by the server's clock, give or take half a minute: no clock that runs wrong
//!    uses up another window's units in this one, or begins a window again whose ledger went by itself, days after its last change.

mod counter;
mod leases;
mod ledger;

pub use counter::Counter;
pub use leases::{NotReserved, Pace, QuotaLeases, Reservation};
pub use ledger::{Lease, Ledger, MAX_CHUNK, Wish, chunk, max_chunk};

use std::{collections::BTreeSet, time::Duration};

use async_nats::jetstream::kv::{Operation, Store};
use futures::{StreamExt as _, TryStreamExt as _};
use gatewright_schemas::Timestamp;

use crate::{
    Fleet,
    layout::{LayoutError, unavailable, unopened},
};

/// How long a ledger stays after its last change.
///
/// Longer than any window, so that none is begun twice.
pub(crate) const KEPT: Duration = Duration::from_hours(4 * 24);

/// Ledgers that are read at once.
const AT_ONCE: usize = 16;

/// A ledger and the revision of its entry; 0 where there is none.
type Found = (Option<Ledger>, u64);

impl Fleet {
    /// The ledger of a counter in one window, if anything of it was leased yet.
    pub async fn quota(&self, counter: &Counter) -> Result<Option<Ledger>, LayoutError> {
        let (ledger, _) = self.ledger(&counter.key()).await?;
        Ok(ledger)
    }

    /// Up to `most` ledgers by key, those after the key `after`; of windows that are over only if `all`.
    pub async fn quotas(
        &self,
        all: bool,
        after: &str,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<Ledger>, LayoutError> {
        let what = "list the quotas";
        let keys = self
            .quota_bucket()
            .await?
            .keys()
            .await
            .map_err(|error| unavailable(what, &error))?;
        let keys: BTreeSet<String> = keys
            .try_collect()
            .await
            .map_err(|error| unavailable(what, &error))?;
        let wanted = keys
            .into_iter()
            .filter(|key| key.as_str() > after && (all || Counter::is_key_current(key, now)))
            .take(most);
        let found: Vec<Found> = futures::stream::iter(wanted)
            .map(|key| async move { self.ledger(&key).await })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(found.into_iter().filter_map(|(ledger, _)| ledger).collect())
    }

    async fn ledger(&self, key: &str) -> Result<Found, LayoutError> {
        let what = format!("read the quota `{key}`");
        let entry = self
            .quota_bucket()
            .await?
            .entry(key)
            .await
            .map_err(|error| passing(unavailable(&what, &error)))?;
        let Some(entry) = entry else {
            return Ok((None, 0));
        };
        if entry.operation != Operation::Put {
            return Ok((None, entry.revision));
        }
        let ledger =
            serde_json::from_slice(&entry.value).map_err(|error| LayoutError::Unavailable {
                what,
                reason: format!("the entry cannot be understood: {error}"),
                transient: false,
            })?;
        Ok((Some(ledger), entry.revision))
    }

    /// Stores a ledger in the place of the entry's `revision`; answers with its own.
    ///
    /// After an error nobody knows whether it is stored.
    async fn swap(&self, key: &str, ledger: &Ledger, revision: u64) -> Result<u64, LayoutError> {
        let what = format!("write the quota `{key}`");
        let bytes = serde_json::to_vec(ledger).map_err(|error| unavailable(&what, &error))?;
        self.quota_bucket()
            .await?
            .update(key, bytes.into(), revision)
            .await
            .map_err(|error| unavailable(&what, &error))
    }

    async fn quota_bucket(&self) -> Result<&Store, LayoutError> {
        let bucket = self.names.quota_bucket();
        self.quotas
            .get_or_try_init(|| self.jetstream.get_key_value(&bucket))
            .await
            .map_err(|error| unopened(&bucket, &error))
    }
}

/// What the server says of a read of a bucket that exists passes: a leader is elected, a replica comes back.
fn passing(error: LayoutError) -> LayoutError {
    match error {
        LayoutError::Unavailable { what, reason, .. } => LayoutError::Unavailable {
            what,
            reason,
            transient: true,
        },
        other => other,
    }
}
