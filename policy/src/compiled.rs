//! A policy document made ready for decisions: every question is a hash lookup.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use gatewright_schemas::{Decision, Digest, EnforcementMode, WorkspaceId, Zone};

use crate::{
    document::{ActionRule, EscalatedProfile, PolicyDocument},
    host::{DomainSet, Host},
    name_set::NameSet,
    redact::Marks,
};

/// A policy document at one revision, as decisions ask it.
#[derive(Debug, Clone)]
pub struct CompiledPolicy {
    document: PolicyDocument,
    revision: u64,
    digest: Digest,
    tool_modes: HashMap<Box<str>, EnforcementMode>,
    auto_allow: NameSet,
    require_approval: NameSet,
    killed_workspaces: HashSet<WorkspaceId>,
    killed_tools: NameSet,
    token_tools: NameSet,
    allowed_domains: DomainSet,
    writable_domains: DomainSet,
    actions: HashMap<Box<str>, ActionRule>,
    tools_daily: HashMap<Box<str>, u64>,
    marks: Arc<Marks>,
    escalated: Option<Arc<EscalatedProfile>>,
}

impl CompiledPolicy {
    /// Makes a document ready. Revision and digest are those under which it was activated; they stand on every decision.
    pub fn new(document: PolicyDocument, revision: u64, digest: Digest) -> Self {
        let names = |list: &[crate::document::ToolName]| {
            list.iter()
                .map(crate::document::ToolName::as_str)
                .collect::<NameSet>()
        };
        Self {
            tool_modes: by_name(&document.tool_modes),
            auto_allow: names(&document.auto_allow),
            require_approval: names(&document.require_approval),
            killed_workspaces: document.kill_switches.workspaces.iter().cloned().collect(),
            killed_tools: names(&document.kill_switches.tools),
            token_tools: names(&document.tokens.required_for_tools),
            allowed_domains: document.domains.allow.iter().collect(),
            writable_domains: document.domains.allow_writes.iter().collect(),
            actions: document
                .actions
                .iter()
                .map(|rule| (rule.action_type.as_str().into(), rule.clone()))
                .collect(),
            tools_daily: by_name(&document.limits.tools_daily),
            marks: Arc::new(Marks::from(&document.egress)),
            escalated: document.sandbox.escalated_profile().map(Arc::new),
            document,
            revision,
            digest,
        }
    }

    /// The document.
    pub fn document(&self) -> &PolicyDocument {
        &self.document
    }

    /// The revision under which it was activated.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The digest under which it was activated.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What is secret by this document.
    pub fn marks(&self) -> &Arc<Marks> {
        &self.marks
    }

    /// The sandbox's profile for calls with `require_escalated`.
    pub fn escalated_profile(&self) -> Option<&Arc<EscalatedProfile>> {
        self.escalated.as_ref()
    }

    /// Whether answers about a tool are obeyed.
    pub fn mode_for(&self, tool: &str) -> EnforcementMode {
        self.tool_modes
            .get(tool)
            .copied()
            .unwrap_or(self.document.mode)
    }

    pub(crate) fn max_snapshot_age(&self) -> Duration {
        self.document.max_snapshot_age.duration()
    }

    pub(crate) fn is_fleet_killed(&self) -> bool {
        self.document.kill_switches.fleet
    }

    pub(crate) fn is_workspace_killed(&self, workspace: &WorkspaceId) -> bool {
        self.killed_workspaces.contains(workspace)
    }

    pub(crate) fn is_tool_killed(&self, tool: &str) -> bool {
        self.killed_tools.contains(tool)
    }

    pub(crate) fn is_zone_killed(&self, zone: Zone) -> bool {
        self.document.kill_switches.zones.contains(&zone)
    }

    pub(crate) fn are_external_writes_killed(&self) -> bool {
        self.document.kill_switches.external_writes
    }

    pub(crate) fn zone_demands_token(&self, zone: Zone) -> bool {
        self.document.tokens.required_in_zones.contains(&zone)
    }

    pub(crate) fn tool_demands_token(&self, tool: &str) -> bool {
        self.token_tools.contains(tool)
    }

    pub(crate) fn action(&self, action_type: &str) -> Option<&ActionRule> {
        self.actions.get(action_type)
    }

    pub(crate) fn unregistered_actions_need_approval(&self) -> bool {
        self.document.unregistered_actions_need_approval
    }

    pub(crate) fn is_domain_allowed(&self, host: &Host) -> bool {
        self.allowed_domains.contains(host)
    }

    pub(crate) fn is_domain_writable(&self, host: &Host) -> bool {
        self.writable_domains.contains(host)
    }

    pub(crate) fn is_auto_allowed(&self, tool: &str) -> bool {
        self.auto_allow.contains(tool)
    }

    pub(crate) fn requires_approval(&self, tool: &str) -> bool {
        self.require_approval.contains(tool)
    }

    pub(crate) fn default_decision(&self) -> Decision {
        self.document.default
    }

    pub(crate) fn daily_limit(&self, tool: &str) -> Option<u64> {
        self.tools_daily
            .get(tool)
            .copied()
            .or(self.document.limits.each_tool_daily)
    }

    pub(crate) fn egress_hourly_limit(&self) -> Option<u64> {
        self.document.limits.egress_hourly_per_principal
    }
}

fn by_name<T: Copy>(
    map: &std::collections::BTreeMap<crate::document::ToolName, T>,
) -> HashMap<Box<str>, T> {
    map.iter()
        .map(|(name, value)| (name.as_str().into(), *value))
        .collect()
}
