//! Commands: what operators and timers ask of the dispatcher on `fleet.command.<workspace>.<run>`,
//! and the answers to commands and submissions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ActorType, CapabilityTokenId, PrincipalId, ReasonCode, RunId, RunStatus, Scopes, Timestamp,
    Violation,
};

/// The header by which a submitter or operator asks for an answer: the subject to send it to.
///
/// JetStream takes the ordinary reply subject for its own acknowledgement.
pub const REPLY_TO: &str = "Gatewright-Reply-To";

/// A command and who gave it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandMessage {
    /// Who asks; recorded with what comes of it.
    #[schemars(length(min = 1, max = 200))]
    pub issued_by: String,
    /// What is asked.
    pub command: Command,
}

/// What can be asked of the dispatcher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// End the run now.
    Cancel {
        /// Why, for a person.
        reason: Option<String>,
    },
    /// Begin a failed or cancelled run anew, under a new id.
    Retry {
        /// The new run's id; derived when absent.
        new_run_id: Option<RunId>,
    },
    /// Wake the run: its `not_before` has come, or its park is over.
    Wake,
    /// Fail the run if it has not ended: its `deadline` has come.
    Deadline,
    /// Decide an approval that the run waits for.
    DecideApproval {
        /// Which.
        approval_id: crate::ApprovalId,
        /// Yes or no.
        approve: bool,
        /// Why, for a person.
        reason: Option<String>,
        /// With a yes: for how long like calls may go without asking, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1))]
        remember_s: Option<u64>,
    },
    /// Let an approval lapse whose time has come.
    ExpireApproval {
        /// Which.
        approval_id: crate::ApprovalId,
    },
    /// Let a remembered approval hold no longer. To run `_authority`.
    ForgetApproval {
        /// Which.
        remembered_id: crate::RememberedApprovalId,
        /// Why, for a person.
        reason: Option<String>,
    },
    /// Open a step of a run whose calls an outside agent asks for; an open one before it is closed.
    OpenStep {
        /// What people call it.
        #[serde(default)]
        #[schemars(length(max = 200))]
        title: Option<String>,
        /// A key of the sender's choice: asked again under it, no second step comes of it.
        #[serde(default)]
        #[schemars(length(min = 1, max = 200))]
        request_key: Option<String>,
    },
    /// Ask for one tool call of such a run.
    RequestToolCall {
        /// The open step.
        step_id: crate::StepId,
        /// The tool's name; white space around it is ignored.
        #[schemars(length(min = 1, max = 200))]
        tool: String,
        /// Its input; must fit the tool's own schema.
        #[serde(default = "crate::submission::empty_object")]
        input: serde_json::Value,
        /// `use_default` or `require_escalated`; the gate denies anything else.
        #[serde(default)]
        #[schemars(length(max = 200))]
        sandbox_permissions: Option<String>,
        /// On whose authority, where that is not the run's own. Any JSON: the gate reads it defensively and denies what it cannot read.
        #[serde(default)]
        policy: serde_json::Value,
        /// The same for the same request, however often it is sent; derived when absent.
        #[serde(default)]
        #[schemars(length(min = 1, max = 200))]
        request_key: Option<String>,
    },
    /// End such a run: its agent is done.
    CompleteRun {
        /// Whether it did what it was to do.
        succeeded: bool,
        /// Why, for a person.
        #[serde(default)]
        #[schemars(length(max = 2000))]
        reason: Option<String>,
    },
    /// Make a policy document the active one. To run `_authority` of workspace `_fleet`.
    ApplyPolicy {
        /// The document, TOML.
        document: String,
    },
    /// Grant a capability token. To run `_authority`.
    GrantCapability {
        /// Its id; derived when absent.
        token_id: Option<CapabilityTokenId>,
        /// Its holder.
        to: PrincipalId,
        /// Who grants it. With a parent, that must be the parent's holder.
        by: PrincipalId,
        /// The token it is delegated from.
        parent: Option<CapabilityTokenId>,
        /// What it covers.
        scopes: Scopes,
        /// From when on it no longer holds.
        valid_until: Option<Timestamp>,
    },
    /// Revoke a capability token and with it all its descendants. To run `_authority`.
    RevokeCapability {
        /// Which.
        token_id: CapabilityTokenId,
        /// Why, for a person.
        reason: Option<String>,
    },
    /// Make a principal known. To run `_authority`.
    RegisterPrincipal {
        /// Its id.
        principal_id: PrincipalId,
        /// What kind of thing it is.
        principal_type: ActorType,
        /// The agent's, user's or service's own id.
        #[schemars(length(min = 1, max = 200))]
        actor_id: String,
    },
    /// Forbid a principal everything. To run `_authority`.
    QuarantinePrincipal {
        /// Which.
        principal_id: PrincipalId,
        /// Why, for a person.
        reason: String,
    },
    /// Lift a quarantine. To run `_authority`.
    ReleasePrincipal {
        /// Which.
        principal_id: PrincipalId,
        /// Why, for a person.
        reason: Option<String>,
    },
}

/// The dispatcher's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Reply {
    /// Done, or done before.
    Accepted {
        /// The run that it concerns.
        run_id: RunId,
        /// Where the run stands; absent for commands to `_authority`.
        status: Option<RunStatus>,
        /// What came into being: a token's id, a policy's revision.
        created: Option<String>,
    },
    /// Refused; nothing changed.
    Refused {
        /// The run that it concerns, where one could be told.
        run_id: Option<RunId>,
        /// Why.
        reason_code: Option<ReasonCode>,
        /// Why, for a person.
        reason: String,
        /// What is wrong, place by place.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        violations: Vec<Violation>,
    },
}
