//! The runs that this worker holds right now.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// The runs that are held, by `<workspace>/<run>`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held(Arc<Mutex<HashMap<String, CancellationToken>>>);

/// A run that is held, until this is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    held: Held,
    run: String,
    /// Cancelled when the run is over, by somebody else's doing.
    pub(crate) interrupted: CancellationToken,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes hold of a run; nothing when another turn of this worker holds it.
    pub(crate) fn hold(&self, run: String) -> Option<Hold> {
        match self.lock().entry(run) {
            Entry::Occupied(_) => None,
            Entry::Vacant(free) => {
                let run = free.key().clone();
                let interrupted = free.insert(CancellationToken::new()).clone();
                Some(Hold {
                    held: self.clone(),
                    run,
                    interrupted,
                })
            }
        }
    }

    pub(crate) fn holds(&self, run: &str) -> bool {
        self.lock().contains_key(run)
    }

    pub(crate) fn interrupt(&self, run: &str) {
        if let Some(interrupted) = self.lock().get(run) {
            interrupted.cancel();
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.held.lock().remove(&self.run);
    }
}
