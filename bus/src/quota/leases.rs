//! A worker's leases: units in memory, and more of them from the ledger when they run out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use futures::future::join_all;
use gatewright_policy::Quota;
use gatewright_schemas::Timestamp;
use tokio::task::JoinHandle;

use super::{Counter, Found, Ledger, Wish};
use crate::{Fleet, clock, layout::LayoutError, retry::Retry};

/// How leases are kept.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long a reservation waits for its counter at most.
    pub patience: Duration,
    /// Units of which none was used for so long go back.
    pub idle: Duration,
    /// For how long a limit that is reached is believed to be, without asking again.
    pub believe: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(10),
            idle: Duration::from_secs(5),
            believe: Duration::from_secs(1),
        }
    }
}

/// How often it is looked for units that are idle.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// After this time a replica that has not seen what was stored is not slow: it is not there any more.
const CATCHES_UP: Duration = Duration::from_secs(5);
/// How long what the server told of its time is good.
const ASK_THE_TIME_EVERY: Duration = Duration::from_secs(10);
/// How long giving units back may take. What is not given back by then is tried again, unless the worker ends.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(3);

/// Why there is no reservation.
#[derive(Debug, thiserror::Error)]
pub enum NotReserved {
    /// All units are leased out.
    #[error("all {limit} units of `{name}` are leased")]
    Exceeded {
        /// The limit's name.
        name: String,
        /// How many units it has.
        limit: u64,
        /// When it starts anew.
        resets_at: Timestamp,
    },
    /// The counter cannot be asked.
    #[error("the counter `{name}` cannot be asked")]
    Unavailable {
        /// The limit's name.
        name: String,
        /// Why.
        #[source]
        source: LayoutError,
    },
}

/// What one worker has leased. Cheap to clone; clones share the leases. When the last one goes, what is leased is lost: close it before.
#[derive(Debug, Clone)]
pub struct QuotaLeases {
    inner: Arc<Inner>,
    _sweeper: Arc<Sweeper>,
}

#[derive(Debug)]
struct Sweeper(JoinHandle<()>);

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct Inner {
    fleet: Fleet,
    pace: Pace,
    tills: Mutex<HashMap<Counter, Arc<Till>>>,
    /// When the server last told its time, and what it told.
    server_told: tokio::sync::Mutex<Option<(Instant, Timestamp)>>,
}

/// What is leased of one counter.
#[derive(Debug)]
struct Till {
    counter: Counter,
    key: String,
    stock: Mutex<Stock>,
    /// Held by whoever speaks with the ledger: one at a time.
    account: tokio::sync::Mutex<Account>,
}

/// Units at hand.
#[derive(Debug)]
struct Stock {
    units: u64,
    /// The policy under which they may be used.
    revision: u64,
    used_at: Instant,
    /// When the ledger said that nothing is left, under `revision`.
    exhausted_at: Option<Instant>,
}

/// How this worker stands with the ledger.
#[derive(Debug)]
struct Account {
    /// The lease that is open, as far as is known.
    held: Option<String>,
    /// The id of the lease that is wished for next; the same until it is known whether it was granted.
    wanted: String,
    /// Units of `held` that are no longer at hand and go back with the next swap.
    unused: u64,
    /// The entry's revision as it was seen last: an older view is a replica's that lags.
    seen: u64,
    /// Since when only older views are seen.
    lags_since: Option<Instant>,
}

/// A unit that is reserved. It is used up by [`Reservation::spend`]; dropped before that, it can be reserved again.
#[derive(Debug)]
#[must_use = "a reservation that is dropped is given back"]
pub struct Reservation {
    till: Arc<Till>,
    quota: Quota,
    revision: u64,
    is_spent: bool,
}

impl Reservation {
    /// What it is a unit of.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Whether it is a unit of just this quota, by the policy of this revision, in the window of `now`.
    pub fn covers(&self, quota: &Quota, revision: u64, now: Timestamp) -> bool {
        self.quota == *quota && self.revision == revision && self.till.counter.is_current(now)
    }

    /// Uses the unit up, just before the call is executed.
    pub fn spend(mut self) {
        self.is_spent = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.is_spent {
            let mut stock = self.till.stock();
            // Under another policy it might be one too many: then it stays counted, and nobody uses it.
            if stock.revision == self.revision {
                stock.units += 1;
            }
        }
    }
}

