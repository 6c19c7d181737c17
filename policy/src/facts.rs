//! What the checks look at: one call, gathered once, the same for all of them.

use std::sync::Arc;

use gatewright_schemas::{
    CapabilityTokenId, Digest, Effect, EnforcementMode, Finding, Principal, PrincipalId,
    RememberedApproval, SandboxPermissions, Timestamp, ToolCallId, WorkspaceId,
};

use crate::{
    checks::EXTERNAL_WRITE,
    compiled::CompiledPolicy,
    context::{InvalidContext, PolicyContext},
    document::EscalatedProfile,
    host::{Host, UnreadableHost},
    quota::{Quota, QuotaAnswer},
    request::{EgressRequest, ToolCallRequest, ToolFacts},
    snapshot::{BrokenLine, HeldToken, Snapshot},
};

/// Which of the two questions is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pass<'a> {
    /// May the tool be called?
    Tool {
        /// As the call states it.
        sandbox_permissions: Option<&'a str>,
    },
    /// May the call send this request?
    Egress {
        /// The HTTP method.
        method: &'a str,
        /// The host that the call's own input names.
        call_host: &'a Host,
    },
}

/// The capability token of a call.
#[derive(Debug, Clone)]
pub(crate) enum TokenFacts<'a> {
    /// The call names none.
    NotNamed,
    /// It names one whose line of descent cannot be followed.
    Broken(&'a CapabilityTokenId, BrokenLine),
    /// The token and all that it descends from, itself first; never empty.
    Line(Vec<&'a HeldToken>),
}

/// One call as all checks see it.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) pass: Pass<'a>,
    pub(crate) workspace: &'a WorkspaceId,
    pub(crate) room: Option<&'a str>,
    pub(crate) tool_call_id: &'a ToolCallId,
    pub(crate) context: Result<&'a PolicyContext, &'a InvalidContext>,
    pub(crate) tool: &'a ToolFacts,
    pub(crate) input_digest: &'a Digest,
    pub(crate) action_type: Option<&'a str>,
    pub(crate) hosts: Result<&'a [Host], &'a UnreadableHost>,
    pub(crate) policy: Option<&'a CompiledPolicy>,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) token: TokenFacts<'a>,
    /// The principal on whose authority: the one given, else the token's holder.
    pub(crate) principal: Option<&'a PrincipalId>,
    pub(crate) quota: &'a QuotaAnswer,
    pub(crate) now: Timestamp,
}

impl<'a> Facts<'a> {
    /// The facts of a tool call.
    pub(crate) fn of_tool_call(
        request: &'a ToolCallRequest,
        snapshot: &'a Snapshot,
        quota: &'a QuotaAnswer,
        now: Timestamp,
    ) -> Self {
        let context = request.context.as_ref();
        let token = token_facts(context, &request.workspace_id, snapshot);
        Self {
            pass: Pass::Tool {
                sandbox_permissions: request.sandbox_permissions.as_deref(),
            },
            workspace: &request.workspace_id,
            room: request.room_id.as_deref(),
            tool_call_id: &request.tool_call_id,
            context,
            tool: &request.tool,
            input_digest: &request.input_digest,
            action_type: request.tool.action_type.as_deref(),
            hosts: request.hosts.as_deref(),
            policy: snapshot.policy().map(AsRef::as_ref),
            snapshot,
            principal: principal(context, &token),
            token,
            quota,
            now,
        }
    }

    /// The facts of a request to the outside.
    pub(crate) fn of_egress(
        request: &'a EgressRequest,
        snapshot: &'a Snapshot,
        quota: &'a QuotaAnswer,
        now: Timestamp,
    ) -> Self {
        let context = request.context.as_ref();
        let token = token_facts(context, &request.workspace_id, snapshot);
        Self {
            pass: Pass::Egress {
                method: &request.method,
                call_host: &request.call_host,
            },
            workspace: &request.workspace_id,
            room: request.room_id.as_deref(),
            tool_call_id: &request.tool_call_id,
            context,
            tool: &request.tool,
            input_digest: &request.input_digest,
            action_type: Some(&request.action_type),
            hosts: Ok(std::slice::from_ref(&request.host)),
            policy: snapshot.policy().map(AsRef::as_ref),
            snapshot,
            principal: principal(context, &token),
            token,
            quota,
            now,
        }
    }

    /// The same call with another answer of the quota's counter.
    pub(crate) fn with_quota(&self, quota: &'a QuotaAnswer) -> Self {
        Self {
            quota,
            token: self.token.clone(),
            ..*self
        }
    }

