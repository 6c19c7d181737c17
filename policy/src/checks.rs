//! The thirteen checks, in order. Each looks at the facts of one call and objects, or does not.
//!
//! No check knows of another, none can allow anything, and none is skipped when it cannot be evaluated: that is a denial.
//! To add one: a file here, a line in [`CHECKS`], its codes in `schemas` (`ReasonCode`), cases in `tests/cases/`.

#![allow(
    clippy::unnecessary_wraps,
    reason = "all checks have one signature, so that they stand in one list; most of them cannot fail today"
)]

mod action;
mod agent;
mod context;
mod domain;
mod external_write;
mod kill_switch;
mod quarantine;
mod quota;
mod sandbox;
mod scope;
mod snapshot;
mod token;
mod tool_list;

use gatewright_schemas::{Decision, Finding, ReasonCode};

pub(crate) use action::EXTERNAL_WRITE;
pub(crate) use tool_list::allowed_by;

use crate::{
    facts::{Facts, Pass},
    host::UnreadableHost,
    snapshot::BrokenLine,
};

/// All checks, in the order in which they are asked and in which their findings are told.
pub(crate) const CHECKS: [Check; 13] = [
    context::CHECK,
    snapshot::CHECK,
    kill_switch::CHECK,
    agent::CHECK,
    quarantine::CHECK,
    token::CHECK,
    scope::CHECK,
    action::CHECK,
    sandbox::CHECK,
    domain::CHECK,
    external_write::CHECK,
    tool_list::CHECK,
    quota::CHECK,
];

/// One check.
pub(crate) struct Check {
    /// Its place, from 1.
    pub(crate) number: u8,
    /// Its name: what a finding's `check` holds.
    pub(crate) name: &'static str,
    /// What it asks, for `policy explain`.
    pub(crate) asks: &'static str,
    /// Whether it is asked of requests to the outside too.
    pub(crate) of_egress: bool,
    /// Whether there is anything about the call for it to look at. `policy explain` shows it; no decision depends on it.
    pub(crate) applies: fn(&Facts<'_>) -> bool,
    /// The check itself.
    pub(crate) evaluate: fn(&Facts<'_>) -> Result<Option<Objection>, CheckError>,
}

/// What a check has against a call.
#[derive(Debug)]
pub(crate) struct Objection {
    decision: Decision,
    code: ReasonCode,
    reason: String,
}

/// Why a check cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// A URL in the input cannot be read, so nobody knows where it leads.
    #[error("a URL in the input cannot be matched: {0}")]
    Host(#[from] UnreadableHost),
    /// A token's line of descent has no end.
    #[error("{0}")]
    Line(#[from] BrokenLine),
    /// A limit applies, and nobody reserved it.
    #[error("the limit `{0}` applies and was not asked")]
    QuotaNotAsked(String),
    /// A limit applies, and another one was reserved.
    #[error("the limit `{needed}` applies, but `{reserved}` was reserved")]
    OtherQuota {
        /// The limit that applies.
        needed: String,
        /// The one that was reserved.
        reserved: String,
    },
    /// A limit applies, and its counter could not be asked.
    #[error("the counter of the limit `{0}` cannot be asked")]
    QuotaUnavailable(String),
}

/// The call may not happen.
fn deny(code: ReasonCode, reason: impl Into<String>) -> Option<Objection> {
    Some(Objection {
        decision: Decision::Deny,
        code,
        reason: reason.into(),
    })
}

/// The call may happen once somebody approved it.
fn require_approval(code: ReasonCode, reason: impl Into<String>) -> Option<Objection> {
    Some(Objection {
        decision: Decision::RequireApproval,
        code,
        reason: reason.into(),
    })
}

impl Check {
    /// Whether the check belongs to this question.
    pub(crate) fn is_asked(&self, facts: &Facts<'_>) -> bool {
        self.of_egress || matches!(facts.pass, Pass::Tool { .. })
    }

    /// What the check objects to. A check that fails is a denial.
    pub(crate) fn finding(&self, facts: &Facts<'_>) -> Option<Finding> {
        let objection = (self.evaluate)(facts).unwrap_or_else(|error| {
            deny(
                ReasonCode::PolicyEvaluationError,
                format!("the check `{}` failed: {error}", self.name),
            )
        })?;
        Some(Finding {
            check: self.name.to_owned(),
            decision: objection.decision,
            reason_code: objection.code,
            reason: objection.reason,
        })
    }
}

/// A text for people that holds somebody else's words: cut, and with control and bidirectional characters escaped.
fn quoted(text: &str) -> String {
    text.chars()
        .take(120)
        .flat_map(char::escape_debug)
        .collect()
}
