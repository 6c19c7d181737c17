//! What the gate was asked, as it is recorded: enough to ask it again, under another policy.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ActorType, CapabilityTokenId, DataAccess, DecisionRecord, Digest, Effect, PrincipalId,
    ReasonCode, RunId, Timestamp, ToolCallId, WorkspaceId, Zone, event::Actor,
};

/// The id of the actor when a run names none: the fleet itself, as a service.
pub const DEFAULT_ACTOR_ID: &str = "gatewright";

/// What the gate was asked beside what the event that holds this says anyway (tool, zone, principal, token, action type, hosts).
///
/// Whatever is as usual is left out, so that an ordinary call costs an empty object.
/// No secrets: a host is recorded without those of the run, and one that is changed by that cannot be asked about again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts, each of which another check asks"
)]
pub struct GateFacts {
    /// Who acts; absent when it is the fleet itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// The approval that the call presents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalFacts>,
    /// The data that the tool reads and writes, by label.
    #[serde(default, skip_serializing_if = "touches_no_data")]
    pub data: DataAccess,
    /// What the call does to the world; absent when nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// The request, where that and not the call itself was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hop: Option<HopFacts>,
    /// Whether the input carries a URL whose host cannot be read.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hosts_unreadable: bool,
    /// Whether the tool's calls need a capability token, whatever the zone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub requires_token: bool,
    /// `sandbox_permissions` as the call states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_permissions: Option<String>,
    /// Digest of the sandbox's profile that the call would get, where it asks for more than its ordinary sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_profile: Option<Digest>,
    /// Whether the tool runs commands in the sandbox.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sandboxed: bool,
    /// Whether the tool reaches the outside only through the egress gateway.
    #[serde(default, skip_serializing_if = "is_false")]
    pub through_gateway: bool,
}

/// A request to the outside that was asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HopFacts {
    /// The host that the call's own input names; absent when it is the request's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_host: Option<String>,
    /// The host of the request.
    pub host: String,
    /// The HTTP method.
    pub method: String,
    /// 0 for the call's own request, then one more for each redirect.
    pub number: u32,
}

/// An approval that was presented.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalFacts {
    /// Which findings it was asked for.
    pub settles: Vec<ReasonCode>,
}

/// One answer of the gate with all that it was asked: a row of `policy_decisions`, and a line of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedDecision {
    /// When.
    pub decided_at: Timestamp,
    /// The run's workspace.
    pub workspace_id: WorkspaceId,
    /// The run.
    pub run_id: RunId,
    /// The run's event that recorded it.
    pub seq: u64,
    /// The call.
    pub tool_call_id: ToolCallId,
    /// The tool's name.
    pub tool_name: String,
    /// What was asked: `tool`, or `egress` for a request that the call makes.
    pub category: String,
    /// The zone.
    pub zone: Zone,
    /// The principal that the run names.
    pub principal_id: Option<PrincipalId>,
    /// The token that the run names.
    pub capability_token_id: Option<CapabilityTokenId>,
    /// The room.
    pub room_id: Option<String>,
    /// The action type.
    pub action_type: Option<String>,
    /// The hosts that the input names.
    pub hosts: Vec<String>,
    /// The rest of what was asked; absent where a version recorded it that did not record this.
    pub asked: Option<GateFacts>,
    /// The answer.
    pub decision: DecisionRecord,
}

impl GateFacts {
    /// Who acts, as it is recorded: `None` for the fleet itself.
    pub fn actor_of(actor: &Actor) -> Option<Actor> {
        let is_fleet = actor.actor_type == ActorType::Service && actor.actor_id == DEFAULT_ACTOR_ID;
        (!is_fleet).then(|| actor.clone())
    }
}

fn touches_no_data(data: &DataAccess) -> bool {
    data.read.is_empty() && data.write.is_empty()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(flag: &bool) -> bool {
    !*flag
}