    /// What the snapshot knows of a principal of this workspace.
    pub(crate) fn known(&self, principal: &PrincipalId) -> Option<&'a Principal> {
        self.snapshot.principal(self.workspace, principal)
    }

    /// Whether the snapshot is too old to decide on.
    ///
    /// A time ahead of `now` by more than the bound means that the clock was set back: nothing can be told then.
    pub(crate) fn is_stale(&self, policy: &CompiledPolicy) -> bool {
        let bound = policy.max_snapshot_age();
        self.snapshot
            .synced_at()
            .is_none_or(|synced| self.now.since(synced) > bound || synced.since(self.now) > bound)
    }

    /// Whether the answer is obeyed. Without a policy that is fresh enough nobody has said otherwise: it is.
    pub(crate) fn mode(&self) -> EnforcementMode {
        match self.policy {
            Some(policy) if !self.is_stale(policy) => policy.mode_for(&self.tool.name),
            _ => EnforcementMode::Enforce,
        }
    }

    /// Whether the call asks for more than the sandbox that its tool runs in.
    pub(crate) fn asks_escalation(&self) -> bool {
        let escalated = SandboxPermissions::RequireEscalated.as_str();
        self.tool.sandboxed
            && matches!(self.pass, Pass::Tool { sandbox_permissions: Some(stated) } if stated == escalated)
    }

    /// What the policy gives to such a call now.
    pub(crate) fn escalated_profile(&self) -> Option<&'a Arc<EscalatedProfile>> {
        let policy = self.policy.filter(|_| self.asks_escalation())?;
        policy.escalated_profile()
    }

    /// Whether the call writes to the outside.
    ///
    /// What the submitter states can only add to it: an action type that is harmless by name does not make a `POST` a read.
    pub(crate) fn is_external_write(&self) -> bool {
        let by_action = self.action_type.is_some_and(|action| {
            action == EXTERNAL_WRITE
                || self
                    .policy
                    .and_then(|policy| policy.action(action))
                    .is_some_and(|rule| rule.external_write)
        });
        by_action
            || match self.pass {
                // Exact and upper case, as HTTP has it; what is none of the safe methods is a write.
                Pass::Egress { method, .. } => !matches!(method, "GET" | "HEAD" | "OPTIONS"),
                Pass::Tool { .. } => {
                    self.tool.effect == Effect::Write
                        && !self.tool.through_gateway
                        && self.hosts.map_or(true, |hosts| !hosts.is_empty())
                }
            }
    }

    /// Whether the request goes to the host that the call's input names, hence the one that an approver saw.
    pub(crate) fn is_approved_host(&self) -> bool {
        match self.pass {
            Pass::Tool { .. } => true,
            Pass::Egress { call_host, .. } => {
                self.hosts.is_ok_and(|hosts| hosts == [call_host.clone()])
            }
        }
    }

    /// How many different people have to approve. Without a policy check 2 denies.
    pub(crate) fn approvers_wanted(&self) -> usize {
        self.policy.map_or(1, |policy| {
            usize::from(policy.document().approvals.approvers)
        })
    }

    /// The remembered approval that settles `finding`, if there is one.
    ///
    /// It covers nothing that the approval itself would not have covered: the same asker, tool and host, or the very same input.
    pub(crate) fn remembered(&self, finding: &Finding) -> Option<&'a RememberedApproval> {
        let principal = self.principal?;
        let actor = &self.context.ok()?.actor;
        let rules = &self.policy?.document().approvals;
        let most = rules.max_remember?.duration();
        let mut of_this_tool = self
            .snapshot
            .remembered(self.workspace, &self.tool.name, principal);
        of_this_tool.find(|entry| {
            entry.revoked_at.is_none()
                && self.now < entry.expires_at
                && self.now < entry.remembered_at.plus(most)
                && entry.actor == *actor
                && entry.definition_digest == self.tool.definition_digest
                && entry.sandbox_profile.as_ref()
                    == self.escalated_profile().map(|profile| &profile.digest)
                && entry.approved_by.len() >= self.approvers_wanted()
                && entry.findings.contains(&finding.reason_code)
                && self.tool.effect <= entry.effect
                && self.is_approved_host()
                && self.is_within(entry)
        })
    }

    /// Whether the call names nothing that was not approved with `entry`.
    fn is_within(&self, entry: &RememberedApproval) -> bool {
        let is_approved = |host: &Host| entry.hosts.iter().any(|there| there == host.as_str());
        let Ok(hosts) = self.hosts else {
            return false;
        };
        match &entry.input_digest {
            Some(digest) => digest == self.input_digest && hosts.iter().all(is_approved),
            None => !hosts.is_empty() && hosts.iter().all(is_approved),
        }
    }

    /// The limit that the call consumes when it runs.
    pub(crate) fn quota_needed(&self) -> Option<Quota> {
        let policy = self.policy?;
        match self.pass {
            Pass::Tool { .. } => {
                let limit = policy.daily_limit(&self.tool.name)?;
                Some(Quota::of_tool(&self.tool.name, limit))
            }
            Pass::Egress { .. } => {
                let limit = policy.egress_hourly_limit()?;
                Some(Quota::of_egress(self.workspace, self.principal, limit))
            }
        }
    }
}

fn token_facts<'a>(
    context: Result<&'a PolicyContext, &'a InvalidContext>,
    workspace: &WorkspaceId,
    snapshot: &'a Snapshot,
) -> TokenFacts<'a> {
    let named = context
        .ok()
        .and_then(|context| context.capability_token_id.as_ref());
    match named {
        None => TokenFacts::NotNamed,
        Some(token) => match snapshot.chain(workspace, token) {
            Ok(line) => TokenFacts::Line(line),
            Err(broken) => TokenFacts::Broken(token, broken),
        },
    }
}

fn principal<'a>(
    context: Result<&'a PolicyContext, &'a InvalidContext>,
    token: &TokenFacts<'a>,
) -> Option<&'a PrincipalId> {
    let given = context
        .ok()
        .and_then(|context| context.principal_id.as_ref());
    given.or(match token {
        TokenFacts::Line(line) => line.first().map(|held| &held.token.issued_to_principal_id),
        TokenFacts::NotNamed | TokenFacts::Broken(..) => None,
    })
}
