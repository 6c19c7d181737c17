//! The closed sets of words that appear on the wire.
//!
//! Each has one `as_str()` that serves JSON, subject token, metric label, log field and column alike.

macro_rules! words {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every word of the set, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it stands on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(UnknownWord {
                        text: text.chars().take(80).flat_map(char::escape_debug).collect(),
                        known: &[$($text),+],
                    }),
                }
            }
        }
    };
}

/// A text that is none of the words of a set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is none of {}", known.join(", "))]
pub struct UnknownWord {
    /// The refused text, cut and escaped.
    pub text: String,
    /// The words of the set.
    pub known: &'static [&'static str],
}

words! {
    /// How much a run may touch, and which workers may receive it.
    #[derive(Default)]
    pub enum Zone {
        /// No authority over real systems.
        #[default]
        Sandbox = "sandbox",
        /// Real systems, with people watching.
        Supervised = "supervised",
        /// What cannot be taken back.
        HighStakes = "high_stakes",
    }
}

words! {
    /// Which queue a run waits in; interactive runs go first.
    #[derive(Default)]
    pub enum Lane {
        /// Somebody waits for the answer.
        Interactive = "interactive",
        /// Nobody does.
        #[default]
        Background = "background",
    }
}

words! {
    /// Where a run stands.
    pub enum RunStatus {
        /// Accepted and waiting for a worker (or for its `not_before`).
        Queued = "queued",
        /// A worker moves it.
        Running = "running",
        /// Parked until somebody decides.
        WaitingApproval = "waiting_approval",
        /// Parked until the outside agent asks for its next call.
        WaitingActor = "waiting_actor",
        /// Over, as wished.
        Succeeded = "succeeded",
        /// Over, with an error.
        Failed = "failed",
        /// Over, because somebody asked.
        Cancelled = "cancelled",
        /// Never began: the submission was not valid.
        Rejected = "rejected",
    }
}

impl RunStatus {
    /// Whether nothing can follow.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Rejected
        )
    }

    /// Whether the run waits for something outside the fleet and holds no worker.
    pub fn is_parked(self) -> bool {
        matches!(self, Self::WaitingApproval | Self::WaitingActor)
    }
}

words! {
    /// Where a step stands.
    pub enum StepStatus {
        /// Its calls are being made.
        Running = "running",
        /// Every call succeeded, or failed with leave to go on.
        Succeeded = "succeeded",
        /// A call failed and the run with it.
        Failed = "failed",
        /// The run was cancelled first.
        Cancelled = "cancelled",
    }
}

words! {
    /// Where a tool call stands.
    pub enum ToolCallStatus {
        /// An outside agent asked for it; the gate has not answered yet.
        Requested = "requested",
        /// Parked until somebody decides.
        WaitingApproval = "waiting_approval",
        /// Its intent is recorded; the tool may be running.
        Running = "running",
        /// The tool answered.
        Succeeded = "succeeded",
        /// It was refused, or the tool failed.
        Failed = "failed",
        /// The run was cancelled first.
        Cancelled = "cancelled",
    }
}

words! {
    /// What the gate answers. The order is from the least to the most restrictive.
    pub enum Decision {
        /// The call may happen.
        Allow = "allow",
        /// The call may happen once somebody approved it.
        RequireApproval = "require_approval",
        /// The call may not happen.
        Deny = "deny",
    }
}

words! {
    /// Whether the gate's answer is obeyed.
    pub enum EnforcementMode {
        /// Recorded only; the call runs.
        Shadow = "shadow",
        /// Obeyed.
        Enforce = "enforce",
    }
}

words! {
    /// The gate's answer in a commit: the last token but one of an event's subject.
    pub enum Gate {
        /// The gate was not asked, or its answer changes nothing.
        None = "none",
        /// A call was allowed.
        Allow = "allow",
        /// A call was denied (also in shadow mode, where it then ran).
        Deny = "deny",
        /// A call waits for approval (also in shadow mode, where it then ran).
        RequireApproval = "require_approval",
    }
}

impl From<Decision> for Gate {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Allow => Self::Allow,
            Decision::Deny => Self::Deny,
            Decision::RequireApproval => Self::RequireApproval,
        }
    }
}

words! {
    /// What kind of thing acts.
    #[derive(Default)]
    pub enum ActorType {
        /// A program of the platform.
        #[default]
        Service = "service",
        /// A person.
        User = "user",
        /// An agent; it must name its principal.
        Agent = "agent",
    }
}

words! {
    /// What a tool does to the world.
    pub enum Effect {
        /// Nothing.
        None = "none",
        /// It reads.
        Read = "read",
        /// It changes something.
        Write = "write",
    }
}

