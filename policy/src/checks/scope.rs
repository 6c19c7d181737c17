//! Check 7: the token's scopes cover everything that the call touches.
//!
//! An axis that is missing or empty allows nothing; `*` allows all.
//! The axes: the tool, always; the room, always, where a call outside any room needs `*` (a token that is bound to rooms must
//! not reach further by leaving the room out); the action type, the hosts and the data, where the call has any.
//! Every token of the line of descent must cover the call, so that a child that was written too wide gains nothing.

use gatewright_schemas::{DataAccess, ReasonCode};

use super::{Check, CheckError, Objection, deny, quoted};
use crate::{
    facts::{Facts, Pass, TokenFacts},
    name_set::NameSet,
    snapshot::HeldToken,
};

pub(super) const CHECK: Check = Check {
    number: 7,
    name: "capability_scope",
    asks: "do the token's scopes cover the tool, room, action type, hosts and data?",
    of_egress: true,
    applies: |facts| matches!(facts.token, TokenFacts::Line(_)),
    evaluate,
};

fn evaluate(facts: &Facts<'_>) -> Result<Option<Objection>, CheckError> {
    let TokenFacts::Line(line) = &facts.token else {
        return Ok(None);
    };
    // Axis by axis, so that the code does not depend on which token of the line is the narrow one.
    for axis in [tools, rooms, action_types, egress_domains, data_access] {
        for held in line {
            if let Some(objection) = axis(facts, held)? {
                return Ok(Some(objection));
            }
        }
    }
    Ok(None)
}

type Outcome = Result<Option<Objection>, CheckError>;

fn tools(facts: &Facts<'_>, held: &HeldToken) -> Outcome {
    let codes = (
        ReasonCode::CapabilityScopeToolRequired,
        ReasonCode::CapabilityScopeToolNotAllowed,
    );
    Ok(uncovered(
        held,
        "tools",
        codes,
        &held.tools,
        [facts.tool.name.as_str()],
    ))
}

fn rooms(facts: &Facts<'_>, held: &HeldToken) -> Outcome {
    let codes = (
        ReasonCode::CapabilityScopeRoomRequired,
        ReasonCode::CapabilityScopeRoomNotAllowed,
    );
    if let Some(room) = facts.room {
        return Ok(uncovered(held, "rooms", codes, &held.rooms, [room]));
    }
    if held.rooms.is_any() {
        return Ok(None);
    }
    let code = if held.rooms.is_empty() {
        codes.0
    } else {
        codes.1
    };
    let id = &held.token.token_id;
    Ok(deny(
        code,
        format!(
            "the call is in no room, and the scope `rooms` of the capability token `{id}` is not `*`"
        ),
    ))
}

fn action_types(facts: &Facts<'_>, held: &HeldToken) -> Outcome {
    let codes = (
        ReasonCode::CapabilityScopeActionTypeRequired,
        ReasonCode::CapabilityScopeActionNotAllowed,
    );
    Ok(uncovered(
        held,
        "action_types",
        codes,
        &held.action_types,
        facts.action_type,
    ))
}

fn egress_domains(facts: &Facts<'_>, held: &HeldToken) -> Outcome {
    // A token that allows every host allows the one that cannot be read, too; check 10 denies it all the same.
    let hosts = facts.hosts.map_err(Clone::clone)?;
    let id = &held.token.token_id;
    let Some(host) = hosts
        .iter()
        .find(|host| !held.egress_domains.contains(host))
    else {
        return Ok(None);
    };
    Ok(if held.egress_domains.is_empty() {
        let reason = format!(
            "the capability token `{id}` lists no `egress_domains`, and the call names `{host}`"
        );
        deny(ReasonCode::CapabilityScopeEgressDomainRequired, reason)
    } else {
        let reason = format!(
            "the scope `egress_domains` of the capability token `{id}` does not cover `{host}`"
        );
        deny(ReasonCode::CapabilityScopeEgressDomainNotAllowed, reason)
    })
}

fn data_access(facts: &Facts<'_>, held: &HeldToken) -> Outcome {
    let codes = (
        ReasonCode::CapabilityScopeDataAccessRequired,
        ReasonCode::CapabilityScopeDataAccessNotAllowed,
    );
    // What a call does to data is the tool's; a request that it sends has none of its own.
    let DataAccess { read, write } = match facts.pass {
        Pass::Tool { .. } => &facts.tool.data,
        Pass::Egress { .. } => return Ok(None),
    };
    let read = read.iter().map(String::as_str);
    let write = write.iter().map(String::as_str);
    Ok(
        uncovered(held, "data_access.read", codes, &held.data_read, read)
            .or_else(|| uncovered(held, "data_access.write", codes, &held.data_write, write)),
    )
}

fn uncovered<'w>(
    held: &HeldToken,
    axis: &str,
    (required, not_allowed): (ReasonCode, ReasonCode),
    scope: &NameSet,
    wanted: impl IntoIterator<Item = &'w str>,
) -> Option<Objection> {
    let id = &held.token.token_id;
    let missing = quoted(wanted.into_iter().find(|name| !scope.contains(name))?);
    if scope.is_empty() {
        deny(
            required,
            format!(
                "the capability token `{id}` lists no `{axis}`, and the call needs `{missing}`"
            ),
        )
    } else {
        deny(
            not_allowed,
            format!("the scope `{axis}` of the capability token `{id}` does not cover `{missing}`"),
        )
    }
}
