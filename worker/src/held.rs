//! The runs that this worker holds right now.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// The runs that are held, by `<workspace>/<run>`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held(Arc<Mutex<HashMap<String, Vec<CancellationToken>>>>);

/// A run that is held, until this is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    held: Held,
    run: String,
    /// Cancelled when the run is over, by somebody else's doing.
    pub(crate) interrupted: CancellationToken,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<CancellationToken>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn hold(&self, run: String) -> Hold {
        let interrupted = CancellationToken::new();
        self.lock()
            .entry(run.clone())
            .or_default()
            .push(interrupted.clone());
        Hold {
            held: self.clone(),
            run,
            interrupted,
        }
    }

    pub(crate) fn holds(&self, run: &str) -> bool {
        self.lock().contains_key(run)
    }

    pub(crate) fn interrupt(&self, run: &str) {
        for interrupted in self.lock().get(run).into_iter().flatten() {
            interrupted.cancel();
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.held.lock();
        // Two wake-ups of one run may be at hand for a moment: each takes back only its own.
        if let Some(holds) = held.get_mut(&self.run) {
            holds.pop();
            if holds.is_empty() {
                held.remove(&self.run);
            }
        }
    }
}
