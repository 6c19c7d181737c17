//! What becomes of a message whose handling met an error: a property of the error.

use std::time::Duration;

use gatewright_run::Unevolved;
use gatewright_schemas::{ReasonCode, Timestamp};

use crate::{AppendError, Illegible, LoadError, clock};

/// How long a message waits for a program that can work on it, from when it was stored: longer than an upgrade of the fleet takes.
const UPGRADE: Duration = Duration::from_hours(1);

/// What becomes of a message whose handling met an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is handed out again: what stands in the way goes away, by itself or because somebody sees to it.
    Retry,
    /// A newer version may be able to work on it. It is handed out again for as long as an upgrade takes (an hour); then it is kept as
    /// a dead letter, for this reason.
    Outwait(ReasonCode),
    /// No repetition helps. It is kept as a dead letter, for this reason.
    DeadLetter(ReasonCode),
}

impl Fate {
    /// For what reason a message that was stored at `stored_at` is given up now; none when it is handed out again.
    pub fn given_up(self, stored_at: Timestamp) -> Option<ReasonCode> {
        self.given_up_at(stored_at, clock::now())
    }

    fn given_up_at(self, stored_at: Timestamp, now: Timestamp) -> Option<ReasonCode> {
        match self {
            Self::Retry => None,
            Self::Outwait(code) => (now >= stored_at.plus(UPGRADE)).then_some(code),
            Self::DeadLetter(code) => Some(code),
        }
    }
}

impl AppendError {
    /// What becomes of the message that the commit came of.
    pub fn fate(&self) -> Fate {
        match self {
            // Whoever was faster decides what follows; a permission can be given.
            Self::Fenced { .. } | Self::NotPermitted { .. } => Fate::Retry,
            Self::Refused { .. } | Self::Encoding(_) => Fate::DeadLetter(ReasonCode::CommitRefused),
        }
    }
}

impl LoadError {
    /// What becomes of the message for which the history was to be read.
    pub fn fate(&self) -> Fate {
        let code = ReasonCode::HistoryUnreadable;
        match self {
            Self::Unavailable { .. } => Fate::Retry,
            Self::Unreadable { reason, .. } => match reason {
                Illegible::ToThisVersion(_) => Fate::Outwait(code),
                Illegible::ToAnyVersion(_) => Fate::DeadLetter(code),
            },
            Self::Unevolved { source, .. } => match **source {
                // A newer version has events, and orders of them, that this one does not know.
                Unevolved::Unreadable(_) | Unevolved::Impossible(_) => Fate::Outwait(code),
                Unevolved::Chain(_) | Unevolved::Foreign { .. } => Fate::DeadLetter(code),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_version_may_read_is_given_up_after_the_time_of_an_upgrade() {
        let code = ReasonCode::HistoryUnreadable;
        let stored = Timestamp::from_micros(1_000_000);
        let after = stored.plus(UPGRADE);
        let within = after.minus(Duration::from_secs(1));
        assert_eq!(Fate::Outwait(code).given_up_at(stored, within), None);
        assert_eq!(Fate::Outwait(code).given_up_at(stored, after), Some(code));
        assert_eq!(Fate::Retry.given_up_at(stored, after), None);
        assert_eq!(
            Fate::DeadLetter(code).given_up_at(stored, stored),
            Some(code)
        );
    }
}
