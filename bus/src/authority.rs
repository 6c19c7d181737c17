//! Policy, capabilities, principals and remembered approvals in KV: written by dispatchers after the event that says so, watched by every gate.
//!
//! One bucket holds all of it, so that one watch sees every change in the order it was made.
//! The key `clock` is refreshed every second by dispatchers and tells a watcher how far it has seen:
//! a copy that saw no beat of the clock for longer than the policy allows denies every call.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use gatewright_policy::{CompiledPolicy, PolicyDocument, Snapshot};
use gatewright_schemas::{
    CapabilityToken, CapabilityTokenId, Digest, Principal, PrincipalId, RememberedApproval,
    RememberedApprovalId, Timestamp, WorkspaceId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::watch;

use crate::{
    Fleet,
    bucket::{Bucket, Entry},
    clock,
    layout::{LayoutError, unavailable},
    retry::Retry,
};

/// How often a dispatcher refreshes the clock.
pub const TICK_EVERY: Duration = Duration::from_secs(1);

const CLOCK: &str = "clock";
const POLICY: &str = "policy";
const CAPABILITY: &str = "capability";
const PRINCIPAL: &str = "principal";
const REMEMBERED: &str = "remembered";

/// The active policy as KV keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActivePolicy {
    /// Its revision, from 1.
    pub revision: u64,
    /// Digest of the document.
    pub digest: Digest,
    /// The document, TOML.
    pub document: String,
    /// When it was activated.
    pub activated_at: Timestamp,
    /// Who activated it.
    pub by: String,
}

/// A value and the place, in its chain, of the event that it comes from.
#[derive(Debug, Serialize, Deserialize)]
struct Versioned<T> {
    seq: u64,
    value: T,
}

