//! What the gate knows of the world: the active policy, the capability tokens, the principals, the remembered approvals, and how
//! fresh that is.
//!
//! The shell keeps one behind a lock and feeds it from its watched copies; a decision makes no network call for it.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use gatewright_schemas::{
    CapabilityToken, CapabilityTokenId, Principal, PrincipalId, RememberedApproval,
    RememberedApprovalId, Timestamp, WorkspaceId,
};

use crate::{
    compiled::CompiledPolicy,
    document::Approvals,
    host::{DomainPattern, DomainSet},
    name_set::NameSet,
    redact::Marks,
};

/// A token may descend from a root token through at most this many delegations.
pub const MAX_DELEGATIONS: usize = 3;

/// The gate's copy of what the fleet's buckets hold.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    policy: Option<Arc<CompiledPolicy>>,
    tokens: HashMap<WorkspaceId, HashMap<CapabilityTokenId, HeldToken>>,
    principals: HashMap<WorkspaceId, HashMap<PrincipalId, Principal>>,
    /// By workspace and tool, since that is how they are asked for.
    remembered: HashMap<WorkspaceId, HashMap<Box<str>, Vec<RememberedApproval>>>,
    synced_at: Option<Timestamp>,
}

impl Snapshot {
    /// A copy that knows nothing: it denies everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `policy` the active one; `None` takes the active one away, after which everything is denied.
    pub fn set_policy(&mut self, policy: Option<Arc<CompiledPolicy>>) {
        self.policy = policy;
    }

    /// The active policy.
    pub fn policy(&self) -> Option<&Arc<CompiledPolicy>> {
        self.policy.as_ref()
    }

    /// What is secret: by the active policy, or, without one, by default.
    pub fn marks(&self) -> Arc<Marks> {
        static DEFAULT: LazyLock<Arc<Marks>> = LazyLock::new(|| Arc::new(Marks::by_default()));
        Arc::clone(
            self.policy
                .as_ref()
                .map_or(&*DEFAULT, |policy| policy.marks()),
        )
    }

    /// Says when this copy was last known to be equal to the buckets.
    pub fn set_synced_at(&mut self, synced_at: Timestamp) {
        self.synced_at = Some(synced_at);
    }

    /// When this copy was last known to be equal to the buckets.
    pub fn synced_at(&self) -> Option<Timestamp> {
        self.synced_at
    }

    /// Adds a token, or replaces the one of the same workspace and id.
    pub fn upsert_token(&mut self, token: CapabilityToken) {
        self.tokens
            .entry(token.workspace_id.clone())
            .or_default()
            .insert(token.token_id.clone(), HeldToken::new(token));
    }

    /// Forgets a token; calls that name it, or a descendant of it, are then denied.
    pub fn remove_token(&mut self, workspace: &WorkspaceId, token: &CapabilityTokenId) {
        if let Some(tokens) = self.tokens.get_mut(workspace) {
            tokens.remove(token);
        }
    }

    /// A token.
    pub fn token(
        &self,
        workspace: &WorkspaceId,
        token: &CapabilityTokenId,
    ) -> Option<&CapabilityToken> {
        self.held(workspace, token).map(|held| &held.token)
    }

    /// What the active policy says of approvals; the defaults where there is none.
    pub fn approvals(&self) -> Approvals {
        let policy = self.policy.as_ref();
        policy.map_or_else(Approvals::default, |policy| {
            policy.document().approvals.clone()
        })
    }

    /// Adds a principal, or replaces the one of the same workspace and id.
    pub fn upsert_principal(&mut self, principal: Principal) {
        self.principals
            .entry(principal.workspace_id.clone())
            .or_default()
            .insert(principal.principal_id.clone(), principal);
    }

    /// Forgets a principal. Not the way to lock one out: what a quarantine forbids, forgetting allows to all but agents.
    pub fn remove_principal(&mut self, workspace: &WorkspaceId, principal: &PrincipalId) {
        if let Some(principals) = self.principals.get_mut(workspace) {
            principals.remove(principal);
        }
    }

