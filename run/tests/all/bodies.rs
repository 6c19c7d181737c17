//! For every type of event a body that fits a state as well as one can.

use gatewright_run::RunState;
use gatewright_schemas::{
    ApprovalId, CapabilityToken, CapabilityTokenId, Commit, CommitId, Decision, DecisionRecord,
    Digest, Effect, EnforcementMode, ErrorInfo, Event, EventBody, EventType, PrincipalId,
    Quarantine, ReasonCode, RememberedApproval, RememberedApprovalId, Scopes, Stage, StepStatus,
    ToolCallId, WorkspaceId, Zone,
    chain::{self, Envelope},
    event::{
        Actor, ApprovalDecided, ApprovalExpired, ApprovalForgotten, ApprovalQuestion,
        ApprovalRemembered, ApprovalRequested, ApprovalVoted, CapabilityGranted, CapabilityRefused,
        CapabilityRevoked, EgressAllowed, EgressBlocked, EgressRequested, Likeness,
        PolicyActivated, PolicyDecided, PrincipalQuarantined, PrincipalRegistered,
        PrincipalReleased, QuotaExceeded, RunCancelled, RunCompleted, RunFailed, RunRejected,
        RunResumed, RunStarted, RunSuspended, StepCompleted, StepCreated, ToolFailed, ToolInvoked,
        ToolRequested, ToolSucceeded, WaitingFor,
    },
};
use serde_json::json;

use crate::world::{acme, noon, run_created, submission, tonight};

/// What varies in a body.
#[derive(Debug, Clone)]
pub struct Fit {
    pub call: ToolCallId,
    pub approval: ApprovalId,
    pub attempt: u32,
    pub input_digest: Digest,
    pub idempotent: bool,
    pub waiting_for_actor: bool,
    pub approved: bool,
    pub step_status: StepStatus,
    pub question: ApprovalQuestion,
}

impl Fit {
    /// What fits `state` best.
    pub fn of(state: &RunState) -> Self {
        let progress = state.progress.as_ref();
        let call = progress
            .and_then(|p| p.current_call())
            .map(|call| call.tool_call_id.clone())
            .or_else(|| progress.and_then(gatewright_run::Progress::next_call_id))
            .unwrap_or_else(first_call);
        let waiting = progress.and_then(|p| p.waiting.as_ref());
        Self {
            approval: waiting.map_or_else(
                || ApprovalId::of(&call, progress.map_or(0, |p| p.approvals) + 1),
                |w| w.request.approval_id.clone(),
            ),
            attempt: progress.map_or(0, |p| p.attempt).saturating_add(1),
            input_digest: progress
                .and_then(|p| p.open_call.as_ref())
                .map_or_else(|| Digest::of(&json!({})), |open| open.input_digest.clone()),
            call,
            idempotent: true,
            waiting_for_actor: false,
            approved: true,
            step_status: StepStatus::Failed,
            question: ApprovalQuestion::MakeTheCall,
        }
    }
}

pub fn first_call() -> ToolCallId {
    ToolCallId::new("acme.r1.1.1").unwrap()
}

fn principal() -> PrincipalId {
    PrincipalId::new("p1").unwrap()
}

fn token() -> CapabilityTokenId {
    CapabilityTokenId::new("t1").unwrap()
}

fn remembered() -> RememberedApprovalId {
    RememberedApprovalId::new("rem-1").unwrap()
}

fn why() -> ErrorInfo {
    ErrorInfo::new(
        Stage::Execution,
        ReasonCode::ToolExecutionFailed,
        "it broke",
    )
}

pub fn record(decision: Decision) -> DecisionRecord {
    DecisionRecord {
        decision,
        reason_code: ReasonCode::DefaultAllow,
        reason: "the document's default".into(),
        enforcement_mode: EnforcementMode::Enforce,
        blocked: decision != Decision::Allow,
        findings: Vec::new(),
        policy_revision: Some(1),
        policy_digest: None,
    }
}