impl Fleet {
    fn authority(&self) -> Bucket<'_> {
        self.bucket(self.names.authority_bucket())
    }

    async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, LayoutError> {
        let what = format!("read `{key}` of the authority");
        let value = self.authority().get(key).await;
        let Some(value) = value.map_err(|error| error.told(&what))? else {
            return Ok(None);
        };
        let versioned: Versioned<T> =
            serde_json::from_slice(&value).map_err(|error| unavailable(&what, &error))?;
        Ok(Some(versioned.value))
    }

    /// Writes what the event at `seq` of its chain says, unless a later one has been written already.
    ///
    /// So a dispatcher that was slow, or does its work again, cannot bring back what was revoked since.
    async fn put<T: Serialize + DeserializeOwned>(
        &self,
        key: &str,
        seq: u64,
        value: &T,
    ) -> Result<(), LayoutError> {
        let what = format!("write `{key}` of the authority");
        let bucket = self.authority();
        let bytes: bytes::Bytes = serde_json::to_vec(&Versioned { seq, value })
            .map_err(|error| unavailable(&what, &error))?
            .into();
        let mut retry = Retry::for_conflicts();
        loop {
            let entry = bucket.entry(key).await;
            let entry = entry.map_err(|error| error.told(&what))?;
            let revision = entry.as_ref().map_or(0, |entry| entry.revision);
            let is_newer = entry.and_then(|entry| entry.value).is_some_and(|value| {
                serde_json::from_slice::<Versioned<T>>(&value).is_ok_and(|there| there.seq >= seq)
            });
            if is_newer {
                return Ok(());
            }
            match bucket.update(key, bytes.clone(), revision).await {
                Ok(_) => return Ok(()),
                // Somebody wrote in between, or the cluster is not ready: look again.
                Err(error) => tracing::debug!(%error, key, "the authority moved on, looking again"),
            }
            retry.wait().await;
        }
    }

    /// The active policy.
    pub async fn active_policy(&self) -> Result<Option<ActivePolicy>, LayoutError> {
        self.get(POLICY).await
    }

    /// Makes a policy the active one for every gate. Only after the event that says so is stored, as number `seq` of its chain.
    pub async fn put_policy(&self, seq: u64, policy: &ActivePolicy) -> Result<(), LayoutError> {
        self.put(POLICY, seq, policy).await
    }

    /// A capability token.
    pub async fn capability(
        &self,
        workspace: &WorkspaceId,
        id: &CapabilityTokenId,
    ) -> Result<Option<CapabilityToken>, LayoutError> {
        self.get(&format!("{CAPABILITY}.{workspace}.{id}")).await
    }

    /// Makes a capability token known to every gate. Only after the event that says so is stored, as number `seq` of its chain.
    pub async fn put_capability(
        &self,
        seq: u64,
        token: &CapabilityToken,
    ) -> Result<(), LayoutError> {
        self.put(
            &format!("{CAPABILITY}.{}.{}", token.workspace_id, token.token_id),
            seq,
            token,
        )
        .await
    }

    /// A principal.
    pub async fn principal(
        &self,
        workspace: &WorkspaceId,
        id: &PrincipalId,
    ) -> Result<Option<Principal>, LayoutError> {
        self.get(&format!("{PRINCIPAL}.{workspace}.{id}")).await
    }

    /// Makes a principal known to every gate. Only after the event that says so is stored, as number `seq` of its chain.
    pub async fn put_principal(&self, seq: u64, principal: &Principal) -> Result<(), LayoutError> {
        self.put(
            &format!(
                "{PRINCIPAL}.{}.{}",
                principal.workspace_id, principal.principal_id
            ),
            seq,
            principal,
        )
        .await
    }

    /// A remembered approval.
    pub async fn remembered_approval(
        &self,
        workspace: &WorkspaceId,
        id: &RememberedApprovalId,
    ) -> Result<Option<RememberedApproval>, LayoutError> {
        self.get(&format!("{REMEMBERED}.{workspace}.{id}")).await
    }

    /// Makes a remembered approval known to every gate. Only after the event that says so is stored, as number `seq` of its chain.
    pub async fn put_remembered_approval(
        &self,
        seq: u64,
        remembered: &RememberedApproval,
    ) -> Result<(), LayoutError> {
        self.put(
            &format!(
                "{REMEMBERED}.{}.{}",
                remembered.workspace_id, remembered.remembered_id
            ),
            seq,
            remembered,
        )
        .await
    }

    /// Refreshes the clock that every gate's copy goes by.
    pub async fn tick(&self) -> Result<(), LayoutError> {
        let what = "refresh the clock of the authority";
        let now = serde_json::to_vec(&clock::now()).unwrap_or_default();
        let put = self.authority().put(CLOCK, now.into()).await;
        put.map_err(|error| error.told(what))?;
        Ok(())
    }

    /// Every entry of the authority, now: policy, capability tokens, principals and remembered approvals.
    pub async fn authority_now(&self) -> Result<Snapshot, LayoutError> {
        let bucket = self.names.authority_bucket();
        let mut copy = Copy::default();
        let read = self
            .entries_now(&bucket, |entry| copy.take(&entry, clock::now()))
            .await;
        read.map_err(|reason| LayoutError::Unavailable {
            what: "read the authority".into(),
            reason,
            transient: true,
        })?;
        Ok(copy.snapshot)
    }
}

/// A gate's own copy of the authority, kept fresh for as long as it lives.
#[derive(Debug, Clone)]
pub struct LiveSnapshot {
    copy: Arc<RwLock<Copy>>,
    changed: watch::Receiver<()>,
    _keeper: Arc<Keeper>,
}

#[derive(Debug)]
struct Keeper(tokio::task::JoinHandle<()>);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug, Default)]
struct Copy {
    snapshot: Snapshot,
    /// The least time that a beat of the clock took to get here lately: the clocks' difference and the way.
    delays: Delays,
}

