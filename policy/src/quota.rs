//! Limits that are counted across the fleet: the gate says which one a call consumes, the shell reserves it.
//!
//! 1. The shell asks [`crate::quota_needed`]. It answers only for a call that would otherwise run.
//! 2. With a quota in hand, the shell reserves one unit of it in the fleet's counter.
//! 3. The shell asks [`crate::authorize_tool_call`] with the counter's answer.
//!
//! A call to which a limit applies is denied unless the answer is [`QuotaAnswer::Granted`] for that very limit:
//! a shell that forgets to reserve does not get a permit.

use gatewright_schemas::{PrincipalId, Timestamp, WorkspaceId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::CompiledPolicy;

const TOOL: &str = "tool.";
const EGRESS: &str = "egress.";

/// A limit and the counter that it is counted on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, JsonSchema)]
pub struct Quota {
    /// The counter's name, unique in the fleet: `tool.<tool>` or `egress.<workspace>.<principal>`.
    ///
    /// A tool's name may hold any character but white space and control characters; a shell whose counters' keys hold fewer
    /// must encode it.
    /// A principal's place holds `-` for calls without one: they share a counter, so that leaving the principal out gains nothing.
    pub name: String,
    /// How many units it has in each window.
    pub limit: u64,
    /// When it starts anew.
    pub window: QuotaWindow,
}

impl Quota {
    /// A tool's daily limit.
    pub(crate) fn of_tool(tool: &str, limit: u64) -> Self {
        Self {
            name: format!("{TOOL}{tool}"),
            limit,
            window: QuotaWindow::Day,
        }
    }

    /// The hourly limit of a principal's requests to the outside.
    pub(crate) fn of_egress(
        workspace: &WorkspaceId,
        principal: Option<&PrincipalId>,
        limit: u64,
    ) -> Self {
        let principal = principal.map_or("-", PrincipalId::as_str);
        Self {
            name: format!("{EGRESS}{workspace}.{principal}"),
            limit,
            window: QuotaWindow::Hour,
        }
    }
}

impl CompiledPolicy {
    /// The limit that this policy sets for a counter, by its name; none when it sets none.
    pub fn limit_of(&self, counter: &str) -> Option<u64> {
        match counter.strip_prefix(TOOL) {
            Some(tool) => self.daily_limit(tool),
            None if counter.starts_with(EGRESS) => self.egress_hourly_limit(),
            None => None,
        }
    }
}

/// When a limit starts anew.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum QuotaWindow {
    /// At the start of each hour, UTC.
    Hour,
    /// At midnight, UTC.
    Day,
}

const HOUR_MICROS: i64 = 3_600_000_000;

impl QuotaWindow {
    /// `hour` or `day`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    fn micros(self) -> i64 {
        match self {
            Self::Hour => HOUR_MICROS,
            Self::Day => 24 * HOUR_MICROS,
        }
    }

    /// The start of the window that `now` lies in.
    pub fn starts_at(self, now: Timestamp) -> Timestamp {
        let micros = now.as_micros();
        Timestamp::from_micros(micros - micros.rem_euclid(self.micros()))
    }

    /// When the window that `now` lies in is over.
    pub fn resets_at(self, now: Timestamp) -> Timestamp {
        Timestamp::from_micros(
            self.starts_at(now)
                .as_micros()
                .saturating_add(self.micros()),
        )
    }
}

/// What the fleet's counter answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuotaAnswer {
    /// It was not asked, since [`crate::quota_needed`] named no limit.
    NotNeeded,
    /// One unit of this quota is reserved for the call.
    Granted(Quota),
    /// Nothing is left.
    Exceeded {
        /// The counter's name.
        name: String,
        /// How many units it has.
        limit: u64,
        /// When it starts anew.
        resets_at: Timestamp,
    },
    /// The counter could not be asked; the call is denied.
    Unavailable,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_hours_and_days_of_utc() {
        let now: Timestamp = "2026-03-04T05:06:07Z".parse().unwrap();
        let text = |time: Timestamp| time.to_string();
        assert_eq!(
            text(QuotaWindow::Hour.starts_at(now)),
            "2026-03-04T05:00:00.000000Z"
        );
        assert_eq!(
            text(QuotaWindow::Hour.resets_at(now)),
            "2026-03-04T06:00:00.000000Z"
        );
        assert_eq!(
            text(QuotaWindow::Day.starts_at(now)),
            "2026-03-04T00:00:00.000000Z"
        );
        assert_eq!(
            text(QuotaWindow::Day.resets_at(now)),
            "2026-03-05T00:00:00.000000Z"
        );
        assert!(QuotaWindow::Day.resets_at(Timestamp::from_micros(i64::MAX)) >= now);
    }
}
