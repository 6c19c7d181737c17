//! What the gate is asked: a tool call, or a request to the outside that a call makes.

use gatewright_schemas::{DataAccess, Digest, Effect, RunId, StepId, ToolCallId, WorkspaceId};

use crate::{
    context::{InvalidContext, PolicyContext},
    host::{Host, UnreadableHost},
};

/// A tool call that wants to happen.
#[derive(Debug, Clone)]
pub struct ToolCallRequest {
    /// The run's workspace. Tokens and principals of others do not exist for it.
    pub workspace_id: WorkspaceId,
    /// The run's room, where it has one.
    pub room_id: Option<String>,
    /// The run.
    pub run_id: RunId,
    /// The step.
    pub step_id: StepId,
    /// The call.
    pub tool_call_id: ToolCallId,
    /// `runtime.policy` as [`PolicyContext::parse`] read it. One that could not be read is denied, not dropped.
    pub context: Result<PolicyContext, InvalidContext>,
    /// The tool, from the registry.
    pub tool: ToolFacts,
    /// Digest of the canonical input.
    pub input_digest: Digest,
    /// The hosts of every URL in the input, from [`crate::host::hosts_in`].
    pub hosts: Result<Vec<Host>, UnreadableHost>,
    /// `sandbox_permissions` as the call states it.
    pub sandbox_permissions: Option<String>,
}

/// What the registry says of a tool.
#[derive(Debug, Clone)]
pub struct ToolFacts {
    /// Its name, trimmed.
    pub name: String,
    /// Digest of its definition.
    pub definition_digest: Digest,
    /// What it does to the world.
    pub effect: Effect,
    /// The action type of its calls, for example `internal.read`.
    pub action_type: Option<String>,
    /// Whether its calls need a capability token whatever the zone.
    pub requires_token: bool,
    /// The data that it reads and writes, by label; empty when it touches none.
    pub data: DataAccess,
    /// Whether it reaches the outside only through the egress gateway, which asks [`crate::authorize_egress`] for each
    /// request. That pass then judges by method and host whether the call writes to the outside; this one cannot know.
    pub through_gateway: bool,
    /// Whether its calls run in the sandbox for commands, so that `require_escalated` means a profile of the policy.
    pub sandboxed: bool,
}

/// A request to the outside that a call wants to make: the second pass of `egress.request`, once for each hop.
#[derive(Debug, Clone)]
pub struct EgressRequest {
    /// The run's workspace.
    pub workspace_id: WorkspaceId,
    /// The run's room, where it has one.
    pub room_id: Option<String>,
    /// The run.
    pub run_id: RunId,
    /// The step.
    pub step_id: StepId,
    /// The call that makes the request.
    pub tool_call_id: ToolCallId,
    /// The same context as the tool call's.
    pub context: Result<PolicyContext, InvalidContext>,
    /// The tool that makes the request.
    pub tool: ToolFacts,
    /// Digest of the call's canonical input.
    pub input_digest: Digest,
    /// 0 for the call's own request, then one more for each redirect.
    pub hop: u32,
    /// The HTTP method, as it will be sent.
    pub method: String,
    /// The host of this hop.
    pub host: Host,
    /// The host of hop 0, which the call's input names. An approval of the call covers no other.
    pub call_host: Host,
    /// The action type, for example `internal.read` or `external.write`.
    pub action_type: String,
    /// Digest of this hop's URL as it will be requested.
    pub url_digest: Digest,
}