words! {
    /// Which sandbox a call asks for.
    #[derive(Default)]
    pub enum SandboxPermissions {
        /// The tool's ordinary sandbox.
        #[default]
        UseDefault = "use_default",
        /// The policy's escalated profile, after approval.
        RequireEscalated = "require_escalated",
    }
}

words! {
    /// What a run does when a call fails.
    #[derive(Default)]
    pub enum OnFailure {
        /// The run fails with it.
        #[default]
        Fail = "fail",
        /// The run goes on with the next call.
        Continue = "continue",
    }
}

words! {
    /// What a run does when nobody can tell whether a call took effect.
    #[derive(Default)]
    pub enum OnUnknownOutcome {
        /// The run fails.
        #[default]
        Fail = "fail",
        /// The run parks until a person says whether to go on.
        AskHuman = "ask_human",
    }
}

words! {
    /// What a run does when a call needs approval.
    #[derive(Default)]
    pub enum OnApproval {
        /// It parks until somebody decides.
        #[default]
        Wait = "wait",
        /// It fails at once.
        Fail = "fail",
    }
}

words! {
    /// The part of a call's way in which it failed.
    pub enum Stage {
        /// The submission was not accepted.
        Admission = "admission",
        /// The tool is not known.
        Registry = "registry",
        /// The input is not valid for the tool.
        Input = "input",
        /// The gate refused the call.
        ToolPolicy = "tool_policy",
        /// The gate or the gateway refused the request to the outside.
        Egress = "egress",
        /// The tool itself failed.
        Execution = "execution",
        /// A crash left the outcome open.
        Recovery = "recovery",
        /// The run's own limits: deadline, attempts.
        Lifecycle = "lifecycle",
    }
}

words! {
    /// Who asks for a run's tool calls.
    #[derive(Default)]
    pub enum RuntimeActor {
        /// The run's own steps.
        #[default]
        Plan = "plan",
        /// An agent outside, one call at a time.
        External = "external",
    }
}

words! {
    /// What a key to the HTTP API is good for, beside reading, which every key may in its workspace.
    pub enum KeyRole {
        /// Nothing more.
        Viewer = "viewer",
        /// Submitting, cancelling and retrying runs.
        Submitter = "submitter",
        /// Opening steps, asking for tool calls, completing runs of outside agents.
        Actor = "actor",
        /// Deciding approvals.
        Approver = "approver",
        /// Everything.
        Admin = "admin",
    }
}

words! {
    /// The types of events. POLICY and DESIGN terms; one JSON Schema each.
    pub enum EventType {
        /// [`crate::event::RunCreated`]
        RunCreated = "run.created",
        /// [`crate::event::RunStarted`]
        RunStarted = "run.started",
        /// [`crate::event::RunResumed`]
        RunResumed = "run.resumed",
        /// [`crate::event::RunSuspended`]
        RunSuspended = "run.suspended",
        /// [`crate::event::RunCompleted`]
        RunCompleted = "run.completed",
        /// [`crate::event::RunFailed`]
        RunFailed = "run.failed",
        /// [`crate::event::RunCancelled`]
        RunCancelled = "run.cancelled",
        /// [`crate::event::RunRejected`]
        RunRejected = "run.rejected",
        /// [`crate::event::StepCreated`]
        StepCreated = "step.created",
        /// [`crate::event::StepCompleted`]
        StepCompleted = "step.completed",
        /// [`crate::event::ToolRequested`]
        ToolRequested = "tool.requested",
        /// [`crate::event::ToolInvoked`]
        ToolInvoked = "tool.invoked",
        /// [`crate::event::ToolSucceeded`]
        ToolSucceeded = "tool.succeeded",
        /// [`crate::event::ToolFailed`]
        ToolFailed = "tool.failed",
        /// [`crate::event::PolicyDecided`]
        PolicyDenied = "policy.denied",
        /// [`crate::event::PolicyDecided`]
        PolicyRequiresApproval = "policy.requires_approval",
        /// [`crate::event::PolicyActivated`]
        PolicyActivated = "policy.activated",
        /// [`crate::event::QuotaExceeded`]
        QuotaExceeded = "quota.exceeded",
        /// [`crate::event::ApprovalRequested`]
        ApprovalRequested = "approval.requested",
        /// [`crate::event::ApprovalVoted`]
        ApprovalVoted = "approval.voted",
        /// [`crate::event::ApprovalDecided`]
        ApprovalDecided = "approval.decided",
        /// [`crate::event::ApprovalExpired`]
        ApprovalExpired = "approval.expired",
        /// [`crate::event::ApprovalRemembered`]
        ApprovalRemembered = "approval.remembered",
        /// [`crate::event::ApprovalForgotten`]
        ApprovalForgotten = "approval.forgotten",
        /// [`crate::event::EgressRequested`]
        EgressRequested = "egress.requested",
        /// [`crate::event::EgressAllowed`]
        EgressAllowed = "egress.allowed",
        /// [`crate::event::EgressBlocked`]
        EgressBlocked = "egress.blocked",
        /// [`crate::event::CapabilityGranted`]
        CapabilityGranted = "capability.granted",
        /// [`crate::event::CapabilityRefused`]
        CapabilityRefused = "capability.refused",
        /// [`crate::event::CapabilityRevoked`]
        CapabilityRevoked = "capability.revoked",
        /// [`crate::event::PrincipalRegistered`]
        PrincipalRegistered = "principal.registered",
        /// [`crate::event::PrincipalQuarantined`]
        PrincipalQuarantined = "principal.quarantined",
        /// [`crate::event::PrincipalReleased`]
        PrincipalReleased = "principal.released",
    }
}

