//! The policy document: what platform teams write, in TOML.
//!
//! Every field has a default, and every default is the strict one: an empty document is valid and denies every call.
//! A list that is empty means "nothing", never "everything".
//! A key that is not known is a fault, so that a misspelt rule cannot be a rule that is missing.

mod cidr;
mod fault;
mod period;
mod read;
mod sandbox;
mod tool_name;
mod verdict;
mod warning;

use std::collections::BTreeMap;

pub use cidr::Cidr;
pub use fault::{DocumentFault, DocumentFaults, Position};
use gatewright_schemas::{Decision, Digest, EnforcementMode, Violation, WorkspaceId, Zone};
pub use period::Period;
pub use read::toml_file;
pub use sandbox::{EscalatedProfile, InvalidSandboxPath, Sandbox, SandboxPath, SandboxProfile};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub use tool_name::ToolName;
pub use verdict::Verdict;

use crate::host::DomainPattern;

/// The document that a fresh fleet starts with, TOML: `policy/examples/default.toml`.
pub const DEFAULT: &str = include_str!("../examples/default.toml");

/// What may happen in the fleet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyDocument {
    /// `enforce`: the gate's answers are obeyed. `shadow`: they are recorded and every call runs.
    pub mode: EnforcementMode,
    /// The mode of single tools, where it differs.
    #[schemars(extend("propertyNames" = { "format": "tool-name" }))]
    pub tool_modes: BTreeMap<ToolName, EnforcementMode>,
    /// The answer for a tool on neither list.
    pub default: Decision,
    /// Tools that need no approval of their own. The other checks still hold.
    #[schemars(length(max = 100_000))]
    pub auto_allow: Vec<ToolName>,
    /// Tools of which every call needs approval. It outweighs `auto_allow`.
    #[schemars(length(max = 100_000))]
    pub require_approval: Vec<ToolName>,
    /// A copy of the policy that is older than this denies every call: the fleet's rules may have changed meanwhile.
    pub max_snapshot_age: Period,
    /// Which hosts a call may name.
    pub domains: Domains,
    /// What is switched off at once.
    pub kill_switches: KillSwitches,
    /// Where a capability token must be named.
    pub tokens: Tokens,
    /// How approvals are given.
    pub approvals: Approvals,
    /// What is counted.
    pub limits: Limits,
    /// How requests to the outside are made.
    pub egress: Egress,
    /// What sandboxed calls may get beside their ordinary sandbox.
    #[serde(skip_serializing_if = "Sandbox::is_empty")]
    pub sandbox: Sandbox,
    /// Whether a call whose action type is not in `actions` needs approval.
    pub unregistered_actions_need_approval: bool,
    /// The actions that need more than their tool does.
    #[schemars(length(max = 100_000))]
    pub actions: Vec<ActionRule>,
}

impl Default for PolicyDocument {
    fn default() -> Self {
        Self {
            mode: EnforcementMode::Enforce,
            tool_modes: BTreeMap::new(),
            default: Decision::Deny,
            auto_allow: Vec::new(),
            require_approval: Vec::new(),
            max_snapshot_age: Period::from_secs(30),
            domains: Domains::default(),
            kill_switches: KillSwitches::default(),
            tokens: Tokens::default(),
            approvals: Approvals::default(),
            limits: Limits::default(),
            egress: Egress::default(),
            sandbox: Sandbox::default(),
            unregistered_actions_need_approval: false,
            actions: Vec::new(),
        }
    }
}

/// Which hosts a call may name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Domains {
    /// Hosts that need no approval. Any other host in a call's input does.
    #[schemars(length(max = 100_000))]
    pub allow: Vec<DomainPattern>,
    /// Hosts to which even writing needs no approval. They must be allowed by `allow` too.
    #[schemars(length(max = 100_000))]
    pub allow_writes: Vec<DomainPattern>,
}

/// What is switched off at once, for everybody and whatever else is allowed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KillSwitches {
    /// Every call of the fleet.
    pub fleet: bool,
    /// Every call of these workspaces.
    pub workspaces: Vec<WorkspaceId>,
    /// Every call of these tools.
    pub tools: Vec<ToolName>,
    /// Every call in these zones.
    pub zones: Vec<Zone>,
    /// Every write to the outside, whether approved or not.
    pub external_writes: bool,
}

