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

use std::{collections::BTreeMap, time::Duration};

use gatewright_schemas::Timestamp;

use crate::{
    Fleet,
    bucket::{Bucket, Entry},
    layout::{LayoutError, unavailable},
    server_clock::STAMPED,
};

/// How long a ledger stays after its last change.
///
/// Longer than any window, so that none is begun twice.
pub(crate) const KEPT: Duration = Duration::from_hours(4 * 24);

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
        let (bucket, mut wanted) = (self.names.quota_bucket(), BTreeMap::new());
        let read = self.entries_now(&bucket, |entry| {
            let key = entry.key.as_str();
            let is_a_counters = !key.starts_with(STAMPED);
            if is_a_counters && key > after && (all || Counter::is_key_current(key, now)) {
                // The last of a key holds.
                wanted.insert(key.to_owned(), entry);
            }
        });
        read.await.map_err(|reason| LayoutError::Unavailable {
            what: "list the quotas".into(),
            reason,
            transient: true,
        })?;
        let ledgers = wanted
            .into_values()
            .filter_map(|entry| ledger_of(entry).transpose());
        ledgers.take(most).collect()
    }

    async fn ledger(&self, key: &str) -> Result<Found, LayoutError> {
        let entry = self.ledgers().entry(key).await;
        let entry = entry.map_err(|error| passing(error.told(&reading(key))))?;
        let Some(entry) = entry else {
            return Ok((None, 0));
        };
        let revision = entry.revision;
        Ok((ledger_of(entry)?, revision))
    }

    /// Stores a ledger in the place of the entry's `revision`; answers with its own.
    ///
    /// After an error nobody knows whether it is stored.
    async fn swap(&self, key: &str, ledger: &Ledger, revision: u64) -> Result<u64, LayoutError> {
        let what = format!("write the quota `{key}`");
        let bytes = serde_json::to_vec(ledger).map_err(|error| unavailable(&what, &error))?;
        let swapped = self.ledgers().update(key, bytes.into(), revision).await;
        swapped.map_err(|error| error.told(&what))
    }

    fn ledgers(&self) -> Bucket<'_> {
        self.bucket(self.names.quota_bucket())
    }
}

/// The ledger that an entry holds; none when it was deleted.
fn ledger_of(entry: Entry) -> Result<Option<Ledger>, LayoutError> {
    let Some(value) = entry.value else {
        return Ok(None);
    };
    let ledger = serde_json::from_slice(&value);
    ledger.map(Some).map_err(|error| LayoutError::Unavailable {
        what: reading(&entry.key),
        reason: format!("the entry cannot be understood: {error}"),
        transient: false,
    })
}

fn reading(key: &str) -> String {
    format!("read the quota `{key}`")
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
