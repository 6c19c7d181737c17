//! Check 5: the principal is not quarantined, nor is the holder of the token that it names.

use gatewright_schemas::{PrincipalId, ReasonCode};

use super::{Check, CheckError, Objection, deny, quoted};
use crate::facts::{Facts, TokenFacts};

pub(super) const CHECK: Check = Check {
    number: 5,
    name: "quarantine",
    asks: "is the principal in quarantine?",
    of_egress: true,
    applies: |facts| facts.principal.is_some(),
    evaluate,
};

fn evaluate(facts: &Facts<'_>) -> Result<Option<Objection>, CheckError> {
    Ok(facts
        .principal
        .into_iter()
        .chain(holder(facts))
        .find_map(|id| objection(facts, id)))
}

/// The holder of the token, who may be another than the principal given.
fn holder<'a>(facts: &Facts<'a>) -> Option<&'a PrincipalId> {
    match &facts.token {
        TokenFacts::Line(line) => line.first().map(|held| &held.token.issued_to_principal_id),
        TokenFacts::NotNamed | TokenFacts::Broken(..) => None,
    }
}

fn objection(facts: &Facts<'_>, id: &PrincipalId) -> Option<Objection> {
    let quarantine = facts.known(id)?.quarantine.as_ref()?;
    let reason = format!(
        "the principal `{id}` is in quarantine since {}: {}",
        quarantine.since,
        quoted(&quarantine.reason)
    );
    deny(ReasonCode::AgentQuarantined, reason)
}
