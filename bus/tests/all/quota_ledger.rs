//! The arithmetic of leases, without a server: whatever workers do and lose, no unit is used twice.

use gatewright_bus::quota::{Counter, Ledger, Wish, chunk, max_chunk};
use gatewright_policy::{Quota, QuotaWindow};
use gatewright_schemas::{Timestamp, WriterId};
use proptest::prelude::*;

fn now() -> Timestamp {
    "2026-03-04T05:06:07Z".parse().unwrap()
}

fn ledger() -> Ledger {
    let quota = Quota {
        name: "tool.x".into(),
        limit: 0,
        window: QuotaWindow::Day,
    };
    Ledger::new(Counter::of(&quota, now()))
}

/// A worker as the ledger's arithmetic sees it.
#[derive(Default)]
struct Worker {
    held: Option<String>,
    units: u64,
    leases: usize,
}

#[derive(Debug, Clone)]
enum Step {
    /// Uses up to so many units, leasing where none is left.
    Use(u64),
    /// Leases, and never learns of it.
    LeaseUnheard,
    GiveBack,
    /// Dies, and another begins with nothing.
    Die,
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let step = prop_oneof![
        6 => (1_u64..40).prop_map(Step::Use),
        1 => Just(Step::LeaseUnheard),
        2 => Just(Step::GiveBack),
        1 => Just(Step::Die),
    ];
    prop::collection::vec((0_usize..6, step), 0..200)
}

/// The fleet: a ledger, its workers, and what became of every unit.
struct Model {
    ledger: Ledger,
    limit: u64,
    workers: Vec<Worker>,
    used: u64,
    lost: u64,
}

impl Model {
    fn lease(&mut self, nth: usize) -> u64 {
        let worker = &mut self.workers[nth];
        worker.leases += 1;
        let id = format!("{nth}-{}", worker.leases);
        let wish = Wish {
            id: &id,
            holder: &WriterId::new("w").unwrap(),
            replaces: worker.held.as_deref(),
            unused: std::mem::take(&mut worker.units),
            limit: self.limit,
            revision: 1,
            now: now(),
        };
        let (next, units) = self.ledger.clone().after(&wish);
        self.ledger = next;
        worker.held = (units > 0).then_some(id);
        worker.units = units;
        units
    }

    fn lose(&mut self, nth: usize) {
        let worker = &mut self.workers[nth];
        self.lost += std::mem::take(&mut worker.units);
        worker.held = None;
    }

    fn act(&mut self, nth: usize, step: &Step) {
        match step {
            Step::Use(most) => {
                for _ in 0..*most {
                    if self.workers[nth].units == 0 && self.lease(nth) == 0 {
                        break;
                    }
                    self.workers[nth].units -= 1;
                    self.used += 1;
                }
            }
            Step::LeaseUnheard => {
                self.lease(nth);
                self.lose(nth);
            }
            Step::GiveBack => {
                let worker = &mut self.workers[nth];
                if let Some(held) = worker.held.take() {
                    let unused = std::mem::take(&mut worker.units);
                    self.ledger = self.ledger.clone().without(&held, unused);
                    // A second time changes nothing, as after an answer that was lost.
                    let again = self.ledger.clone().without(&held, unused);
                    assert_eq!(again, self.ledger);
                }
            }
            Step::Die => self.lose(nth),
        }
        let at_hand: u64 = self.workers.iter().map(|worker| worker.units).sum();
        assert_eq!(self.ledger.leased, self.used + self.lost + at_hand);
        assert!(self.ledger.leased <= self.limit, "{:?}", self.ledger);
    }
}

proptest! {
    #[test]
    fn every_unit_is_used_once_or_lost_with_its_worker(limit in 0_u64..3_000, steps in steps()) {
        let mut model = Model {
            ledger: ledger(),
            limit,
            workers: (0..6).map(|_| Worker::default()).collect(),
            used: 0,
            lost: 0,
        };
        let mut losses = 0;
        for (nth, step) in &steps {
            losses += u64::from(matches!(step, Step::Die | Step::LeaseUnheard));
            model.act(*nth, step);
        }
        prop_assert!(model.lost <= losses * max_chunk(limit));
        // Whoever is left uses the limit up to its last unit.
        for nth in 0..6 {
            model.act(nth, &Step::GiveBack);
        }
        model.act(0, &Step::Use(limit + 1));
        prop_assert_eq!(model.used + model.lost, limit);
    }

    #[test]
    fn a_lease_is_never_more_than_is_left_or_than_may_be_lost(limit: u64, leased: u64, lessees in 0_usize..5_000) {
        let units = chunk(limit, leased, lessees);
        prop_assert!(units <= limit.saturating_sub(leased));
        prop_assert!(units <= max_chunk(limit));
        prop_assert_eq!(units == 0, leased >= limit);
    }

    /// Of policies with other limits, each worker having heard of one or another.
    #[test]
    fn nobody_leases_beyond_the_newest_limit_that_anybody_has_leased_under(
        wishes in prop::collection::vec((1_u64..5, 0_usize..4), 1..80),
        limits in prop::array::uniform5(0_u64..200),
    ) {
        let mut ledger = ledger();
        let mut newest = 0;
        for (nth, (revision, holder)) in wishes.into_iter().enumerate() {
            let limit = limits[usize::try_from(revision).unwrap()];
            let (id, holder) = (nth.to_string(), WriterId::new(format!("w{holder}")).unwrap());
            let wish = Wish { id: &id, holder: &holder, replaces: None, unused: 0, limit, revision, now: now() };
            let (next, units) = ledger.clone().after(&wish);
            newest = newest.max(revision);
            let newest_limit = limits[usize::try_from(newest).unwrap()];
            prop_assert_eq!(next.leased, ledger.leased + units);
            prop_assert!(units == 0 || next.leased <= limit.min(newest_limit));
            prop_assert_eq!(next.limit, newest_limit);
            ledger = next;
        }
    }
}

#[test]
fn leases_shrink_towards_the_limit() {
    // Of 1,000 at most 10 each; 4 lessees share what is left, of which each gets half a share.
    let granted = [0, 900, 920, 960, 985, 992, 999, 1_000].map(|leased| chunk(1_000, leased, 4));
    assert_eq!(granted, [10, 10, 10, 5, 1, 1, 1, 0]);
    assert_eq!(chunk(1_000_000_000, 0, 1), 1_000);
    assert_eq!(chunk(5, 0, 1), 1);
    assert_eq!(chunk(0, 0, 1), 0);
}

#[test]
fn a_ledger_names_so_many_leases_and_no_more() {
    let (mut ledger, holder) = (ledger(), WriterId::new("w").unwrap());
    for nth in 0..1_005 {
        let id = nth.to_string();
        let wish = Wish {
            id: &id,
            holder: &holder,
            replaces: None,
            unused: 0,
            limit: 100_000,
            revision: 1,
            now: now(),
        };
        ledger = ledger.after(&wish).0;
    }
    assert_eq!(ledger.leases.len(), 1_000);
    assert!(ledger.lease("4").is_none() && ledger.lease("5").is_some());
    let leased = ledger.leased;
    assert_eq!(
        ledger.without("4", 1).leased,
        leased,
        "what is not named is not given back"
    );
}