impl LiveSnapshot {
    /// Starts watching.
    pub fn watch(fleet: &Fleet) -> Self {
        let copy = Arc::new(RwLock::new(Copy::default()));
        let (tell, changed) = watch::channel(());
        let (fleet, kept) = (fleet.clone(), Arc::clone(&copy));
        let keeper = tokio::spawn(async move {
            let bucket = fleet.names.authority_bucket();
            let take = |entry: Entry| {
                let mut copy = kept.write().unwrap_or_else(PoisonError::into_inner);
                copy.take(&entry, clock::now());
                drop(copy);
                let _ = tell.send(());
            };
            match fleet.watch_bucket(&bucket, take).await {}
        });
        Self {
            copy,
            changed,
            _keeper: Arc::new(Keeper(keeper)),
        }
    }

    /// Lets `ask` see the copy as it is now. Nothing changes it meanwhile: a decision sees one state of the world.
    pub fn read<T>(&self, ask: impl FnOnce(&Snapshot) -> T) -> T {
        ask(&self
            .copy
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .snapshot)
    }

    /// Waits until the copy is fresher than `most`, for `patience` at most; answers whether it is.
    ///
    /// For a worker that has just started or lost the server for a moment: it waits rather than deny every run at hand.
    pub async fn fresh(&self, most: Duration, patience: Duration) -> bool {
        self.until(patience, |snapshot| {
            let synced = snapshot.synced_at();
            synced.is_some_and(|at| clock::now().since(at) < most)
        })
        .await
    }

    /// Waits until `is_so` of the copy, for `patience` at most; answers whether it is.
    pub async fn until(&self, patience: Duration, is_so: impl Fn(&Snapshot) -> bool) -> bool {
        if self.read(&is_so) {
            return true;
        }
        let mut changed = self.changed.clone();
        tokio::time::timeout(patience, async {
            while !self.read(&is_so) {
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        })
        .await
        .is_ok()
    }
}

impl Copy {
    fn take(&mut self, entry: &Entry, received: Timestamp) {
        let mut tokens = entry.key.split('.');
        let ids = (tokens.next(), tokens.next(), tokens.next());
        let gone = entry.value.is_none();
        let taken = match ids {
            (Some(CLOCK), None, None) => read(entry).map(|sent| self.beat(sent, received)),
            (Some(POLICY), None, None) if gone => {
                self.snapshot.set_policy(None);
                Ok(())
            }
            (Some(POLICY), None, None) => {
                compiled(entry).map(|policy| self.snapshot.set_policy(policy))
            }
            (Some(CAPABILITY | PRINCIPAL | REMEMBERED), ..) if gone => {
                self.forget(ids);
                Ok(())
            }
            (Some(CAPABILITY), Some(_), Some(_)) => {
                versioned(entry).map(|token| self.snapshot.upsert_token(token))
            }
            (Some(PRINCIPAL), Some(_), Some(_)) => {
                versioned(entry).map(|principal| self.snapshot.upsert_principal(principal))
            }
            (Some(REMEMBERED), Some(_), Some(_)) => {
                versioned(entry).map(|remembered| self.snapshot.upsert_remembered(remembered))
            }
            _ => Ok(()),
        };
        if let Err(error) = taken {
            // What cannot be read allows nothing: without the policy every call is denied, without the token its calls are.
            tracing::error!(key = %entry.key, %error, "an entry of the authority cannot be read");
            self.forget(ids);
        }
    }

    fn forget(&mut self, ids: (Option<&str>, Option<&str>, Option<&str>)) {
        match ids {
            (Some(POLICY), ..) => self.snapshot.set_policy(None),
            (Some(CAPABILITY), Some(workspace), Some(id)) => {
                if let (Ok(workspace), Ok(id)) = (workspace.parse(), id.parse()) {
                    self.snapshot.remove_token(&workspace, &id);
                }
            }
            (Some(PRINCIPAL), Some(workspace), Some(id)) => {
                if let (Ok(workspace), Ok(id)) = (workspace.parse(), id.parse()) {
                    self.snapshot.remove_principal(&workspace, &id);
                }
            }
            (Some(REMEMBERED), Some(workspace), Some(id)) => {
                if let (Ok(workspace), Ok(id)) = (workspace.parse(), id.parse()) {
                    self.snapshot.remove_remembered(&workspace, &id);
                }
            }
            _ => {}
        }
    }

