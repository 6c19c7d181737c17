//! Which workers are known, and which of them count as dead. No I/O: what was seen comes in, and when.
//!
//! Nobody answering for a worker means that its connection is gone: with it, or for a moment, because the NATS server that it
//! was connected to is. To take a living worker for dead harms no history (the fence), but its call under way may end as one
//! whose outcome nobody knows. So
//!
//! - one that falls silent alone counts as dead after [`SILENT_ROUNDS`], which is longer than a reconnect takes;
//! - those that fall silent together may all have been connected to one server that died: they have [`RECONNECT`],
//!   each of them, however soon the others are back;
//! - after the dispatcher's own connection was made anew the same is true of everybody.

use std::{collections::HashMap, time::Duration};

use gatewright_schemas::{WorkerHeartbeat, WriterId};
use tokio::time::Instant;

/// How often in a row nobody must answer for a worker before it counts as dead.
const SILENT_ROUNDS: u32 = 3;
/// How long workers may need to connect again when the server of many of them died.
const RECONNECT: Duration = Duration::from_secs(5);
/// How long workers may need that lost the server before this dispatcher first connected: they try once a second.
const FIRST: Duration = Duration::from_millis(1_200);

/// What is known of a worker.
#[derive(Debug)]
struct Known {
    heartbeat: WorkerHeartbeat,
    silence: Option<Silence>,
    /// When it last fell silent, whether or not it answers again.
    fell_silent: Option<Instant>,
}

/// That nobody answers for a worker.
#[derive(Debug, Clone, Copy)]
struct Silence {
    since: Instant,
    rounds: u32,
}

/// The workers, and what was heard of them lately.
#[derive(Debug)]
pub(crate) struct Roster {
    known: HashMap<WriterId, Known>,
    /// Before this nobody counts as dead.
    not_before: Instant,
}

impl Roster {
    /// Knows nobody. The dispatcher's connection was just made for the first time.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            known: HashMap::new(),
            not_before: now + FIRST,
        }
    }

    /// The dispatcher's own connection was lost or made anew: what was heard over the old one counts no more.
    pub(crate) fn reconnected(&mut self, now: Instant) {
        self.not_before = now + RECONNECT;
        for known in self.known.values_mut() {
            known.silence = None;
            known.fell_silent = None;
        }
    }

    /// Takes over the list; answers with those who are not on it any more, or are on it as another process.
    pub(crate) fn update(&mut self, listed: Vec<WorkerHeartbeat>) -> Vec<WorkerHeartbeat> {
        let mut gone = Vec::new();
        let mut before = std::mem::take(&mut self.known);
        for heartbeat in listed {
            let (silence, fell_silent) = match before.remove(&heartbeat.worker_id) {
                Some(old) if old.heartbeat.started_at == heartbeat.started_at => {
                    (old.silence, old.fell_silent)
                }
                Some(old) => {
                    gone.push(old.heartbeat);
                    (None, None)
                }
                None => (None, None),
            };
            let known = Known {
                heartbeat,
                silence,
                fell_silent,
            };
            self.known.insert(known.heartbeat.worker_id.clone(), known);
        }
        gone.extend(before.into_values().map(|old| old.heartbeat));
        gone
    }

    /// Everybody who is known.
    pub(crate) fn names(&self) -> Vec<WriterId> {
        self.known.keys().cloned().collect()
    }

    /// Notes whether somebody answered for a worker.
    pub(crate) fn heard(&mut self, worker: &WriterId, is_there: bool, now: Instant) {
        let Some(known) = self.known.get_mut(worker) else {
            return;
        };
        known.silence = match known.silence {
            _ if is_there => None,
            None => {
                known.fell_silent = Some(now);
                Some(Silence {
                    since: now,
                    rounds: 1,
                })
            }
            Some(Silence { since, rounds }) => Some(Silence {
                since,
                rounds: rounds.saturating_add(1),
            }),
        };
    }

    /// Who counts as dead.
    pub(crate) fn dead(&self, now: Instant) -> Vec<WorkerHeartbeat> {
        if now < self.not_before {
            return Vec::new();
        }
        let silent = |known: &Known| known.silence.filter(|s| s.rounds >= SILENT_ROUNDS);
        let is_dead = |known: &&Known| {
            silent(known).is_some_and(|silence| {
                now - silence.since >= RECONNECT || self.fell_silent_alone(known, silence)
            })
        };
        let dead = self.known.values().filter(is_dead);
        dead.map(|known| known.heartbeat.clone()).collect()
    }

    /// Whether nobody else fell silent at about the time when this worker did.
    fn fell_silent_alone(&self, worker: &Known, silence: Silence) -> bool {
        self.known.values().all(|other| {
            let is_itself = other.heartbeat.worker_id == worker.heartbeat.worker_id;
            let apart = |other: Instant| {
                let later = other.max(silence.since);
                later - other.min(silence.since) >= RECONNECT
            };
            is_itself || other.fell_silent.is_none_or(apart)
        })
    }

    /// A worker's runs were woken: it is known no more.
    pub(crate) fn forget(&mut self, worker: &WriterId) {
        self.known.remove(worker);
    }

    /// The runs of a worker that is gone could not be woken: it is dead at once in the next round.
    pub(crate) fn keep_as_dead(&mut self, heartbeat: WorkerHeartbeat, now: Instant) {
        let silence = Silence {
            since: now.checked_sub(RECONNECT).unwrap_or(now),
            rounds: SILENT_ROUNDS,
        };
        let known = Known {
            heartbeat,
            silence: Some(silence),
            fell_silent: Some(silence.since),
        };
        self.known.insert(known.heartbeat.worker_id.clone(), known);
    }
}

