//! Who may do what: capability tokens and principals, as KV keeps them and events record them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Actor, ActorType, ApprovalId, CapabilityTokenId, Digest, Effect, PrincipalId, ReasonCode,
    RememberedApprovalId, Timestamp, WorkspaceId,
};

/// What a capability token covers. An axis that is absent or empty allows nothing; `*` allows all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scopes {
    /// Tool names.
    #[serde(default)]
    pub tools: Vec<String>,
    /// Rooms.
    #[serde(default)]
    pub rooms: Vec<String>,
    /// Action types such as `internal.read`.
    #[serde(default)]
    pub action_types: Vec<String>,
    /// Domain patterns: a name, `*.example.com` (the apex and every subdomain), or `*`.
    #[serde(default)]
    pub egress_domains: Vec<String>,
    /// Data, by kind of access.
    #[serde(default)]
    pub data_access: DataAccess,
}

/// The data that a capability token covers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataAccess {
    /// What may be read.
    #[serde(default)]
    pub read: Vec<String>,
    /// What may be written.
    #[serde(default)]
    pub write: Vec<String>,
}

/// A capability token: scoped authority of one principal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CapabilityToken {
    /// Its id.
    pub token_id: CapabilityTokenId,
    /// The workspace in which it holds.
    pub workspace_id: WorkspaceId,
    /// Its holder.
    pub issued_to_principal_id: PrincipalId,
    /// Who granted it.
    pub granted_by_principal_id: PrincipalId,
    /// The token it was delegated from.
    pub parent_token_id: Option<CapabilityTokenId>,
    /// What it covers.
    pub scopes: Scopes,
    /// From when on it no longer holds.
    pub valid_until: Option<Timestamp>,
    /// When it was granted.
    pub granted_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// On whose authority calls are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Principal {
    /// Its id.
    pub principal_id: PrincipalId,
    /// The workspace in which it is known.
    pub workspace_id: WorkspaceId,
    /// What kind of thing it is.
    pub principal_type: ActorType,
    /// The agent's, user's or service's own id: what an acting agent must state.
    pub actor_id: String,
    /// Since when it may do nothing, and why.
    pub quarantine: Option<Quarantine>,
}

/// Why a principal may do nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Quarantine {
    /// Since when.
    pub since: Timestamp,
    /// Why, for a person.
    pub reason: String,
    /// Who put it there.
    pub by: String,
}

/// An approval that holds for like calls, for a while: the same workspace, actor, principal and tool, and the same host or input.
///
/// A call whose host does not bound what it can do is like the approved one only when its input is the same: nothing else would
/// hold it to what a person saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RememberedApproval {
    /// Its id.
    pub remembered_id: RememberedApprovalId,
    /// The workspace in which it holds.
    pub workspace_id: WorkspaceId,
    /// The approval that is remembered.
    pub approval_id: ApprovalId,
    /// The principal on whose authority the calls are made.
    pub principal_id: PrincipalId,
    /// Who makes them.
    pub actor: Actor,
    /// The tool's name.
    pub tool_name: String,
    /// Digest of the tool's definition: a tool that was changed is asked about anew.
    pub definition_digest: Digest,
    /// The hosts that the calls may name, as they are matched; not one more.
    pub hosts: Vec<String>,
    /// The input that the calls must have, by its digest; absent where the host bounds them.
    pub input_digest: Option<Digest>,
    /// Digest of the sandbox's profile that the calls must get, where they ask for more than their ordinary sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_profile: Option<Digest>,
    /// What the calls may do to the world at most: one that was seen to read is no leave to write.
    pub effect: Effect,
    /// What the approval settles, and nothing else.
    pub findings: Vec<ReasonCode>,
    /// Those who approved it.
    pub approved_by: Vec<String>,
    /// Since when it holds.
    pub remembered_at: Timestamp,
    /// From when on it no longer holds.
    pub expires_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}
