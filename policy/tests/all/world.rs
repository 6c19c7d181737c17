//! A small world to ask the gate in: workspace `acme`, run `r1`, one call, at noon.

use std::sync::Arc;

use gatewright_policy::{
    Answer, CompiledPolicy, EgressAnswer, EgressRequest, Grant, GrantState, Host, PolicyContext,
    PolicyDocument, QuotaAnswer, Snapshot, ToolCallRequest, ToolFacts, authorize_egress,
    authorize_tool_call, egress_quota_needed,
    host::{Target, hosts_in},
    quota_needed,
};
use gatewright_schemas::{
    ActorType, ApprovalId, CapabilityToken, CapabilityTokenId, DataAccess, Digest, Effect,
    Principal, PrincipalId, Quarantine, ReasonCode, RunId, Scopes, StepId, Timestamp, ToolCallId,
    WorkspaceId,
};
use serde_json::{Value, json};

/// Noon, when everything is asked.
pub fn now() -> Timestamp {
    at("2026-03-04T12:00:00Z")
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn acme() -> WorkspaceId {
    WorkspaceId::new("acme").unwrap()
}

pub fn principal_id(text: &str) -> PrincipalId {
    PrincipalId::new(text).unwrap()
}

pub fn token_id(text: &str) -> CapabilityTokenId {
    CapabilityTokenId::new(text).unwrap()
}

/// A snapshot with this policy, one second old.
pub fn snapshot(policy: &str) -> Snapshot {
    let document = PolicyDocument::parse(policy).unwrap_or_else(|faults| panic!("{faults}"));
    let mut snapshot = Snapshot::new();
    let digest = document.digest();
    snapshot.set_policy(Some(Arc::new(CompiledPolicy::new(document, 1, digest))));
    snapshot.set_synced_at(at("2026-03-04T11:59:59Z"));
    snapshot
}

/// Scopes that allow everything.
pub fn all_scopes() -> Scopes {
    let all = || vec!["*".to_owned()];
    Scopes {
        tools: all(),
        rooms: all(),
        action_types: all(),
        egress_domains: all(),
        data_access: DataAccess {
            read: all(),
            write: all(),
        },
    }
}

pub fn token(id: &str, holder: &str, scopes: Scopes) -> CapabilityToken {
    CapabilityToken {
        token_id: token_id(id),
        workspace_id: acme(),
        issued_to_principal_id: principal_id(holder),
        granted_by_principal_id: principal_id("root"),
        parent_token_id: None,
        scopes,
        valid_until: None,
        granted_at: at("2026-03-01T00:00:00Z"),
        revoked_at: None,
    }
}

pub fn child(id: &str, parent: &str, holder: &str, scopes: Scopes) -> CapabilityToken {
    CapabilityToken {
        parent_token_id: Some(token_id(parent)),
        ..token(id, holder, scopes)
    }
}

/// A principal that is the agent `agent_id`.
pub fn agent(id: &str, agent_id: &str) -> Principal {
    Principal {
        principal_id: principal_id(id),
        workspace_id: acme(),
        principal_type: ActorType::Agent,
        actor_id: agent_id.into(),
        quarantine: None,
    }
}

pub fn quarantined(principal: Principal) -> Principal {
    let quarantine = Quarantine {
        since: now(),
        reason: "it misbehaves".into(),
        by: "ann".into(),
    };
    Principal {
        quarantine: Some(quarantine),
        ..principal
    }
}

pub fn tool(name: &str) -> ToolFacts {
    ToolFacts {
        name: name.into(),
        definition_digest: Digest::of(&json!({ "tool": name })),
        effect: Effect::None,
        action_type: None,
        requires_token: false,
        data: DataAccess::default(),
        through_gateway: name == "egress.request",
        sandboxed: false,
    }
}

/// A call of the tool `name` with an empty input and a context.
pub fn call(name: &str, context: &Value) -> ToolCallRequest {
    with_input(
        ToolCallRequest {
            workspace_id: acme(),
            room_id: Some("lobby".into()),
            run_id: RunId::new("r1").unwrap(),
            step_id: StepId::new("acme.r1.1").unwrap(),
            tool_call_id: ToolCallId::new("acme.r1.1.1").unwrap(),
            context: PolicyContext::parse(context),
            tool: tool(name),
            input_digest: Digest::of(&json!({})),
            hosts: Ok(vec![]),
            sandbox_permissions: None,
        },
        &json!({}),
    )
}

pub fn with_input(request: ToolCallRequest, input: &Value) -> ToolCallRequest {
    ToolCallRequest {
        input_digest: Digest::of(input),
        hosts: hosts_in(input),
        ..request
    }
}

/// The request that `call` sends.
pub fn request_of(
    call: &ToolCallRequest,
    method: &str,
    url: &str,
    action_type: &str,
) -> EgressRequest {
    let target = Target::parse(url).unwrap();
    EgressRequest {
        workspace_id: call.workspace_id.clone(),
        room_id: call.room_id.clone(),
        run_id: call.run_id.clone(),
        step_id: call.step_id.clone(),
        tool_call_id: call.tool_call_id.clone(),
        context: call.context.clone(),
        tool: call.tool.clone(),
        input_digest: call.input_digest.clone(),
        hop: 0,
        method: method.into(),
        host: target.host().clone(),
        call_host: target.host().clone(),
        action_type: action_type.into(),
        url_digest: Digest::of_bytes(target.url().as_str().as_bytes()),
    }
}

/// The next hop of a request.
pub fn redirected(request: &EgressRequest, host: &str) -> EgressRequest {
    EgressRequest {
        hop: request.hop + 1,
        host: Host::parse(host).unwrap(),
        ..request.clone()
    }
}

/// An approval of `call` for `codes`, granted and good for an hour.
pub fn grant(call: &ToolCallRequest, codes: &[ReasonCode]) -> Grant {
    Grant {
        approval_id: ApprovalId::of(&call.tool_call_id, 1),
        tool_call_id: call.tool_call_id.clone(),
        tool_name: call.tool.name.clone(),
        definition_digest: call.tool.definition_digest.clone(),
        input_digest: call.input_digest.clone(),
        principal_id: call
            .context
            .as_ref()
            .ok()
            .and_then(|context| context.principal_id.clone()),
        sandbox_profile: None,
        granted_findings: codes.to_vec(),
        approved_by: 1,
        expires_at: at("2026-03-04T13:00:00Z"),
        state: GrantState::Granted,
    }
}

/// Asks as a shell does: which limit applies, reserve it, ask again.
pub fn ask(call: &ToolCallRequest, snapshot: &Snapshot, grant: Option<&Grant>) -> Answer {
    let quota = quota_needed(call, snapshot, grant, now());
    let answer = quota.map_or(QuotaAnswer::NotNeeded, QuotaAnswer::Granted);
    authorize_tool_call(call, snapshot, grant, &answer, now())
}

/// [`ask`] for a request to the outside.
pub fn ask_egress(
    request: &EgressRequest,
    snapshot: &Snapshot,
    grant: Option<&Grant>,
) -> EgressAnswer {
    let quota = egress_quota_needed(request, snapshot, grant, now());
    let answer = quota.map_or(QuotaAnswer::NotNeeded, QuotaAnswer::Granted);
    authorize_egress(request, snapshot, grant, &answer, now())
}

/// The code of a tool call's answer.
pub fn code(call: &ToolCallRequest, snapshot: &Snapshot) -> ReasonCode {
    ask(call, snapshot, None).record().reason_code
}
