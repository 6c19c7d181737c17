//! What is counted by itself: one limit's counter in one window; and how KV spells that.

use std::{fmt::Write as _, time::Duration};

use gatewright_policy::{Quota, QuotaWindow};
use gatewright_schemas::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

/// How far a worker's clock may be from the server's when it leases units.
const CLOCKS_DIFFER: Duration = Duration::from_secs(30);

/// Bytes of a counter's name, encoded, that stand in a key; of a longer one its digest does.
const MAX_NAME: usize = 400;

/// A limit's counter in one window. Every window has one of its own, so clocks that differ near a boundary exceed no window's limit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Counter {
    /// The limit's name, as [`Quota::name`] spells it.
    #[serde(rename = "counter")]
    pub name: String,
    /// What kind of window.
    pub window: QuotaWindow,
    /// The window's begin.
    pub starts_at: Timestamp,
}

impl Counter {
    /// The one on which `quota` is counted at `now`.
    pub fn of(quota: &Quota, now: Timestamp) -> Self {
        Self {
            name: quota.name.clone(),
            window: quota.window,
            starts_at: quota.window.starts_at(now),
        }
    }

    /// When the window is over.
    pub fn resets_at(&self) -> Timestamp {
        self.window.resets_at(self.starts_at)
    }

    /// Whether `now` lies in the window.
    pub fn is_current(&self, now: Timestamp) -> bool {
        self.window.starts_at(now) == self.starts_at
    }

    /// Whether units of the window may be leased at `server`, the server's time: in the window, or so shortly before or after it
    /// as healthy clocks differ.
    pub(crate) fn is_open(&self, server: Timestamp) -> bool {
        let (starts, ends) = (self.starts_at, self.resets_at());
        (starts.minus(CLOCKS_DIFFER)..ends.plus(CLOCKS_DIFFER)).contains(&server)
    }

    /// The key in KV: `<name, encoded>.<window>.<its begin, in seconds since 1970>`. Two counters never have one key.
    pub fn key(&self) -> String {
        let seconds = self.starts_at.as_micros() / 1_000_000;
        let mut name = encoded(&self.name);
        if name.len() > MAX_NAME {
            // `==` begins no other name: an encoded byte is `=` and two digits.
            name = format!("=={}", Digest::of_bytes(self.name.as_bytes()));
        }
        format!("{name}.{}.{seconds}", self.window.as_str())
    }

    /// Whether `now` lies in the window that `key` names.
    pub(crate) fn is_key_current(key: &str, now: Timestamp) -> bool {
        [QuotaWindow::Hour, QuotaWindow::Day]
            .into_iter()
            .any(|window| {
                let seconds = window.starts_at(now).as_micros() / 1_000_000;
                key.ends_with(&format!(".{}.{seconds}", window.as_str()))
            })
    }
}

/// Letters, digits, `-` and `_` stand for themselves, `/` for a dot, and `=` with two hexadecimal digits for any other byte.
fn encoded(name: &str) -> String {
    let mut key = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => key.push(char::from(byte)),
            b'.' => key.push('/'),
            other => {
                // Writing to a `String` cannot fail.
                let _ = write!(key, "={other:02X}");
            }
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn counter(name: &str) -> Counter {
        Counter {
            name: name.into(),
            window: QuotaWindow::Hour,
            starts_at: at("2026-03-04T05:00:00Z"),
        }
    }

    #[test]
    fn any_name_has_a_key_of_its_own() {
        let long = "x".repeat(5_000);
        let names = [
            "tool.a.b",
            "tool.a/b",
            "tool.a=2Fb",
            "tool.a..b",
            "tool.a b",
            "tool.ä",
            "tool.",
            "tool.*>",
            &long,
            &format!("{long}y"),
        ];
        let mut keys: Vec<String> = names.iter().map(|name| counter(name).key()).collect();
        for key in &keys {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-/_=.".contains(c);
            assert!(key.chars().all(plain) && key.len() < 500, "{key}");
            assert!(key.split('.').all(|token| !token.is_empty()), "{key}");
        }
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), names.len());
        assert_eq!(counter("tool.a.b").key(), "tool/a/b.hour.1772600400");
    }

    #[test]
    fn a_window_is_open_a_little_longer_than_it_is_current() {
        let counter = counter("x");
        for (time, current, open) in [
            ("2026-03-04T04:59:29.999999Z", false, false),
            ("2026-03-04T04:59:30Z", false, true),
            ("2026-03-04T05:00:00Z", true, true),
            ("2026-03-04T05:59:59.999999Z", true, true),
            ("2026-03-04T06:00:29.999999Z", false, true),
            ("2026-03-04T06:00:30Z", false, false),
        ] {
            assert_eq!(counter.is_current(at(time)), current, "{time}");
            let by_key = Counter::is_key_current(&counter.key(), at(time));
            assert_eq!(by_key, current, "{time}");
            assert_eq!(counter.is_open(at(time)), open, "{time}");
        }
    }
}
