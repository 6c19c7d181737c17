//! The arithmetic of leases: values in, values out. What makes it hold across the fleet is told in [`super`].

use std::time::Duration;

use gatewright_schemas::{Timestamp, WriterId};
use serde::{Deserialize, Serialize};

use super::Counter;

/// Units that one lease may have at most.
pub const MAX_CHUNK: u64 = 1_000;
/// Open leases that a ledger names. The oldest goes when there are more: its units stay counted, but cannot be given back.
const MAX_LEASES: usize = 1_000;
/// Whoever leased within this time is taken for somebody who goes on leasing.
const LIVELY: Duration = Duration::from_mins(1);

/// What KV holds of one counter in one window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Whose ledger.
    #[serde(flatten)]
    pub counter: Counter,
    /// The limit by the newest policy that anybody leased under.
    pub limit: u64,
    /// That policy's revision.
    pub revision: u64,
    /// Units leased out in all. It goes down only by units that were never used and are given back.
    pub leased: u64,
    /// The leases that are open, the oldest first. How much of one is used only its holder knows.
    pub leases: Vec<Lease>,
}

/// Units that somebody may use without asking again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its id, never used twice.
    pub id: String,
    /// Who has it.
    pub holder: WriterId,
    /// How many units.
    pub units: u64,
    /// The revision of the policy under which it was leased.
    pub revision: u64,
    /// When, by the holder's clock.
    pub leased_at: Timestamp,
}

/// A wish for a lease.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    /// The id that the lease is to have.
    pub id: &'a str,
    /// For whom.
    pub holder: &'a WriterId,
    /// The lease that it takes the place of.
    pub replaces: Option<&'a str>,
    /// Units of that one which were not used, and go back.
    pub unused: u64,
    /// The limit, by the policy that the wisher has.
    pub limit: u64,
    /// That policy's revision.
    pub revision: u64,
    /// Now.
    pub now: Timestamp,
}

impl Ledger {
    /// Nothing is leased yet.
    pub fn new(counter: Counter) -> Self {
        Self {
            counter,
            limit: 0,
            revision: 0,
            leased: 0,
            leases: Vec::new(),
        }
    }

    /// The open lease of this id.
    pub fn lease(&self, id: &str) -> Option<&Lease> {
        self.leases.iter().find(|lease| lease.id == id)
    }

    /// What the ledger is after the wish, and how many units that grants; none when the limit is reached.
    ///
    /// A limit of a newer policy holds at once, for wishes under an older one too, unless the older one's is stricter.
    #[must_use]
    pub fn after(mut self, wish: &Wish<'_>) -> (Self, u64) {
        if wish.revision >= self.revision {
            self.revision = wish.revision;
            self.limit = wish.limit;
        }
        if let Some(replaced) = wish.replaces {
            self = self.without(replaced, wish.unused);
        }
        let limit = wish.limit.min(self.limit);
        let others = self.leases.iter();
        let others = others.filter(|lease| wish.now.since(lease.leased_at) < LIVELY);
        let units = chunk(limit, self.leased, others.count() + 1);
        if units > 0 {
            self.leased += units;
            self.leases.push(Lease {
                id: wish.id.to_owned(),
                holder: wish.holder.clone(),
                units,
                revision: wish.revision,
                leased_at: wish.now,
            });
            let too_many = self.leases.len().saturating_sub(MAX_LEASES);
            self.leases.drain(..too_many);
        }
        (self, units)
    }

    /// What the ledger is when the lease `id` ends and `unused` units go back; the same when that lease is not open (any more).
    #[must_use]
    pub fn without(mut self, id: &str, unused: u64) -> Self {
        if self.lease(id).is_some() {
            self.leases.retain(|lease| lease.id != id);
            self.leased = self.leased.saturating_sub(unused);
        }
        self
    }
}

/// How many units the next lease has, where `leased` of `limit` are leased and `lessees` share the rest.
///
/// At most a hundredth of the limit, and half of a fair share of what is left: so a crash strands little, and less near the limit,
/// where leases have one unit each and the last one can be used.
pub fn chunk(limit: u64, leased: u64, lessees: usize) -> u64 {
    let left = limit.saturating_sub(leased);
    let share = left
        / u64::try_from(lessees)
            .unwrap_or(u64::MAX)
            .saturating_mul(2)
            .max(1);
    share.clamp(1, max_chunk(limit)).min(left)
}

/// The largest lease of a limit: what a worker that is killed takes with it at most.
pub fn max_chunk(limit: u64) -> u64 {
    (limit / 100).clamp(1, MAX_CHUNK)
}