    /// A beat was sent at `sent` by the sender's clock and came at `received` by ours.
    ///
    /// The copy is as fresh as the beat is young. Its age is what it took longer than the quickest beat so far:
    /// so clocks may differ, and beats that come late in a row do not pass for fresh ones.
    fn beat(&mut self, sent: Timestamp, received: Timestamp) {
        let delay = received.as_micros() - sent.as_micros();
        let usual = self.delays.least_with(delay, received);
        self.snapshot
            .set_synced_at(Timestamp::from_micros(sent.as_micros() + usual));
    }
}

/// The least delay of the last minutes, in microseconds. Not of all time: one sender whose clock is wrong would spoil it for good.
#[derive(Debug, Default)]
struct Delays {
    /// Nothing was delivered live yet: the first beat may have lain in the bucket for long.
    begun: bool,
    window_began: Timestamp,
    this_window: Option<i64>,
    last_window: Option<i64>,
}

impl Delays {
    const WINDOW: Duration = Duration::from_mins(1);

    fn least_with(&mut self, delay: i64, now: Timestamp) -> i64 {
        if !self.begun {
            self.begun = true;
            self.window_began = now;
            // As old as the clocks say; a sender that is ahead is believed to be as young as can be.
            return delay.min(0);
        }
        if now.since(self.window_began) > Self::WINDOW {
            self.window_began = now;
            self.last_window = self.this_window.take();
        }
        self.this_window = Some(self.this_window.map_or(delay, |least| least.min(delay)));
        [self.this_window, self.last_window]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(delay)
    }
}

fn read<T: DeserializeOwned>(entry: &Entry) -> Result<T, String> {
    let value = entry.value.as_ref().ok_or("it was deleted")?;
    serde_json::from_slice(value).map_err(|error| error.to_string())
}

fn versioned<T: DeserializeOwned>(entry: &Entry) -> Result<T, String> {
    read::<Versioned<T>>(entry).map(|versioned| versioned.value)
}

fn compiled(entry: &Entry) -> Result<Option<Arc<CompiledPolicy>>, String> {
    let active: ActivePolicy = versioned(entry)?;
    let document = PolicyDocument::parse(&active.document).map_err(|faults| faults.to_string())?;
    Ok(Some(Arc::new(CompiledPolicy::new(
        document,
        active.revision,
        active.digest,
    ))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_beat_that_lay_in_the_bucket_is_old() {
        let mut copy = Copy::default();
        copy.beat(at(100), at(160));
        assert_eq!(copy.snapshot.synced_at(), Some(at(100)));
    }

    #[test]
    fn clocks_that_differ_do_not_make_a_copy_stale() {
        let mut copy = Copy::default();
        // Our clock is ten seconds behind the sender's.
        copy.beat(at(110), at(100));
        copy.beat(at(111), at(101));
        assert_eq!(copy.snapshot.synced_at(), Some(at(101)));
    }

    #[test]
    fn a_clock_that_is_far_ahead_of_the_senders_does_not_make_its_copy_stale() {
        let mut copy = Copy::default();
        copy.beat(at(100), at(200));
        copy.beat(at(101), at(201));
        assert_eq!(copy.snapshot.synced_at(), Some(at(201)));
    }

    #[test]
    fn a_sender_whose_clock_was_wrong_is_forgotten_in_minutes() {
        let mut copy = Copy::default();
        copy.beat(at(100), at(100));
        copy.beat(at(161), at(101));
        for second in 102..260 {
            copy.beat(at(second), at(second));
        }
        assert_eq!(copy.snapshot.synced_at(), Some(at(259)));
    }

    #[test]
    fn beats_that_come_late_in_a_row_do_not_pass_for_fresh_ones() {
        let mut copy = Copy::default();
        copy.beat(at(99), at(99));
        copy.beat(at(100), at(100));
        copy.beat(at(101), at(131));
        copy.beat(at(102), at(131));
        assert_eq!(copy.snapshot.synced_at(), Some(at(102)));
    }
}
