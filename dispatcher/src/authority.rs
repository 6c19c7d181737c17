//! Commands to `_authority`: the policy, capability tokens, principals, remembered approvals.
//!
//! First the event, behind the fence of the workspace's chain of authority; then the entry in KV that every gate watches.
//! A crash between the two is mended by the redelivery, which finds the event by its commit id and writes the entry again;
//! an entry never goes back behind a later event of its chain.

use std::time::Duration;

use gatewright_bus::{AppendError, authority::ActivePolicy, clock, intake::Intake};
use gatewright_policy::{
    DelegationRequest, PolicyDocument, Snapshot, delegate, snapshot::MAX_DELEGATIONS,
};
use gatewright_schemas::{
    Actor, ActorType, CapabilityToken, CapabilityTokenId, Command, EventBody, Gate, Principal,
    Quarantine, ReasonCode, RememberedApproval, Reply, RunId, Timestamp, Violation, WorkspaceId,
    Zone,
    chain::{self, ChainHead, Envelope},
    event::{
        ApprovalForgotten, ApprovalRemembered, CapabilityGranted, CapabilityRefused,
        CapabilityRevoked, PolicyActivated, PrincipalQuarantined, PrincipalRegistered,
        PrincipalReleased,
    },
};

use crate::{Dispatcher, HandleError, command::refused};

/// How long this dispatcher's own copy may take to learn of a policy that it made active.
const SOON: Duration = Duration::from_secs(2);

/// What is to be done to the authority.
pub(crate) enum Deed {
    /// What somebody asked for.
    Command(Command),
    /// An approval was given that is to hold for like calls. No command says so: only a decision brings it about.
    Remember(RememberedApproval),
}

/// What a deed comes to.
enum Verdict {
    /// This happens.
    Happens(Box<EventBody>),
    /// Nothing needs to happen: it is so already.
    IsSo { created: Option<String> },
    /// It is refused; nothing is recorded.
    Refused {
        code: Option<ReasonCode>,
        reason: String,
        violations: Vec<Violation>,
    },
}

impl Verdict {
    fn refused(reason: impl Into<String>) -> Self {
        Self::Refused {
            code: None,
            reason: reason.into(),
            violations: Vec::new(),
        }
    }
}

