//! How many requests a key may make: so many a second, and twice as many at once.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Requests a second that a key may make, where nothing else is said.
pub const DEFAULT: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// Seconds' worth of requests that a key may make at once.
const BURST_S: f64 = 2.0;

/// What each key has left.
#[derive(Debug)]
pub(super) struct Rates {
    per_second: f64,
    /// By the keys' ids; only keys that are known get an entry.
    left: Mutex<HashMap<String, Left>>,
}

#[derive(Debug, Clone, Copy)]
struct Left {
    requests: f64,
    at: Instant,
}

impl Rates {
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        Self {
            per_second: f64::from(per_second.get()),
            left: Mutex::default(),
        }
    }

    /// Whether the key may make a request at `now`; if so, it is counted.
    pub(super) fn allow(&self, key: &str, now: Instant) -> bool {
        let most = self.per_second * BURST_S;
        let mut all = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let full = Left {
            requests: most,
            at: now,
        };
        let left = all.entry(key.to_owned()).or_insert(full);
        let since = now.saturating_duration_since(left.at).as_secs_f64();
        left.requests = (left.requests + since * self.per_second).min(most);
        left.at = now;
        let may = left.requests >= 1.0;
        if may {
            left.requests -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_key_has_its_burst_then_its_rate_and_takes_nothing_from_others() {
        let rates = Rates::new(NonZeroU32::new(5).unwrap());
        let start = Instant::now();
        let made = |key: &str, at: Instant| (0..100).filter(|_| rates.allow(key, at)).count();
        assert_eq!(made("a", start), 10);
        assert_eq!(made("b", start), 10);
        assert_eq!(made("a", start + Duration::from_secs(1)), 5);
        assert_eq!(
            made("a", start + Duration::from_hours(1)),
            10,
            "no more is saved up"
        );
    }
}