impl QuotaLeases {
    /// For a worker of this fleet. Nothing is leased before the first reservation.
    pub fn new(fleet: &Fleet) -> Self {
        Self::with_pace(fleet, Pace::default())
    }

    /// The same, at a pace of one's own.
    pub fn with_pace(fleet: &Fleet, pace: Pace) -> Self {
        let inner = Arc::new(Inner {
            fleet: fleet.clone(),
            pace,
            tills: Mutex::default(),
            server_told: tokio::sync::Mutex::default(),
        });
        let sweeper = tokio::spawn(sweep(Arc::downgrade(&inner)));
        Self {
            inner,
            _sweeper: Arc::new(Sweeper(sweeper)),
        }
    }

    /// Reserves one unit of `quota`, a limit of the policy of this revision, in the window of `now`.
    ///
    /// Mostly from memory. Otherwise it leases units, and waits for the counter for as long as the pace says.
    pub async fn reserve(
        &self,
        quota: &Quota,
        revision: u64,
        now: Timestamp,
    ) -> Result<Reservation, NotReserved> {
        let till = self.inner.till(Counter::of(quota, now));
        if let Some(answer) = till.at_hand(quota, revision, self.inner.pace) {
            return answer;
        }
        let deadline = Instant::now() + self.inner.pace.patience;
        self.inner
            .restock(&till, quota, revision, now, deadline)
            .await
    }

    /// Gives back everything that is not reserved; the last thing that a worker does with it.
    pub async fn close(&self) {
        let tills: Vec<Arc<Till>> = self.inner.tills().values().cloned().collect();
        let done = join_all(tills.iter().map(|till| self.inner.give_back(till))).await;
        let left = done.iter().filter(|is_done| !**is_done).count();
        if left > 0 {
            tracing::warn!(
                counters = left,
                "what is left of leases is not given back, and is lost until their windows end"
            );
        }
    }
}

impl Till {
    fn new(counter: Counter) -> Self {
        Self {
            key: counter.key(),
            counter,
            stock: Mutex::new(Stock {
                units: 0,
                revision: 0,
                used_at: Instant::now(),
                exhausted_at: None,
            }),
            account: tokio::sync::Mutex::new(Account {
                held: None,
                wanted: clock::fresh_id(),
                unused: 0,
                seen: 0,
                lags_since: None,
            }),
        }
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer without asking, where there is one.
    fn at_hand(
        self: &Arc<Self>,
        quota: &Quota,
        revision: u64,
        pace: Pace,
    ) -> Option<Result<Reservation, NotReserved>> {
        let mut stock = self.stock();
        if stock.revision != revision {
            return None;
        }
        if stock.units > 0 {
            stock.units -= 1;
            stock.used_at = Instant::now();
            return Some(Ok(Reservation {
                till: Arc::clone(self),
                quota: quota.clone(),
                revision,
                is_spent: false,
            }));
        }
        let exhausted_at = stock.exhausted_at?;
        (exhausted_at.elapsed() < pace.believe).then(|| Err(self.exceeded(quota)))
    }

    fn exceeded(&self, quota: &Quota) -> NotReserved {
        NotReserved::Exceeded {
            name: quota.name.clone(),
            limit: quota.limit,
            resets_at: self.counter.resets_at(),
        }
    }

    /// Takes what is at hand, so that it can go back.
    fn take_all(&self) -> u64 {
        std::mem::take(&mut self.stock().units)
    }

    /// Whether nothing of it is needed at the moment.
    fn is_idle(&self, idle: Duration, now: Timestamp) -> bool {
        self.stock().used_at.elapsed() >= idle || !self.counter.is_current(now)
    }
}

impl Account {
    /// Puts the account right by what the ledger says. Answers with the lease that was granted without this worker knowing.
    fn settle(&mut self, ledger: Option<&Ledger>) -> Option<(u64, u64)> {
        let lease = |id: &str| ledger.and_then(|ledger| ledger.lease(id));
        if let Some(granted) = lease(&self.wanted) {
            let told = (granted.units, granted.revision);
            self.begin();
            return Some(told);
        }
        if self.held.as_deref().and_then(lease).is_none() {
            self.held = None;
            self.unused = 0;
        }
        None
    }