impl Dispatcher {
    pub(crate) async fn record(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        issued_by: &str,
        deed: Deed,
    ) -> Result<Reply, HandleError> {
        let run_id = RunId::authority();
        let stamp = self.stamp(message, "authority");
        // Handed out before: the event may be there, and only the entry missing.
        let mut done = match message.delivered {
            0 | 1 => None,
            _ => self.find(workspace, &stamp.commit_id).await?,
        };
        while done.is_none() {
            let last = self.fleet.last_commit(workspace, &run_id).await?;
            let last_event = last.as_ref().and_then(|last| last.commit.events.last());
            let fence = last.as_ref().map_or(0, |last| last.sequence);
            let head = last_event.map_or_else(ChainHead::default, |event| ChainHead {
                seq: event.seq,
                hash: Some(event.hash.clone()),
            });
            // What a dispatcher that died, or is slow, has not written yet is written first: by that this is judged.
            if let Some(event) = last_event {
                self.spread(workspace, event.seq, &event.body()?).await?;
            }
            let body = match self
                .judge(message, workspace, issued_by, &deed, stamp.occurred_at)
                .await?
            {
                Verdict::Happens(body) => *body,
                Verdict::IsSo { created } => {
                    return Ok(Reply::Accepted {
                        run_id,
                        status: None,
                        created,
                    });
                }
                Verdict::Refused {
                    code,
                    reason,
                    violations,
                } => {
                    return Ok(Reply::Refused {
                        run_id: Some(run_id),
                        reason_code: code,
                        reason,
                        violations,
                    });
                }
            };
            let envelope = Envelope {
                commit_id: stamp.commit_id.clone(),
                workspace_id: workspace.clone(),
                run_id: run_id.clone(),
                attempt: 0,
                actor: Actor {
                    actor_id: issued_by.to_owned(),
                    actor_type: ActorType::User,
                },
                actor_principal_id: None,
                zone: Zone::default(),
                room_id: None,
                thread_id: None,
                correlation_id: None,
                causation_id: stamp.causation_id.clone(),
                occurred_at: stamp.occurred_at,
            };
            let commit = chain::seal(&head, envelope, vec![(None, body.clone())]);
            match self
                .fleet
                .append_authority(&commit, Gate::None, fence)
                .await
            {
                Ok(_) => done = Some((head.seq + 1, body)),
                Err(AppendError::Fenced { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let Some((seq, body)) = done else {
            return Ok(refused(&run_id, None, "nothing came of the command"));
        };
        self.spread(workspace, seq, &body).await?;
        if let EventBody::PolicyActivated(active) = &body {
            // What the policy marks as secret holds here before anybody is told that it is active.
            let is_known = |known: &Snapshot| {
                let policy = known.policy();
                policy.is_some_and(|policy| policy.revision() >= active.revision)
            };
            self.authority.until(SOON, is_known).await;
        }
        Ok(reply_to(run_id, body))
    }

    /// The event that this very message made when it was handed out before.
    async fn find(
        &self,
        workspace: &WorkspaceId,
        commit_id: &gatewright_schemas::CommitId,
    ) -> Result<Option<(u64, EventBody)>, HandleError> {
        let history = self.fleet.history(workspace, &RunId::authority()).await?;
        let commit = history
            .into_iter()
            .map(|stored| stored.commit)
            .find(|c| c.commit_id == *commit_id);
        Ok(commit.and_then(|commit| {
            let event = commit.events.into_iter().next()?;
            Some((event.seq, event.body().ok()?))
        }))
    }

    #[expect(clippy::too_many_lines, reason = "one arm a command, each a few lines")]
    async fn judge(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        issued_by: &str,
        deed: &Deed,
        now: Timestamp,
    ) -> Result<Verdict, HandleError> {
        let command = match deed {
            Deed::Command(command) => command,
            Deed::Remember(remembered) => return self.judge_remembered(remembered).await,
        };
        let is_fleets = *workspace == WorkspaceId::fleet();
        let is_policy = matches!(command, Command::ApplyPolicy { .. });
        if is_fleets != is_policy {
            let reason = "the policy belongs to the workspace `_fleet`; capabilities and principals belong to a workspace of their own";
            return Ok(Verdict::refused(reason));
        }
        match command.clone() {
            Command::ApplyPolicy { document } => self.judge_policy(document, issued_by).await,
            Command::GrantCapability {
                token_id,
                to,
                by,
                parent,
                scopes,
                valid_until,
            } => {
                let token_id = match token_id {
                    Some(id) => id,
                    None => match CapabilityTokenId::new(self.name_of(message, "cap")) {
                        Ok(id) => id,
                        Err(error) => return Ok(Verdict::refused(error.to_string())),
                    },
                };
                if self.fleet.capability(workspace, &token_id).await?.is_some() {
                    return Ok(Verdict::refused(format!(
                        "capability token `{token_id}` exists already"
                    )));
                }
                let token = CapabilityToken {
                    token_id,
                    workspace_id: workspace.clone(),
                    issued_to_principal_id: to,
                    granted_by_principal_id: by,
                    parent_token_id: parent,
                    scopes,
                    valid_until,
                    granted_at: now,
                    revoked_at: None,
                };
                self.judge_grant(workspace, token, now).await
            }
            Command::RevokeCapability { token_id, reason } => {
                match self.fleet.capability(workspace, &token_id).await? {
                    None => Ok(Verdict::refused(format!(
                        "there is no capability token `{token_id}`"
                    ))),
                    Some(token) if token.revoked_at.is_some() => Ok(Verdict::IsSo {
                        created: Some(token_id.to_string()),
                    }),
                    Some(_) => Ok(happens(EventBody::CapabilityRevoked(CapabilityRevoked {
                        token_id,
                        revoked_at: now,
                        by: issued_by.to_owned(),
                        reason,
                    }))),
                }
            }
            Command::RegisterPrincipal {
                principal_id,
                principal_type,
                actor_id,
            } => {
                let there = self.fleet.principal(workspace, &principal_id).await?;
                let principal = Principal {
                    workspace_id: workspace.clone(),
                    principal_type,
                    actor_id,
                    quarantine: there.as_ref().and_then(|p| p.quarantine.clone()),
                    principal_id,
                };
                match there {
                    Some(there) if there == principal => Ok(Verdict::IsSo {
                        created: Some(principal.principal_id.to_string()),
                    }),
                    Some(_) => Ok(Verdict::refused(format!(
                        "principal `{}` is registered already as another actor",
                        principal.principal_id
                    ))),
                    None => Ok(happens(EventBody::PrincipalRegistered(
                        PrincipalRegistered { principal },
                    ))),
                }
            }
            Command::QuarantinePrincipal {
                principal_id,
                reason,
            } => match self.fleet.principal(workspace, &principal_id).await? {
                None => Ok(Verdict::refused(format!(
                    "there is no principal `{principal_id}`"
                ))),
                Some(principal) if principal.quarantine.is_some() => Ok(Verdict::IsSo {
                    created: Some(principal_id.to_string()),
                }),
                Some(_) => {
                    let quarantine = Quarantine {
                        since: now,
                        reason,
                        by: issued_by.to_owned(),
                    };
                    let body = PrincipalQuarantined {
                        principal_id,
                        quarantine,
                    };
                    Ok(happens(EventBody::PrincipalQuarantined(body)))
                }
            },
            Command::ReleasePrincipal {
                principal_id,
                reason,
            } => match self.fleet.principal(workspace, &principal_id).await? {
                None => Ok(Verdict::refused(format!(
                    "there is no principal `{principal_id}`"
                ))),
                Some(principal) if principal.quarantine.is_none() => Ok(Verdict::IsSo {
                    created: Some(principal_id.to_string()),
                }),
                Some(_) => Ok(happens(EventBody::PrincipalReleased(PrincipalReleased {
                    principal_id,
                    by: issued_by.to_owned(),
                    reason,
                }))),
            },
            Command::ForgetApproval {
                remembered_id,
                reason,
            } => match self
                .fleet
                .remembered_approval(workspace, &remembered_id)
                .await?
            {
                None => Ok(Verdict::refused(format!(
                    "there is no remembered approval `{remembered_id}`"
                ))),
                Some(remembered) if remembered.revoked_at.is_some() => Ok(Verdict::IsSo {
                    created: Some(remembered_id.to_string()),
                }),
                Some(_) => Ok(happens(EventBody::ApprovalForgotten(ApprovalForgotten {
                    remembered_id,
                    revoked_at: now,
                    by: issued_by.to_owned(),
                    reason,
                }))),
            },
            Command::OpenStep { .. }
            | Command::RequestToolCall { .. }
            | Command::CompleteRun { .. }
            | Command::Cancel { .. }
            | Command::Retry { .. }
            | Command::Wake
            | Command::Deadline
            | Command::DecideApproval { .. }
            | Command::ExpireApproval { .. } => Ok(Verdict::refused(
                "this command belongs to a run, not to `_authority`",
            )),
        }
    }

    async fn judge_remembered(
        &self,
        remembered: &RememberedApproval,
    ) -> Result<Verdict, HandleError> {
        let (workspace, id) = (&remembered.workspace_id, &remembered.remembered_id);
        let there = self.fleet.remembered_approval(workspace, id).await?;
        Ok(match there {
            Some(_) => Verdict::IsSo {
                created: Some(id.to_string()),
            },
            None => happens(EventBody::ApprovalRemembered(ApprovalRemembered {
                remembered: remembered.clone(),
            })),
        })
    }

    async fn judge_policy(
        &self,
        document: String,
        issued_by: &str,
    ) -> Result<Verdict, HandleError> {
        let parsed = match PolicyDocument::parse(&document) {
            Ok(parsed) => parsed,
            Err(faults) => {
                return Ok(Verdict::Refused {
                    code: None,
                    reason: format!("the policy document is not valid: {faults}"),
                    violations: faults
                        .0
                        .iter()
                        .map(|f| Violation::new(f.pointer.clone(), f.to_string()))
                        .collect(),
                });
            }
        };
        let digest = parsed.digest();
        // The chain of the fleet's authority holds nothing but activations, so its last event is the active policy,
        // also when the entry in KV was never written.
        let last = self
            .fleet
            .last_commit(&WorkspaceId::fleet(), &RunId::authority())
            .await?;
        let active = last.and_then(|stored| match stored.commit.events.last()?.body().ok()? {
            EventBody::PolicyActivated(activated) => Some(activated),
            _ => None,
        });
        if let Some(active) = &active
            && active.digest == digest
        {
            return Ok(Verdict::IsSo {
                created: Some(active.revision.to_string()),
            });
        }
        let mode = parsed.mode;
        let previous_mode = active
            .as_ref()
            .map(|a| a.enforcement_mode)
            .filter(|before| *before != mode);
        Ok(happens(EventBody::PolicyActivated(PolicyActivated {
            revision: active.map_or(0, |a| a.revision) + 1,
            digest,
            document,
            enforcement_mode: mode,
            previous_mode,
            by: issued_by.to_owned(),
        })))
    }

    async fn judge_grant(
        &self,
        workspace: &WorkspaceId,
        token: CapabilityToken,
        now: Timestamp,
    ) -> Result<Verdict, HandleError> {
        let Some(parent_id) = &token.parent_token_id else {
            return Ok(happens(EventBody::CapabilityGranted(CapabilityGranted {
                token,
            })));
        };
        // What the decision needs of the authority: the line from the parent up to its root, and who delegates.
        let mut known = Snapshot::new();
        let mut next = Some(parent_id.clone());
        for _ in 0..=MAX_DELEGATIONS {
            let Some(id) = next else { break };
            let Some(ancestor) = self.fleet.capability(workspace, &id).await? else {
                break;
            };
            let parent = ancestor.parent_token_id.clone();
            known.upsert_token(ancestor);
            next = parent;
        }
        if let Some(holder) = self
            .fleet
            .principal(workspace, &token.granted_by_principal_id)
            .await?
        {
            known.upsert_principal(holder);
        }
        let request = DelegationRequest {
            workspace_id: workspace.clone(),
            parent_token_id: parent_id.clone(),
            token_id: token.token_id.clone(),
            granted_by: token.granted_by_principal_id.clone(),
            issued_to: token.issued_to_principal_id.clone(),
            scopes: token.scopes.clone(),
            valid_until: token.valid_until,
        };
        Ok(match delegate(&request, &known, now) {
            Ok(token) => happens(EventBody::CapabilityGranted(CapabilityGranted { token })),
            Err(refusal) => happens(EventBody::CapabilityRefused(CapabilityRefused {
                token_id: token.token_id,
                parent_token_id: token.parent_token_id,
                to: token.issued_to_principal_id,
                by: token.granted_by_principal_id,
                reason_code: ReasonCode::DelegationRefused,
                reason: refusal.to_string(),
            })),
        })
    }

    /// Writes what happened where every gate sees it.
    async fn spread(
        &self,
        workspace: &WorkspaceId,
        seq: u64,
        body: &EventBody,
    ) -> Result<(), HandleError> {
        match body {
            EventBody::PolicyActivated(activated) => {
                let active = ActivePolicy {
                    revision: activated.revision,
                    digest: activated.digest.clone(),
                    document: activated.document.clone(),
                    activated_at: clock::now(),
                    by: activated.by.clone(),
                };
                self.fleet.put_policy(seq, &active).await?;
            }
            EventBody::CapabilityGranted(granted) => {
                self.fleet.put_capability(seq, &granted.token).await?;
            }
            EventBody::CapabilityRevoked(revoked) => {
                let token = self.fleet.capability(workspace, &revoked.token_id).await?;
                let token = CapabilityToken {
                    revoked_at: Some(revoked.revoked_at),
                    ..token.ok_or(HandleError::NotVisibleYet)?
                };
                self.fleet.put_capability(seq, &token).await?;
            }
            EventBody::PrincipalRegistered(registered) => {
                self.fleet.put_principal(seq, &registered.principal).await?;
            }
            EventBody::PrincipalQuarantined(quarantined) => {
                self.put_quarantine(
                    workspace,
                    seq,
                    &quarantined.principal_id,
                    Some(quarantined.quarantine.clone()),
                )
                .await?;
            }
            EventBody::PrincipalReleased(released) => {
                self.put_quarantine(workspace, seq, &released.principal_id, None)
                    .await?;
            }
            EventBody::ApprovalRemembered(ApprovalRemembered { remembered }) => {
                self.fleet.put_remembered_approval(seq, remembered).await?;
            }
            EventBody::ApprovalForgotten(forgotten) => {
                let id = &forgotten.remembered_id;
                let remembered = self.fleet.remembered_approval(workspace, id).await?;
                let remembered = RememberedApproval {
                    revoked_at: Some(forgotten.revoked_at),
                    ..remembered.ok_or(HandleError::NotVisibleYet)?
                };
                self.fleet.put_remembered_approval(seq, &remembered).await?;
            }
            _ => {}
        }
        Ok(())
    }

    async fn put_quarantine(
        &self,
        workspace: &WorkspaceId,
        seq: u64,
        id: &gatewright_schemas::PrincipalId,
        quarantine: Option<Quarantine>,
    ) -> Result<(), HandleError> {
        let principal = self.fleet.principal(workspace, id).await?;
        let principal = Principal {
            quarantine,
            ..principal.ok_or(HandleError::NotVisibleYet)?
        };
        self.fleet.put_principal(seq, &principal).await?;
        Ok(())
    }
}

fn happens(body: EventBody) -> Verdict {
    Verdict::Happens(Box::new(body))
}

fn reply_to(run_id: RunId, body: EventBody) -> Reply {
    let created = match body {
        EventBody::PolicyActivated(activated) => Some(activated.revision.to_string()),
        EventBody::CapabilityGranted(granted) => Some(granted.token.token_id.to_string()),
        EventBody::PrincipalRegistered(registered) => {
            Some(registered.principal.principal_id.to_string())
        }
        EventBody::CapabilityRefused(refusal) => {
            return Reply::Refused {
                run_id: Some(run_id),
                reason_code: Some(refusal.reason_code),
                reason: refusal.reason,
                violations: Vec::new(),
            };
        }
        _ => None,
    };
    Reply::Accepted {
        run_id,
        status: None,
        created,
    }
}
