//! What becomes of a message whose handling met an error: a property of the error.

use gatewright_schemas::ReasonCode;

use crate::{AppendError, LoadError};

/// What becomes of a message whose handling met an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is handed out again: what stands in the way goes away, by itself or because somebody sees to it.
    Retry,
    /// No repetition helps. It is kept as a dead letter, for this reason.
    DeadLetter(ReasonCode),
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
        match self {
            Self::Unavailable { .. } => Fate::Retry,
            Self::Unreadable { .. } | Self::Unevolved { .. } => {
                Fate::DeadLetter(ReasonCode::HistoryUnreadable)
            }
        }
    }
}