/// Where a capability token must be named.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tokens {
    /// Zones in which every call needs one.
    pub required_in_zones: Vec<Zone>,
    /// Tools of which every call needs one.
    pub required_for_tools: Vec<ToolName>,
}

/// How approvals are given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Approvals {
    /// How long an approval can be given and used.
    pub ttl: Period,
    /// How many different people must approve.
    #[schemars(range(min = 1, max = 10))]
    pub approvers: u8,
    /// Whether whoever asked is barred from approving.
    pub requester_may_not_approve: bool,
    /// For how long, at most, an approval may hold for like calls; absent, each call is asked about.
    pub max_remember: Option<Period>,
}

impl Default for Approvals {
    fn default() -> Self {
        Self {
            ttl: Period::from_secs(24 * 3600),
            approvers: 1,
            requester_may_not_approve: true,
            max_remember: None,
        }
    }
}

/// What is counted, across the fleet. A limit that is absent is none; a limit of 0 lets nothing run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls of a tool in a day (UTC), for each tool that `tools_daily` does not name.
    pub each_tool_daily: Option<u64>,
    /// Calls of a tool in a day (UTC).
    #[schemars(extend("propertyNames" = { "format": "tool-name" }))]
    pub tools_daily: BTreeMap<ToolName, u64>,
    /// Requests to the outside that a principal may make in an hour (UTC).
    pub egress_hourly_per_principal: Option<u64>,
}

/// How requests to the outside are made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Egress {
    /// Addresses that may be connected to although they are not public.
    pub address_exceptions: Vec<Cidr>,
    /// How long a connection may take to come about.
    pub connect_timeout: Period,
    /// How long a request may take in all, redirects included.
    pub timeout: Period,
    /// Bytes of a response's body; a longer one fails the call.
    #[schemars(range(min = 1, max = 1_073_741_824))]
    pub max_response_bytes: u64,
    /// How many redirects are followed. Each passes the gate anew.
    #[schemars(range(max = 20))]
    pub max_redirects: u32,
    /// Headers whose values are never recorded, in any case.
    pub redact_headers: Vec<String>,
    /// Query parameters and JSON fields whose values are never recorded.
    pub redact_fields: Vec<String>,
}

impl Default for Egress {
    fn default() -> Self {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Self {
            address_exceptions: Vec::new(),
            connect_timeout: Period::from_secs(5),
            timeout: Period::from_secs(30),
            max_response_bytes: 1024 * 1024,
            max_redirects: 5,
            redact_headers: texts(&[
                "authorization",
                "cookie",
                "proxy-authorization",
                "set-cookie",
                "x-api-key",
            ]),
            redact_fields: texts(&[
                "access_token",
                "api_key",
                "apikey",
                "password",
                "secret",
                "token",
            ]),
        }
    }
}

/// What one type of action needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionRule {
    /// The type, for example `internal.read`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^\S+$"))]
    pub action_type: String,
    /// The one zone that it belongs to; any when absent.
    #[serde(default)]
    pub zone: Option<Zone>,
    /// Whether it can be undone. One that cannot needs approval outside the zone `high_stakes`.
    pub reversible: bool,
    /// Whether it needs approval beforehand, in any zone.
    #[serde(default)]
    pub pre_approval: bool,
    /// Whether it writes to the outside. `external.write` always does.
    #[serde(default)]
    pub external_write: bool,
}

impl PolicyDocument {
    /// Reads a document. All its faults are told, each with its place in the text.
    pub fn parse(text: &str) -> Result<Self, DocumentFaults> {
        read::document(text)
    }

    /// Rules that can never match or change nothing, with JSON pointers; [`Position::of`] finds the lines.
    pub fn warnings(&self) -> Vec<Violation> {
        warning::of(self)
    }

    /// The digest of what the document says. Comments, order and white space of the text make no difference.
    pub fn digest(&self) -> Digest {
        // A plain struct with string keys has no way to fail to serialise.
        Digest::of(&serde_json::to_value(self).unwrap_or_default())
    }

    /// The JSON Schema of the document.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}
