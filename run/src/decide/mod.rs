//! What can be done to a run: one function each. Every function answers with the events of one commit.
//!
//! A worker's functions take a [`Turn`] on its first commit after a wake-up, and `None` after that.

mod admit;
mod approval;
mod call;
mod end;
mod external;
mod recover;

pub use admit::{admit, reject};
pub use approval::{Bench, Terms, Verdict, answer_approval, park_for_approval, remembered};
pub use call::{Asked, Invocation, Outcome, conclude, invoke, refuse, told};
pub use end::{cancel, exhaust, expire, finish, give_up};
pub use external::{CallRequest, Requested, complete, open_step, request_call};
pub use recover::lose;

use gatewright_policy::approval::VoteRefused;
use gatewright_schemas::Timestamp;

use crate::{Fate, Impossible};

/// A worker's turn at a run: what its wake-up message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The message's sequence in the queue.
    pub lease: u64,
}

/// Why something cannot be done to a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// It does not exist.
    #[error("the run does not exist")]
    NotFound,
    /// It has ended; nothing can follow.
    #[error("the run has ended already")]
    Ended,
    /// It never asked for this approval.
    #[error("the run has not asked for this approval")]
    NotWaiting,
    /// The approval is decided already.
    #[error("the approval {}", .0.told())]
    Answered(Fate),
    /// The approval has not expired yet.
    #[error("the approval can be decided until {expires_at}")]
    NotExpired {
        /// When it does.
        expires_at: Timestamp,
    },
    /// Whoever wants to approve may not.
    #[error(transparent)]
    Vote(#[from] VoteRefused),
    /// The approval cannot hold for like calls, or not for that long.
    #[error("the approval cannot be remembered so: {why}")]
    NotMemorable {
        /// Why.
        why: String,
    },
    /// Its calls are not an outside agent's to ask for.
    #[error(
        "the run's steps are its own: only a run with `actor: \"external\"` takes calls from outside"
    )]
    NotExternal,
    /// It does not wait for its agent.
    #[error("the run does not wait for its agent: a call is under way, or waits for an approval")]
    Busy,
    /// It has no such open step.
    #[error("the step is not the run's open one")]
    StepNotOpen,
    /// The key was used before, for something else.
    #[error("the key was used for another request of this run")]
    KeyTaken,
    /// It has as many steps or calls as it may have.
    #[error("the run has as many steps or calls as it may have")]
    TooLong,
    /// The events would not follow on the state: a fault of the program, nothing is appended.
    #[error(transparent)]
    Impossible(#[from] Impossible),
}