    /// The wished-for lease is open, and the one before it gone.
    fn begin(&mut self) {
        self.held = Some(std::mem::replace(&mut self.wanted, clock::fresh_id()));
        self.unused = 0;
    }
}

impl Inner {
    fn tills(&self) -> MutexGuard<'_, HashMap<Counter, Arc<Till>>> {
        self.tills.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn till(&self, counter: Counter) -> Arc<Till> {
        let mut tills = self.tills();
        if let Some(till) = tills.get(&counter) {
            return Arc::clone(till);
        }
        let till = Arc::new(Till::new(counter.clone()));
        tills.insert(counter, Arc::clone(&till));
        till
    }

    /// Leases units and reserves one of them, or learns that none are left.
    async fn restock(
        &self,
        till: &Arc<Till>,
        quota: &Quota,
        revision: u64,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Reservation, NotReserved> {
        let unavailable = |source| NotReserved::Unavailable {
            name: quota.name.clone(),
            source,
        };
        let mut retry = Retry::for_conflicts();
        let mut last = no_answer(&till.key);
        loop {
            // Who comes here at the same time waits, and finds what the first one leased.
            let attempt = async {
                let mut account = till.account.lock().await;
                if let Some(answer) = till.at_hand(quota, revision, self.pace) {
                    return Ok(Some(answer));
                }
                let is_granted = self.lease(till, &mut account, quota, revision, now).await?;
                if !is_granted {
                    return Ok(Some(Err(till.exceeded(quota))));
                }
                Ok(till.at_hand(quota, revision, self.pace))
            };
            match tokio::time::timeout_at(deadline.into(), attempt).await {
                Ok(Ok(Some(answer))) => return answer,
                Ok(Ok(None)) => {}
                Ok(Err(Fault::Final(error))) => return Err(unavailable(error)),
                Ok(Err(Fault::Passing(error))) => {
                    tracing::debug!(%error, key = %till.key, "a quota moved on, looking again");
                    last = error;
                }
                Err(_) => return Err(unavailable(last)),
            }
            if tokio::time::timeout_at(deadline.into(), retry.wait())
                .await
                .is_err()
            {
                return Err(unavailable(last));
            }
        }
    }

    /// One attempt to lease; answers whether something was granted, which is then at hand.
    async fn lease(
        &self,
        till: &Till,
        account: &mut Account,
        quota: &Quota,
        revision: u64,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        let (ledger, at) = self.look(till, account).await?;
        if let Some((units, revision)) = account.settle(ledger.as_ref()) {
            till.stock().put(units, revision);
            return Ok(true);
        }
        if account.held.is_some() {
            // What is at hand is of an older policy. From here on nobody uses it, whatever becomes of the swap.
            account.unused += till.take_all();
        }
        self.is_open(&till.counter).await?;
        let ledger = ledger.unwrap_or_else(|| Ledger::new(till.counter.clone()));
        let wish = Wish {
            id: &account.wanted,
            holder: self.fleet.writer(),
            replaces: account.held.as_deref(),
            unused: account.unused,
            limit: quota.limit,
            revision,
            now,
        };
        let (next, units) = ledger.clone().after(&wish);
        if next != ledger {
            let swapped = self.fleet.swap(&till.key, &next, at).await;
            account.seen = swapped.map_err(Fault::Passing)?;
        }
        if units > 0 {
            account.begin();
            till.stock().put(units, revision);
        } else {
            account.held = None;
            account.unused = 0;
            till.stock().exhaust(revision);
        }
        Ok(units > 0)
    }

    /// Refuses a window that the server is not in: a clock that runs wrong would use up what is left of another window in this
    /// one, or begin a window again that was counted and forgotten.
    async fn is_open(&self, counter: &Counter) -> Result<(), Fault> {
        let server = self.server_time().await.map_err(Fault::Passing)?;
        if counter.is_open(server) {
            return Ok(());
        }
        Err(Fault::Final(LayoutError::Unavailable {
            what: format!("lease units of `{}`", counter.name),
            reason: format!(
                "its window from {} to {} is not open at {server}, the server's time: does this machine's clock run wrong?",
                counter.starts_at,
                counter.resets_at()
            ),
            transient: false,
        }))
    }

    /// The server's time. This machine's clock has no say in it: since the server was asked, time is counted.
    async fn server_time(&self) -> Result<Timestamp, LayoutError> {
        let mut told = self.server_told.lock().await;
        let (at, time) = match *told {
            Some(told) if told.0.elapsed() < ASK_THE_TIME_EVERY => told,
            _ => {
                let difference = self.fleet.stamped_difference().await?;
                let now = clock::now().as_micros() + difference.ahead_us;
                *told.insert((Instant::now(), Timestamp::from_micros(now)))
            }
        };
        Ok(time.plus(at.elapsed()))
    }

    /// The ledger as it is now, and its entry's revision.
    async fn look(&self, till: &Till, account: &mut Account) -> Result<Found, Fault> {
        let (ledger, at) = match self.fleet.ledger(&till.key).await {
            Ok(found) => found,
            Err(error) if error.is_transient() => return Err(Fault::Passing(error)),
            Err(error) => return Err(Fault::Final(error)),
        };
        if at < account.seen {
            let since = *account.lags_since.get_or_insert_with(Instant::now);
            if since.elapsed() < CATCHES_UP {
                return Err(Fault::Passing(LayoutError::Unavailable {
                    what: format!("read the quota `{}`", till.key),
                    reason: "the replica that answers lags".into(),
                    transient: true,
                }));
            }
            tracing::error!(key = %till.key, seen = account.seen, at, "a quota's entry is older than what was stored: has the server lost its tail?");
        }
        account.lags_since = None;
        account.seen = at;
        Ok((ledger, at))
    }

    /// Gives back what is at hand and ends the lease; answers whether that is done.
    async fn give_back(&self, till: &Till) -> bool {
        let mut retry = Retry::for_conflicts();
        let giving = async {
            let mut account = till.account.lock().await;
            loop {
                match self.end(till, &mut account).await {
                    Ok(()) => return,
                    Err(Fault::Passing(error)) => {
                        tracing::debug!(%error, key = %till.key, "a quota moved on, looking again");
                    }
                    Err(Fault::Final(error)) => {
                        tracing::warn!(%error, key = %till.key, "units of a quota are not given back");
                        return;
                    }
                }
                retry.wait().await;
            }
        };
        tokio::time::timeout(GIVE_BACK_WITHIN, giving).await.is_ok()
    }

    async fn end(&self, till: &Till, account: &mut Account) -> Result<(), Fault> {
        let (ledger, at) = self.look(till, account).await?;
        if let Some((units, revision)) = account.settle(ledger.as_ref()) {
            till.stock().put(units, revision);
        }
        let (Some(ledger), Some(held)) = (ledger, account.held.clone()) else {
            return Ok(());
        };
        account.unused += till.take_all();
        let next = ledger.without(&held, account.unused);
        account.seen = self
            .fleet
            .swap(&till.key, &next, at)
            .await
            .map_err(Fault::Passing)?;
        account.held = None;
        account.unused = 0;
        Ok(())
    }

    /// Gives back what is idle, and forgets counters of which nothing is leased.
    async fn sweep(&self) {
        let now = clock::now();
        let idle: Vec<Arc<Till>> = self
            .tills()
            .values()
            .filter(|till| till.is_idle(self.pace.idle, now))
            .cloned()
            .collect();
        let done = join_all(idle.iter().map(|till| self.give_back(till))).await;
        let done: Vec<Arc<Till>> = idle
            .into_iter()
            .zip(done)
            .filter_map(|(till, is_done)| is_done.then_some(till))
            .collect();
        let mut tills = self.tills();
        for till in done {
            let counter = till.counter.clone();
            drop(till);
            // Whoever has another reference is about to reserve or holds a reservation.
            if tills.get(&counter).is_some_and(|till| {
                Arc::strong_count(till) == 1
                    && (till.stock().units == 0 || !counter.is_current(now))
            }) {
                tills.remove(&counter);
            }
        }
    }
}

impl Stock {
    fn put(&mut self, units: u64, revision: u64) {
        self.turn_to(revision);
        self.units += units;
        self.used_at = Instant::now();
        self.exhausted_at = None;
    }

    fn exhaust(&mut self, revision: u64) {
        self.turn_to(revision);
        self.exhausted_at = Some(Instant::now());
    }

    /// Units of another policy that came back in between stay counted, and nobody uses them.
    fn turn_to(&mut self, revision: u64) {
        if self.revision != revision {
            self.revision = revision;
            self.units = 0;
        }
    }
}

/// Why an attempt led to nothing.
enum Fault {
    /// Another attempt may succeed.
    Passing(LayoutError),
    /// None will.
    Final(LayoutError),
}

fn no_answer(key: &str) -> LayoutError {
    LayoutError::Unavailable {
        what: format!("ask the quota `{key}`"),
        reason: "the NATS server did not answer in time".into(),
        transient: true,
    }
}

async fn sweep(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(inner) = inner.upgrade() else { return };
        inner.sweep().await;
    }
}
