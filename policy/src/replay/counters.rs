//! The fleet's counters, as they would have stood.

use std::collections::HashMap;

use gatewright_schemas::Timestamp;

use crate::{Quota, QuotaAnswer};

/// What is used of each counter in the window that was counted last. Time only goes on, so earlier windows are forgotten.
#[derive(Debug, Default)]
pub(super) struct Counters(HashMap<String, (Timestamp, u64)>);

impl Counters {
    /// What the counter answers to a call that needs one unit.
    pub(super) fn answer(&mut self, needed: Option<Quota>, now: Timestamp) -> QuotaAnswer {
        let Some(quota) = needed else {
            return QuotaAnswer::NotNeeded;
        };
        let window = quota.window.starts_at(now);
        let (counted, used) = self.0.entry(quota.name.clone()).or_insert((window, 0));
        if *counted != window {
            (*counted, *used) = (window, 0);
        }
        if *used >= quota.limit {
            return QuotaAnswer::Exceeded {
                resets_at: quota.window.resets_at(now),
                name: quota.name,
                limit: quota.limit,
            };
        }
        *used += 1;
        QuotaAnswer::Granted(quota)
    }
}