#[cfg(test)]
mod tests {
    use gatewright_schemas::Timestamp;

    use super::*;

    fn name(text: &str) -> WriterId {
        WriterId::new(text).unwrap()
    }

    fn worker(id: &str) -> WorkerHeartbeat {
        WorkerHeartbeat {
            worker_id: name(id),
            zones: Vec::new(),
            slots: 1,
            busy: 0,
            version: String::new(),
            started_at: Timestamp::from_micros(0),
            seen_at: Timestamp::from_micros(0),
            draining: false,
        }
    }

    /// A roster of `workers` whose dispatcher is connected for long, and now.
    fn roster(workers: &[&str]) -> (Roster, Instant) {
        let began = Instant::now();
        let mut roster = Roster::new(began);
        roster.update(workers.iter().map(|id| worker(id)).collect());
        (roster, began + Duration::from_mins(1))
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Asks after `silent` every 200 ms, from `from` to `to`; everybody else answers.
    fn ask(roster: &mut Roster, silent: &[&str], from: Instant, to: Instant) {
        let mut now = from;
        while now <= to {
            for name in roster.names() {
                let is_there = !silent.contains(&name.as_str());
                roster.heard(&name, is_there, now);
            }
            now += ms(200);
        }
    }

    fn dead(roster: &Roster, now: Instant) -> Vec<String> {
        let dead = roster.dead(now).into_iter();
        let mut dead: Vec<String> = dead.map(|w| w.worker_id.to_string()).collect();
        dead.sort();
        dead
    }

    #[test]
    fn one_that_falls_silent_alone_is_dead_within_a_second() {
        let (mut roster, now) = roster(&["a", "b"]);
        ask(&mut roster, &["a"], now, now + ms(200));
        assert!(dead(&roster, now + ms(200)).is_empty(), "it may reconnect");
        ask(&mut roster, &["a"], now + ms(400), now + ms(400));
        assert_eq!(dead(&roster, now + ms(400)), ["a"]);
    }

    #[test]
    fn those_that_fall_silent_together_have_the_time_to_reconnect() {
        let (mut roster, now) = roster(&["a", "b", "c"]);
        ask(&mut roster, &["a"], now, now);
        ask(&mut roster, &["a", "b"], now + ms(200), now + ms(3_000));
        assert!(dead(&roster, now + ms(3_000)).is_empty());
        // One of them is back sooner than the other.
        ask(&mut roster, &["a"], now + ms(3_200), now + ms(4_800));
        assert!(dead(&roster, now + ms(4_800)).is_empty());
        ask(&mut roster, &["a"], now + ms(5_000), now + ms(5_000));
        assert_eq!(dead(&roster, now + ms(5_000)), ["a"]);
    }

    #[test]
    fn those_that_stay_silent_together_are_dead_all_the_same() {
        let (mut roster, now) = roster(&["a", "b", "c"]);
        ask(&mut roster, &["a", "b"], now, now + ms(5_000));
        assert_eq!(dead(&roster, now + ms(5_000)), ["a", "b"]);
    }

    #[test]
    fn one_that_died_long_ago_does_not_delay_the_next() {
        let (mut roster, now) = roster(&["a", "b", "c"]);
        roster.keep_as_dead(worker("a"), now);
        ask(&mut roster, &["a", "b"], now, now + ms(400));
        assert_eq!(dead(&roster, now + ms(400)), ["a", "b"]);
    }

    #[test]
    fn nobody_is_dead_while_everybody_reconnects_with_this_dispatcher() {
        let (mut roster, now) = roster(&["a", "b"]);
        ask(&mut roster, &["a"], now, now + ms(400));
        roster.reconnected(now + ms(400));
        ask(&mut roster, &["a"], now + ms(600), now + ms(5_200));
        assert!(dead(&roster, now + ms(5_200)).is_empty());
        ask(&mut roster, &["a"], now + ms(5_400), now + ms(5_400));
        assert_eq!(dead(&roster, now + ms(5_400)), ["a"]);
    }

    #[test]
    fn a_dispatcher_that_has_just_started_believes_in_a_death_within_two_seconds() {
        let began = Instant::now();
        let mut roster = Roster::new(began);
        roster.update(vec![worker("a"), worker("b")]);
        ask(&mut roster, &["a"], began, began + ms(1_000));
        assert!(dead(&roster, began + ms(1_000)).is_empty());
        ask(&mut roster, &["a"], began + ms(1_200), began + ms(1_200));
        assert_eq!(dead(&roster, began + ms(1_200)), ["a"]);
    }

    #[test]
    fn those_that_signed_off_or_started_anew_are_told() {
        let (mut roster, now) = roster(&["a", "b", "c"]);
        ask(&mut roster, &["b"], now, now + ms(400));
        let anew = WorkerHeartbeat {
            started_at: Timestamp::from_micros(1),
            ..worker("b")
        };
        let gone = roster.update(vec![anew, worker("c")]);
        let mut gone: Vec<_> = gone.iter().map(|w| w.worker_id.as_str()).collect();
        gone.sort_unstable();
        assert_eq!(gone, ["a", "b"]);
        assert!(dead(&roster, now + ms(400)).is_empty(), "the new b lives");
    }
}
