//! How many requests a key may make, and how many without a good key an address: so many a second, and twice as many at once.

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Requests a second that a key may make, where nothing else is said.
pub const DEFAULT: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// Requests without a good key that an address may make in a second.
pub(super) const OF_STRANGERS: NonZeroU32 = NonZeroU32::new(50).unwrap();
/// Keys, or addresses, that are told apart at most; those beyond share what one has.
const MOST_APART: usize = 16_384;
/// Seconds' worth of requests that may be made at once.
const BURST_S: f64 = 2.0;

/// What each key, or address, has left.
#[derive(Debug)]
pub(super) struct Rates {
    per_second: f64,
    /// By whoever makes them: the id of a key that is known, or an address.
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

    /// Whether `who` may make a request at `now`; if so, it is counted.
    pub(super) fn allow(&self, mut who: &str, now: Instant) -> bool {
        let most = self.per_second * BURST_S;
        let mut all = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let full = Left {
            requests: most,
            at: now,
        };
        if all.len() >= MOST_APART && !all.contains_key(who) {
            // Whoever has all of it again is as one who never came.
            all.retain(|_, left| left.at_time(now, self.per_second) < most);
            if all.len() >= MOST_APART {
                who = "";
            }
        }
        let left = all.entry(who.to_owned()).or_insert(full);
        left.requests = left.at_time(now, self.per_second).min(most);
        left.at = now;
        let may = left.requests >= 1.0;
        if may {
            left.requests -= 1.0;
        }
        may
    }
}

impl Left {
    /// What there would be at `now`, were there no most.
    fn at_time(&self, now: Instant, per_second: f64) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.requests + since * per_second
    }
}

/// The one that a peer's requests are counted for: its address, and of IPv6 the network of one customer.
pub(super) fn address_of(peer: IpAddr) -> String {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}")
        }
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

    #[test]
    fn however_many_come_no_more_than_so_many_are_told_apart() {
        let rates = Rates::new(NonZeroU32::new(1).unwrap());
        let start = Instant::now();
        for n in 0..MOST_APART {
            assert!(rates.allow(&n.to_string(), start));
        }
        let others = (0..100).filter(|n| rates.allow(&format!("other {n}"), start));
        assert_eq!(others.count(), 2, "they share what one has");
        assert!(rates.left.lock().unwrap().len() <= MOST_APART + 1);
        let later = start + Duration::from_secs(9);
        assert!(rates.allow("one more", later));
        assert_eq!(rates.left.lock().unwrap().len(), 1, "the others may go");
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let of = |text: &str| address_of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