    /// A principal.
    pub fn principal(
        &self,
        workspace: &WorkspaceId,
        principal: &PrincipalId,
    ) -> Option<&Principal> {
        self.principals.get(workspace)?.get(principal)
    }

    /// Adds a remembered approval, or replaces the one of the same workspace and id.
    pub fn upsert_remembered(&mut self, remembered: RememberedApproval) {
        let of_its_tool = self
            .remembered
            .entry(remembered.workspace_id.clone())
            .or_default()
            .entry(remembered.tool_name.as_str().into())
            .or_default();
        // Those that were over when this one began will not come back: they are not looked through for ever.
        of_its_tool.retain(|entry| {
            let is_another = entry.remembered_id != remembered.remembered_id;
            is_another && entry.expires_at > remembered.remembered_at
        });
        of_its_tool.push(remembered);
    }

    /// Forgets a remembered approval; calls that it covered are asked about again.
    pub fn remove_remembered(&mut self, workspace: &WorkspaceId, id: &RememberedApprovalId) {
        if let Some(by_tool) = self.remembered.get_mut(workspace) {
            for entries in by_tool.values_mut() {
                entries.retain(|entry| entry.remembered_id != *id);
            }
            by_tool.retain(|_, entries| !entries.is_empty());
        }
    }

    /// The remembered approvals of calls of `tool` on the authority of `principal`, revoked and expired ones too.
    pub(crate) fn remembered<'a>(
        &'a self,
        workspace: &WorkspaceId,
        tool: &str,
        principal: &PrincipalId,
    ) -> impl Iterator<Item = &'a RememberedApproval> {
        self.remembered
            .get(workspace)
            .and_then(|by_tool| by_tool.get(tool))
            .into_iter()
            .flatten()
            .filter(move |entry| entry.principal_id == *principal)
    }

    fn held(&self, workspace: &WorkspaceId, token: &CapabilityTokenId) -> Option<&HeldToken> {
        self.tokens.get(workspace)?.get(token)
    }

    /// The token and all that it descends from, itself first.
    pub(crate) fn chain(
        &self,
        workspace: &WorkspaceId,
        token: &CapabilityTokenId,
    ) -> Result<Vec<&HeldToken>, BrokenLine> {
        let mut chain = Vec::with_capacity(MAX_DELEGATIONS + 1);
        let mut next = Some(token);
        while let Some(id) = next {
            // Also what ends a line that bites its own tail.
            if chain.len() > MAX_DELEGATIONS {
                return Err(BrokenLine::TooLong);
            }
            let held = self
                .held(workspace, id)
                .ok_or_else(|| BrokenLine::Missing(id.clone()))?;
            chain.push(held);
            next = held.token.parent_token_id.as_ref();
        }
        Ok(chain)
    }
}

/// Why a token's line of descent cannot be followed to its root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BrokenLine {
    /// A token is not known.
    #[error("there is no capability token `{0}`")]
    Missing(CapabilityTokenId),
    /// More delegations than may be, or a circle.
    #[error("the token descends through more than {MAX_DELEGATIONS} delegations")]
    TooLong,
}

/// A token with its scopes made ready for lookups.
#[derive(Debug, Clone)]
pub(crate) struct HeldToken {
    pub(crate) token: CapabilityToken,
    pub(crate) tools: NameSet,
    pub(crate) rooms: NameSet,
    pub(crate) action_types: NameSet,
    pub(crate) egress_domains: DomainSet,
    pub(crate) data_read: NameSet,
    pub(crate) data_write: NameSet,
}

impl HeldToken {
    fn new(token: CapabilityToken) -> Self {
        let scopes = &token.scopes;
        Self {
            tools: scopes.tools.iter().collect(),
            rooms: scopes.rooms.iter().collect(),
            action_types: scopes.action_types.iter().collect(),
            // A pattern that cannot be read allows no host.
            egress_domains: readable(&scopes.egress_domains).iter().collect(),
            data_read: scopes.data_access.read.iter().collect(),
            data_write: scopes.data_access.write.iter().collect(),
            token,
        }
    }
}

/// The domain patterns that can be read.
pub(crate) fn readable(patterns: &[String]) -> Vec<DomainPattern> {
    patterns
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect()
}