/// A body of this type. There is no other way past this `match` than to say what a new type's looks like.
#[expect(clippy::too_many_lines, reason = "a straight list of all types")]
pub fn body(event_type: EventType, fit: &Fit) -> EventBody {
    let decided = |decision| PolicyDecided {
        tool_call_id: fit.call.clone(),
        tool_name: "read".into(),
        category: "tool".into(),
        action_type: None,
        input_digest: None,
        principal_id: None,
        capability_token_id: None,
        zone: Zone::Sandbox,
        hosts: Vec::new(),
        decision: record(decision),
        asked: None,
    };
    match event_type {
        EventType::RunCreated => EventBody::RunCreated(run_created(submission(&json!({})))),
        EventType::RunStarted => EventBody::RunStarted(RunStarted {
            attempt: fit.attempt,
            lease: 1,
        }),
        EventType::RunResumed => EventBody::RunResumed(RunResumed {
            attempt: fit.attempt,
            lease: 2,
            takeover: true,
        }),
        EventType::RunSuspended => EventBody::RunSuspended(RunSuspended {
            waiting_for: if fit.waiting_for_actor {
                WaitingFor::Actor
            } else {
                WaitingFor::Approval {
                    approval_id: fit.approval.clone(),
                    expires_at: tonight(),
                }
            },
        }),
        EventType::RunCompleted => EventBody::RunCompleted(RunCompleted {
            succeeded_calls: 1,
            failed_calls: 0,
        }),
        EventType::RunFailed => EventBody::RunFailed(RunFailed { error: why() }),
        EventType::RunCancelled => EventBody::RunCancelled(RunCancelled {
            reason: None,
            by: "ann".into(),
        }),
        EventType::RunRejected => EventBody::RunRejected(RunRejected {
            error: why(),
            requested_run_id: None,
            submission_sequence: 3,
        }),
        EventType::StepCreated => EventBody::StepCreated(StepCreated {
            number: 1,
            title: None,
            request_key: None,
        }),
        EventType::StepCompleted => EventBody::StepCompleted(StepCompleted {
            status: fit.step_status,
        }),
        EventType::ToolRequested => EventBody::ToolRequested(ToolRequested {
            tool_call_id: fit.call.clone(),
            tool_name: "read".into(),
            input: json!({}),
            request_key: "key".into(),
            sandbox_permissions: None,
            policy: serde_json::Value::Null,
            secrets: None,
        }),
        EventType::ToolInvoked => EventBody::ToolInvoked(ToolInvoked {
            tool_call_id: fit.call.clone(),
            tool_name: "read".into(),
            definition_digest: Digest::of(&json!({ "tool": "read" })),
            effect: Effect::Read,
            idempotent: fit.idempotent,
            input: json!({}),
            input_digest: fit.input_digest.clone(),
            decision: record(Decision::Allow),
            approval_id: None,
            action_type: None,
            principal_id: None,
            capability_token_id: None,
            hosts: Vec::new(),
            asked: None,
        }),
        EventType::ToolSucceeded => EventBody::ToolSucceeded(ToolSucceeded {
            tool_call_id: fit.call.clone(),
            output: json!({}),
            executions: 1,
            duration_us: 5,
        }),
        EventType::ToolFailed => EventBody::ToolFailed(ToolFailed {
            tool_call_id: fit.call.clone(),
            tool_name: "read".into(),
            error: why(),
            executions: 0,
            duration_us: 0,
        }),
        EventType::PolicyDenied => EventBody::PolicyDenied(decided(Decision::Deny)),
        EventType::PolicyRequiresApproval => {
            EventBody::PolicyRequiresApproval(decided(Decision::RequireApproval))
        }
        EventType::PolicyActivated => EventBody::PolicyActivated(PolicyActivated {
            revision: 1,
            digest: Digest::of(&json!({})),
            document: String::new(),
            enforcement_mode: EnforcementMode::Enforce,
            previous_mode: None,
            by: "ann".into(),
        }),
        EventType::QuotaExceeded => EventBody::QuotaExceeded(QuotaExceeded {
            tool_call_id: fit.call.clone(),
            quota: "tool.read".into(),
            limit: 3,
            resets_at: tonight(),
        }),
        EventType::ApprovalRequested => EventBody::ApprovalRequested(ApprovalRequested {
            approval_id: fit.approval.clone(),
            question: fit.question,
            tool_call_id: fit.call.clone(),
            tool_name: "read".into(),
            definition_digest: Digest::of(&json!({ "tool": "read" })),
            input: json!({}),
            input_digest: fit.input_digest.clone(),
            principal_id: None,
            asked_by: None,
            hosts: Vec::new(),
            effect: None,
            sandbox_permissions: None,
            decision: None,
            sandbox_profile: None,
            likeness: Likeness::Input,
            approvers: 1,
            expires_at: tonight(),
        }),
        EventType::ApprovalVoted => EventBody::ApprovalVoted(ApprovalVoted {
            approval_id: fit.approval.clone(),
            by: "ben".into(),
            reason: None,
            missing: 1,
            remember_s: None,
        }),
        EventType::ApprovalDecided => EventBody::ApprovalDecided(ApprovalDecided {
            approval_id: fit.approval.clone(),
            approved: fit.approved,
            by: "ann".into(),
            reason: None,
            voted_before: Vec::new(),
            remember_s: None,
        }),
        EventType::ApprovalExpired => EventBody::ApprovalExpired(ApprovalExpired {
            approval_id: fit.approval.clone(),
        }),
        EventType::ApprovalRemembered => EventBody::ApprovalRemembered(ApprovalRemembered {
            remembered: RememberedApproval {
                remembered_id: remembered(),
                workspace_id: WorkspaceId::new("acme").unwrap(),
                approval_id: fit.approval.clone(),
                principal_id: principal(),
                actor: Actor {
                    actor_id: "robot".into(),
                    actor_type: gatewright_schemas::ActorType::Agent,
                },
                effect: Effect::Read,
                tool_name: "read".into(),
                definition_digest: Digest::of(&json!({ "tool": "read" })),
                hosts: Vec::new(),
                input_digest: Some(fit.input_digest.clone()),
                sandbox_profile: None,
                findings: vec![ReasonCode::ToolRequiresApproval],
                approved_by: vec!["ann".into()],
                remembered_at: tonight(),
                expires_at: tonight(),
                revoked_at: None,
            },
        }),
        EventType::ApprovalForgotten => EventBody::ApprovalForgotten(ApprovalForgotten {
            remembered_id: remembered(),
            revoked_at: tonight(),
            by: "ann".into(),
            reason: None,
        }),
        EventType::EgressRequested => EventBody::EgressRequested(EgressRequested {
            tool_call_id: fit.call.clone(),
            hop: 0,
            method: "GET".into(),
            url: "https://example.com/".into(),
            host: "example.com".into(),
            action_type: "external.read".into(),
            gate: None,
        }),
        EventType::EgressAllowed => EventBody::EgressAllowed(EgressAllowed {
            tool_call_id: fit.call.clone(),
            hop: 0,
            host: "example.com".into(),
            address: None,
            status: Some(200),
        }),
        EventType::EgressBlocked => EventBody::EgressBlocked(EgressBlocked {
            tool_call_id: fit.call.clone(),
            hop: 0,
            host: "example.com".into(),
            error: why(),
        }),
        EventType::CapabilityGranted => EventBody::CapabilityGranted(CapabilityGranted {
            token: CapabilityToken {
                token_id: token(),
                workspace_id: acme(),
                issued_to_principal_id: principal(),
                granted_by_principal_id: principal(),
                parent_token_id: None,
                scopes: Scopes::default(),
                valid_until: None,
                granted_at: noon(),
                revoked_at: None,
            },
        }),
        EventType::CapabilityRefused => EventBody::CapabilityRefused(CapabilityRefused {
            token_id: token(),
            parent_token_id: None,
            to: principal(),
            by: principal(),
            reason_code: ReasonCode::DelegationRefused,
            reason: "it would widen".into(),
        }),
        EventType::CapabilityRevoked => EventBody::CapabilityRevoked(CapabilityRevoked {
            token_id: token(),
            revoked_at: noon(),
            by: "ann".into(),
            reason: None,
        }),
        EventType::PrincipalRegistered => EventBody::PrincipalRegistered(PrincipalRegistered {
            principal: gatewright_schemas::Principal {
                principal_id: principal(),
                workspace_id: acme(),
                principal_type: gatewright_schemas::ActorType::Agent,
                actor_id: "agent-7".into(),
                quarantine: None,
            },
        }),
        EventType::PrincipalQuarantined => EventBody::PrincipalQuarantined(PrincipalQuarantined {
            principal_id: principal(),
            quarantine: Quarantine {
                since: noon(),
                reason: "it misbehaves".into(),
                by: "ann".into(),
            },
        }),
        EventType::PrincipalReleased => EventBody::PrincipalReleased(PrincipalReleased {
            principal_id: principal(),
            by: "ann".into(),
            reason: None,
        }),
    }
}

/// A commit of these bodies that continues `state`'s chain, whether or not they can follow.
pub fn sealed(state: &RunState, bodies: Vec<EventBody>) -> Commit {
    seal_for(&state.workspace_id, state, bodies)
}

/// The same, of a run in another workspace.
pub fn seal_for(workspace: &WorkspaceId, state: &RunState, bodies: Vec<EventBody>) -> Commit {
    let envelope = Envelope {
        commit_id: CommitId::new("forged").unwrap(),
        workspace_id: workspace.clone(),
        run_id: state.run_id.clone(),
        attempt: 1,
        actor: Actor {
            actor_id: "forger".into(),
            actor_type: gatewright_schemas::ActorType::Service,
        },
        actor_principal_id: None,
        zone: Zone::Sandbox,
        room_id: None,
        thread_id: None,
        correlation_id: None,
        causation_id: None,
        occurred_at: noon(),
    };
    let bodies = bodies.into_iter().map(|body| (None, body)).collect();
    chain::seal(&state.chain, envelope, bodies)
}

/// An event that continues `state`'s chain, whether or not it can follow.
pub fn event(state: &RunState, body: EventBody) -> Event {
    sealed(state, vec![body]).events.remove(0)
}
