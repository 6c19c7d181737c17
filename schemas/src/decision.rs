//! The gate's answer as it is recorded.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Decision, Digest, EnforcementMode, ReasonCode};

/// What one check of the gate objected to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The check, by its name (see `gatewright policy explain`).
    pub check: String,
    /// What the check alone would answer; never `allow`.
    pub decision: Decision,
    /// Why.
    pub reason_code: ReasonCode,
    /// Why, for a person.
    pub reason: String,
}

/// The gate's whole answer to one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecisionRecord {
    /// The answer.
    pub decision: Decision,
    /// Why: the code of the finding that weighs most, or of what allowed the call.
    pub reason_code: ReasonCode,
    /// Why, for a person.
    pub reason: String,
    /// Whether the answer is obeyed.
    pub enforcement_mode: EnforcementMode,
    /// True when and only when the mode is `enforce` and the answer is not `allow`. The only thing that stops a call.
    pub blocked: bool,
    /// Every check that objected, in the order of the checks.
    pub findings: Vec<Finding>,
    /// Revision of the policy that was asked; absent when none was active.
    pub policy_revision: Option<u64>,
    /// Digest of that policy's document.
    pub policy_digest: Option<Digest>,
}
