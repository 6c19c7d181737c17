//! Whether the loops that take messages in come round.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A loop that has nothing to do comes round this often all the same.
pub(crate) const BEAT_EVERY: Duration = Duration::from_secs(2);
/// A loop that was silent for longer does not come round.
const SILENT: Duration = Duration::from_secs(10);

/// When each loop last came round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pulse(Arc<Mutex<BTreeMap<String, Instant>>>);

impl Pulse {
    /// A loop came round.
    pub(crate) fn beat(&self, of: &str) {
        let mut beats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        beats.insert(of.to_owned(), Instant::now());
    }

    /// Those of `wanted` that did not come round lately, or never did.
    pub(crate) fn missing<'a>(&self, wanted: &[&'a str]) -> Vec<&'a str> {
        let beats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_missing = |of: &&&str| beats.get(**of).is_none_or(|at| at.elapsed() > SILENT);
        wanted.iter().filter(is_missing).copied().collect()
    }
}
