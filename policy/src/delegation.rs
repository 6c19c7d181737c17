//! Delegation: a token's holder passes on part of what it holds, never more.

use gatewright_schemas::{
    CapabilityToken, CapabilityTokenId, DataAccess, PrincipalId, Scopes, Timestamp, WorkspaceId,
};

use crate::{
    host::DomainPattern,
    snapshot::{BrokenLine, MAX_DELEGATIONS, Snapshot, readable},
};

/// A token that somebody wants to pass on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelegationRequest {
    /// The workspace of both tokens.
    pub workspace_id: WorkspaceId,
    /// The token to delegate from.
    pub parent_token_id: CapabilityTokenId,
    /// The new token's id.
    pub token_id: CapabilityTokenId,
    /// Who delegates: proven by its credential, not by what the request says of itself.
    pub granted_by: PrincipalId,
    /// Who receives the new token.
    pub issued_to: PrincipalId,
    /// What it is to cover; what the parent does not cover falls away.
    pub scopes: Scopes,
    /// From when on it no longer holds; the parent's expiry when that is earlier.
    pub valid_until: Option<Timestamp>,
}

/// Why a delegation is refused. Its reason code is `delegation_refused`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DelegationRefused {
    /// The parent, or one that it descends from, is not known.
    #[error("there is no capability token `{0}`")]
    ParentNotFound(CapabilityTokenId),
    /// The parent, or one that it descends from, is revoked.
    #[error("the capability token `{0}` is revoked")]
    Revoked(CapabilityTokenId),
    /// The parent, or one that it descends from, has expired.
    #[error("the capability token `{0}` has expired")]
    Expired(CapabilityTokenId),
    /// Only the parent's holder may delegate it.
    #[error("the capability token `{token}` is not held by `{by}`")]
    NotTheHolder {
        /// The parent.
        token: CapabilityTokenId,
        /// Who tried.
        by: PrincipalId,
    },
    /// The holder may do nothing.
    #[error("the principal `{0}` is in quarantine")]
    Quarantined(PrincipalId),
    /// There would be too many delegations between the root and the new token.
    #[error("the new token would descend through more than {MAX_DELEGATIONS} delegations")]
    TooDeep,
    /// The new token's id is taken.
    #[error("the capability token `{0}` exists already")]
    IdTaken(CapabilityTokenId),
    /// It would expire before it is granted.
    #[error("the new token would have expired already, at {0}")]
    BornExpired(Timestamp),
    /// A domain pattern cannot be read.
    #[error("{0}")]
    Pattern(#[from] crate::host::InvalidPattern),
}

/// The token that comes of a delegation: the intersection with its parent on every axis, and no later expiry.
pub fn delegate(
    request: &DelegationRequest,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Result<CapabilityToken, DelegationRefused> {
    let DelegationRequest {
        workspace_id,
        parent_token_id,
        token_id,
        granted_by,
        ..
    } = request;
    let line = snapshot
        .chain(workspace_id, parent_token_id)
        .map_err(|broken| match broken {
            BrokenLine::Missing(missing) => DelegationRefused::ParentNotFound(missing),
            BrokenLine::TooLong => DelegationRefused::TooDeep,
        })?;
    for held in &line {
        let id = &held.token.token_id;
        if held.token.revoked_at.is_some() {
            return Err(DelegationRefused::Revoked(id.clone()));
        }
        if held.token.valid_until.is_some_and(|until| now >= until) {
            return Err(DelegationRefused::Expired(id.clone()));
        }
    }
    // The line holds the parent itself; as many delegations again as it has links lie between root and child.
    let parent = match line.first() {
        Some(held) if line.len() <= MAX_DELEGATIONS => &held.token,
        _ => return Err(DelegationRefused::TooDeep),
    };
    if parent.issued_to_principal_id != *granted_by {
        let token = parent_token_id.clone();
        return Err(DelegationRefused::NotTheHolder {
            token,
            by: granted_by.clone(),
        });
    }
    if snapshot
        .principal(workspace_id, granted_by)
        .is_some_and(|p| p.quarantine.is_some())
    {
        return Err(DelegationRefused::Quarantined(granted_by.clone()));
    }
    if snapshot.token(workspace_id, token_id).is_some() {
        return Err(DelegationRefused::IdTaken(token_id.clone()));
    }
    let valid_until = earlier(request.valid_until, parent.valid_until);
    if let Some(until) = valid_until.filter(|until| now >= *until) {
        return Err(DelegationRefused::BornExpired(until));
    }
    Ok(CapabilityToken {
        token_id: token_id.clone(),
        workspace_id: workspace_id.clone(),
        issued_to_principal_id: request.issued_to.clone(),
        granted_by_principal_id: granted_by.clone(),
        parent_token_id: Some(parent_token_id.clone()),
        scopes: intersection(&request.scopes, &parent.scopes)?,
        valid_until,
        granted_at: now,
        revoked_at: None,
    })
}

/// The earlier of two expiries, where none means never.
fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn intersection(wanted: &Scopes, held: &Scopes) -> Result<Scopes, DelegationRefused> {
    Ok(Scopes {
        tools: names(&wanted.tools, &held.tools),
        rooms: names(&wanted.rooms, &held.rooms),
        action_types: names(&wanted.action_types, &held.action_types),
        egress_domains: domains(&wanted.egress_domains, &held.egress_domains)?,
        data_access: DataAccess {
            read: names(&wanted.data_access.read, &held.data_access.read),
            write: names(&wanted.data_access.write, &held.data_access.write),
        },
    })
}

fn names(wanted: &[String], held: &[String]) -> Vec<String> {
    let all = |list: &[String]| list.iter().any(|name| name == "*");
    let mut both: Vec<String> = match (all(wanted), all(held)) {
        (true, true) => vec!["*".to_owned()],
        (true, false) => held.to_vec(),
        (false, true) => wanted.to_vec(),
        (false, false) => wanted
            .iter()
            .filter(|name| held.contains(name))
            .cloned()
            .collect(),
    };
    both.sort_unstable();
    both.dedup();
    both
}

fn domains(wanted: &[String], held: &[String]) -> Result<Vec<String>, DelegationRefused> {
    let wanted = wanted
        .iter()
        .map(|text| text.parse())
        .collect::<Result<Vec<DomainPattern>, _>>()?;
    let held = readable(held);
    let mut both: Vec<String> = wanted
        .iter()
        .flat_map(|wanted| held.iter().filter_map(|held| wanted.intersection(held)))
        .map(ToString::to_string)
        .collect();
    both.sort_unstable();
    both.dedup();
    Ok(both)
}