words! {
    /// Why something was decided or failed. Stable: programs match on these.
    pub enum ReasonCode {
        // --- the gate, in the order of its checks
        /// `runtime.policy` is not well formed.
        PolicyContextInvalid = "policy_context_invalid",
        /// The worker's copy of the policy is too old to decide on.
        PolicySnapshotStale = "policy_snapshot_stale",
        /// No policy is active.
        PolicyMissing = "policy_missing",
        /// A kill switch covers the call.
        KillSwitchActive = "kill_switch_active",
        /// An agent acts without naming its principal.
        AgentPrincipalRequired = "agent_principal_required",
        /// The agent's principal is not known.
        AgentPrincipalNotFound = "agent_principal_not_found",
        /// The principal is not that agent.
        AgentActorIdMismatch = "agent_actor_id_mismatch",
        /// The principal is quarantined.
        AgentQuarantined = "agent_quarantined",
        /// The call needs a capability token and names none.
        CapabilityTokenRequired = "capability_token_required",
        /// The capability token is not known.
        CapabilityTokenNotFound = "capability_token_not_found",
        /// The capability token, or one it descends from, is revoked.
        CapabilityTokenRevoked = "capability_token_revoked",
        /// The capability token, or one it descends from, has expired.
        CapabilityTokenExpired = "capability_token_expired",
        /// The capability token belongs to another principal.
        CapabilityTokenPrincipalMismatch = "capability_token_principal_mismatch",
        /// The token's scope lists no tools.
        CapabilityScopeToolRequired = "capability_scope_tool_required",
        /// The token's scope does not list this tool.
        CapabilityScopeToolNotAllowed = "capability_scope_tool_not_allowed",
        /// The token's scope lists no rooms.
        CapabilityScopeRoomRequired = "capability_scope_room_required",
        /// The token's scope does not list this room.
        CapabilityScopeRoomNotAllowed = "capability_scope_room_not_allowed",
        /// The token's scope lists no action types.
        CapabilityScopeActionTypeRequired = "capability_scope_action_type_required",
        /// The token's scope does not list this action type.
        CapabilityScopeActionNotAllowed = "capability_scope_action_not_allowed",
        /// The token's scope lists no domains.
        CapabilityScopeEgressDomainRequired = "capability_scope_egress_domain_required",
        /// The token's scope does not cover this domain.
        CapabilityScopeEgressDomainNotAllowed = "capability_scope_egress_domain_not_allowed",
        /// The token's scope says nothing of data access.
        CapabilityScopeDataAccessRequired = "capability_scope_data_access_required",
        /// The token's scope does not cover this data access.
        CapabilityScopeDataAccessNotAllowed = "capability_scope_data_access_not_allowed",
        /// The action belongs to another zone.
        ActionZoneMismatch = "action_zone_mismatch",
        /// The action needs the zone `high_stakes`.
        ActionZoneRequiresHighStakes = "action_zone_requires_high_stakes",
        /// The action cannot be undone and needs the zone `high_stakes`.
        ActionIrreversibleRequiresHighStakes = "action_irreversible_requires_high_stakes",
        /// The action needs approval beforehand.
        ActionPreApprovalRequired = "action_pre_approval_required",
        /// The call asks to leave its ordinary sandbox.
        SandboxEscalationRequiresApproval = "sandbox_escalation_requires_approval",
        /// `sandbox_permissions` is none of the known values.
        SandboxPermissionsUnknown = "sandbox_permissions_unknown",
        /// The call asks for more than its ordinary sandbox, and the policy names no profile for that.
        SandboxProfileMissing = "sandbox_profile_missing",
        /// A host that the input names is not on the allowlist.
        DomainNotAllowlisted = "domain_not_allowlisted",
        /// The call writes to the outside.
        ExternalWriteRequiresApproval = "external_write_requires_approval",
        /// The tool is on the list of those that need approval.
        ToolRequiresApproval = "tool_requires_approval",
        /// The tool is on the list of those that need none.
        ToolAutoAllowed = "tool_auto_allowed",
        /// The document's default allows.
        DefaultAllow = "default_allow",
        /// The document's default denies.
        DefaultDeny = "default_deny",
        /// The document's default asks for approval.
        DefaultRequiresApproval = "default_requires_approval",
        /// The tool's daily limit is used up.
        ToolQuotaExceeded = "tool_quota_exceeded",
        /// The principal's hourly limit is used up.
        QuotaExceeded = "quota_exceeded",
        /// A valid approval of this very call settles it.
        ApprovalAllowsAction = "approval_allows_action",
        /// A remembered approval covers it.
        ApprovalRemembered = "approval_remembered",
        /// A check could not be evaluated.
        PolicyEvaluationError = "policy_evaluation_error",

        // --- approvals
        /// There is no such approval.
        ApprovalNotFound = "approval_not_found",
        /// The approval is not granted.
        ApprovalNotGranted = "approval_not_granted",
        /// Somebody said no.
        ApprovalDenied = "approval_denied",
        /// Nobody decided in time.
        ApprovalExpired = "approval_expired",
        /// Input, tool definition or principal is not what was approved.
        ApprovalInputMismatch = "approval_input_mismatch",
        /// The approval was spent before.
        ApprovalAlreadyUsed = "approval_already_used",
        /// Whoever wants to decide may not.
        ApproverNotAllowed = "approver_not_allowed",

        // --- around the gate
        /// No tool has this name.
        ToolNotFound = "tool_not_found",
        /// The input does not fit the tool's schema.
        ToolInputInvalid = "tool_input_invalid",
        /// The tool took too long.
        ToolTimeout = "tool_timeout",
        /// The tool answered more than its limit.
        ToolOutputTooLarge = "tool_output_too_large",
        /// The tool failed.
        ToolExecutionFailed = "tool_execution_failed",
        /// No sandbox can be made for the command, so it was not run.
        SandboxUnavailable = "sandbox_unavailable",
        /// The run's secrets are not in the vault any more.
        SecretMissing = "secret_missing",
        /// A crash left open whether the call took effect.
        OutcomeUnknown = "outcome_unknown",

        // --- the egress gateway
        /// The URL cannot be used.
        EgressUrlInvalid = "egress_url_invalid",
        /// The host's address is not public and no exception names it.
        EgressAddressNotAllowed = "egress_address_not_allowed",
        /// The host's name has no address.
        EgressHostNotFound = "egress_host_not_found",
        /// The connection could not be made, or broke.
        EgressConnectionFailed = "egress_connection_failed",
        /// The server redirected too often.
        EgressTooManyRedirects = "egress_too_many_redirects",

        // --- the run's life
        /// The submission is not valid.
        SubmissionInvalid = "submission_invalid",
        /// The run id is taken by another content.
        RunIdConflict = "run_id_conflict",
        /// The run did not end before its deadline.
        DeadlineExceeded = "deadline_exceeded",
        /// Too many workers died on it.
        AttemptsExhausted = "attempts_exhausted",
        /// Somebody asked.
        CancelRequested = "cancel_requested",
        /// The run's history cannot be understood by this version.
        HistoryUnreadable = "history_unreadable",
        /// The NATS server will never store what would have to be recorded, for example because it is too large.
        CommitRefused = "commit_refused",
        /// What would have to be recorded cannot follow on the history: a fault of this program.
        InternalError = "internal_error",

        /// The outside agent says that it could not do what it was to do.
        ActorGaveUp = "actor_gave_up",
        /// The run's calls are not an outside agent's to ask for.
        RunNotExternal = "run_not_external",
        /// The run does not wait for its agent: a call is under way, or waits for an approval.
        RunBusy = "run_busy",
        /// The run has no such open step.
        StepNotOpen = "step_not_open",
        /// The run has as many steps or calls as it may have.
        RunTooLong = "run_too_long",
        /// The request's key was used for another request.
        RequestKeyConflict = "request_key_conflict",

        // --- authority
        /// The delegation would widen what its parent allows, or is not its holder's to make.
        DelegationRefused = "delegation_refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_and_serialises_as_itself() {
        for code in ReasonCode::ALL {
            assert_eq!(code.as_str().parse(), Ok(*code));
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
        for kind in EventType::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert!("Allow".parse::<Decision>().is_err());
    }

    #[test]
    fn restriction_grows_from_allow_to_deny() {
        assert!(Decision::Allow < Decision::RequireApproval);
        assert!(Decision::RequireApproval < Decision::Deny);
    }
}
