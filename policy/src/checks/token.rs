//! Check 6: the capability token that is named, or demanded, holds for this principal now.

use gatewright_schemas::{CapabilityToken, ReasonCode};

use super::{Check, CheckError, Objection, deny, quoted};
use crate::{
    facts::{Facts, TokenFacts},
    snapshot::BrokenLine,
};

pub(super) const CHECK: Check = Check {
    number: 6,
    name: "capability_token",
    asks: "does the capability token that is named, or demanded, hold?",
    of_egress: true,
    applies: |facts| !matches!(facts.token, TokenFacts::NotNamed) || demanded_by(facts).is_some(),
    evaluate,
};

fn evaluate(facts: &Facts<'_>) -> Result<Option<Objection>, CheckError> {
    match &facts.token {
        TokenFacts::NotNamed => Ok(demanded_by(facts).and_then(|demand| {
            deny(
                ReasonCode::CapabilityTokenRequired,
                format!("{demand} demands a capability token, and the call names none"),
            )
        })),
        TokenFacts::Broken(named, BrokenLine::Missing(missing)) => {
            let reason = if *named == missing {
                format!(
                    "the workspace `{}` knows no capability token `{named}`",
                    facts.workspace
                )
            } else {
                format!(
                    "the capability token `{named}` descends from `{missing}`, which is not known"
                )
            };
            Ok(deny(ReasonCode::CapabilityTokenNotFound, reason))
        }
        TokenFacts::Broken(_, broken) => Err(broken.clone().into()),
        TokenFacts::Line(line) => Ok(line
            .iter()
            .find_map(|held| lifetime(facts, &held.token))
            .or_else(|| line.first().and_then(|held| holder(facts, &held.token)))),
    }
}

/// Who wants a token, for a sentence; nobody when the context cannot be read, which check 1 denies.
fn demanded_by(facts: &Facts<'_>) -> Option<String> {
    let tool = &facts.tool.name;
    let by_policy = facts
        .policy
        .is_some_and(|policy| policy.tool_demands_token(tool));
    if facts.tool.requires_token || by_policy {
        return Some(format!("the tool `{}`", quoted(tool)));
    }
    let zone = facts.context.ok()?.zone;
    facts
        .policy?
        .zone_demands_token(zone)
        .then(|| format!("the zone `{zone}`"))
}

fn lifetime(facts: &Facts<'_>, token: &CapabilityToken) -> Option<Objection> {
    let id = &token.token_id;
    if let Some(revoked) = token.revoked_at {
        // Revoked is revoked, even when a clock somewhere says that it is yet to come.
        return deny(
            ReasonCode::CapabilityTokenRevoked,
            format!("the capability token `{id}` was revoked at {revoked}"),
        );
    }
    let expired = token.valid_until.filter(|until| facts.now >= *until)?;
    deny(
        ReasonCode::CapabilityTokenExpired,
        format!("the capability token `{id}` has expired at {expired}"),
    )
}

fn holder(facts: &Facts<'_>, token: &CapabilityToken) -> Option<Objection> {
    let given = facts.principal?;
    if *given == token.issued_to_principal_id {
        return None;
    }
    let reason = format!(
        "the capability token `{}` is not held by the principal `{given}`",
        token.token_id
    );
    deny(ReasonCode::CapabilityTokenPrincipalMismatch, reason)
}
