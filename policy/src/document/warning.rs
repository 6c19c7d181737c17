//! Rules that can never match, or that change nothing: most often they say that somebody meant something else.

use std::collections::{BTreeMap, BTreeSet};

use gatewright_schemas::{Decision, Violation, Zone};

use super::{PolicyDocument, ToolName};
use crate::{host::DomainPattern, host::is_public_address};

/// All warnings of a document, list by list.
pub(super) fn of(document: &PolicyDocument) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut warn = |pointer: String, message: String| found.push(Violation::new(pointer, message));
    kill_switches(document, &mut warn);
    tool_lists(document, &mut warn);
    limits(document, &mut warn);
    domains(document, &mut warn);
    actions(document, &mut warn);
    egress(document, &mut warn);
    sandbox(document, &mut warn);
    found
}

fn sandbox(document: &PolicyDocument, warn: &mut impl FnMut(String, String)) {
    let sandbox = &document.sandbox;
    for name in sandbox.profiles.keys() {
        if sandbox.escalated.as_ref() != Some(name) {
            warn(
                format!("/sandbox/profiles/{name}"),
                "no call gets it: `escalated` does not name it".into(),
            );
        }
    }
}

fn kill_switches(document: &PolicyDocument, warn: &mut impl FnMut(String, String)) {
    let switches = &document.kill_switches;
    if switches.fleet {
        warn(
            "/kill_switches/fleet".into(),
            "the whole fleet is switched off; no other rule matters".into(),
        );
    }
    if Zone::ALL.iter().all(|zone| switches.zones.contains(zone)) {
        warn(
            "/kill_switches/zones".into(),
            "every zone is switched off; use `fleet`".into(),
        );
    }
    repeated("/kill_switches/workspaces", &switches.workspaces, warn);
    repeated("/kill_switches/tools", &switches.tools, warn);
    repeated("/kill_switches/zones", &switches.zones, warn);
    repeated(
        "/tokens/required_in_zones",
        &document.tokens.required_in_zones,
        warn,
    );
    repeated(
        "/tokens/required_for_tools",
        &document.tokens.required_for_tools,
        warn,
    );
    for (place, zone) in document.tokens.required_in_zones.iter().enumerate() {
        if switches.zones.contains(zone) {
            let pointer = format!("/tokens/required_in_zones/{place}");
            warn(
                pointer,
                format!("never matches: the zone `{zone}` is switched off"),
            );
        }
    }
    for (place, tool) in document.tokens.required_for_tools.iter().enumerate() {
        if switches.tools.contains(tool) {
            let pointer = format!("/tokens/required_for_tools/{place}");
            warn(
                pointer,
                format!("never matches: the tool `{tool}` is switched off"),
            );
        }
    }
}

fn tool_lists(document: &PolicyDocument, warn: &mut impl FnMut(String, String)) {
    repeated("/auto_allow", &document.auto_allow, warn);
    repeated("/require_approval", &document.require_approval, warn);
    let approval: BTreeSet<&ToolName> = document.require_approval.iter().collect();
    let killed: BTreeSet<&ToolName> = document.kill_switches.tools.iter().collect();
    for (list, tools, same) in [
        ("auto_allow", &document.auto_allow, Decision::Allow),
        (
            "require_approval",
            &document.require_approval,
            Decision::RequireApproval,
        ),
    ] {
        for (place, tool) in tools.iter().enumerate() {
            let pointer = format!("/{list}/{place}");
            if killed.contains(tool) {
                warn(
                    pointer,
                    format!("never matches: the tool `{tool}` is switched off"),
                );
            } else if list == "auto_allow" && approval.contains(tool) {
                warn(
                    pointer,
                    format!("never matches: `{tool}` is in `require_approval`, which outweighs it"),
                );
            } else if document.default == same && (list != "require_approval") {
                warn(
                    pointer,
                    format!("changes nothing: the default for `{tool}` is `{same}` already"),
                );
            }
        }
    }
    for (tool, mode) in &document.tool_modes {
        if *mode == document.mode {
            let pointer = format!("/tool_modes/{}", escaped(tool));
            warn(
                pointer,
                format!("changes nothing: the document's mode is `{mode}` already"),
            );
        }
    }
}

fn limits(document: &PolicyDocument, warn: &mut impl FnMut(String, String)) {
    let limits = &document.limits;
    let listed: BTreeSet<&ToolName> = document
        .auto_allow
        .iter()
        .chain(&document.require_approval)
        .collect();
    for (tool, limit) in &limits.tools_daily {
        let pointer = format!("/limits/tools_daily/{}", escaped(tool));
        if document.kill_switches.tools.contains(tool) {
            warn(
                pointer,
                format!("never matches: the tool `{tool}` is switched off"),
            );
        } else if document.default == Decision::Deny && !listed.contains(tool) {
            warn(
                pointer,
                format!("never matches: `{tool}` is on no list and the default denies it"),
            );
        } else if *limit == 0 {
            warn(
                pointer,
                format!("lets no call of `{tool}` run; `kill_switches.tools` says so more plainly"),
            );
        }
    }
}

fn domains(document: &PolicyDocument, warn: &mut impl FnMut(String, String)) {
    let domains = &document.domains;
    covered("/domains/allow", &domains.allow, warn);
    covered("/domains/allow_writes", &domains.allow_writes, warn);
    let allowed = Patterns::of(&domains.allow);
    for (place, pattern) in domains.allow_writes.iter().enumerate() {
        if !allowed.any_covers(pattern) {
            let pointer = format!("/domains/allow_writes/{place}");
            warn(
                pointer,
                format!(
                    "`{pattern}` is not within `domains.allow`, so calls to it need approval all the same"
                ),
            );
        }
    }
}

fn actions(document: &PolicyDocument, warn: &mut impl FnMut(String, String)) {
    for (place, action) in document.actions.iter().enumerate() {
        let name = &action.action_type;
        if let Some(zone) = action.zone {
            let pointer = format!("/actions/{place}/zone");
            if document.kill_switches.zones.contains(&zone) {
                warn(
                    pointer,
                    format!("`{name}` can never run: its zone `{zone}` is switched off"),
                );
            } else if !action.reversible && zone != Zone::HighStakes {
                warn(
                    pointer,
                    format!(
                        "`{name}` needs approval at every call: it is irreversible and its zone is not `high_stakes`"
                    ),
                );
            }
        }
        if !action.external_write && name == crate::checks::EXTERNAL_WRITE {
            let pointer = format!("/actions/{place}/type");
            warn(
                pointer,
                format!(
                    "`{name}` is a write to the outside whatever `external_write` says; set it to true"
                ),
            );
        }
    }
}

fn egress(document: &PolicyDocument, warn: &mut impl FnMut(String, String)) {
    let exceptions = &document.egress.address_exceptions;
    for (place, range) in exceptions.iter().enumerate() {
        let pointer = format!("/egress/address_exceptions/{place}");
        let wider = exceptions.iter().enumerate().find(|(other, wide)| {
            *other != place && wide.covers(range) && !(range.covers(wide) && place < *other)
        });
        if let Some((_, wide)) = wider {
            warn(
                pointer,
                format!("changes nothing: `{wide}` covers `{range}`"),
            );
        } else if range.single_address().is_some_and(is_public_address) {
            warn(
                pointer,
                format!("changes nothing: `{range}` is a public address"),
            );
        }
    }
}

/// Entries of `list` that stood there before.
fn repeated<T: Ord + std::fmt::Display>(
    list: &str,
    entries: &[T],
    warn: &mut impl FnMut(String, String),
) {
    let mut seen = BTreeMap::new();
    for (place, entry) in entries.iter().enumerate() {
        if let Some(first) = seen.insert(entry, place) {
            warn(
                format!("{list}/{place}"),
                format!("`{entry}` stands in {list}/{first} already"),
            );
        }
    }
}

/// Patterns of `list` that mean no host which another one does not mean too.
fn covered(list: &str, patterns: &[DomainPattern], warn: &mut impl FnMut(String, String)) {
    repeated(list, patterns, warn);
    let all = Patterns::of(patterns);
    for (place, pattern) in patterns.iter().enumerate() {
        if let Some(wider) = all.wider_than(pattern) {
            warn(
                format!("{list}/{place}"),
                format!("changes nothing: `{wider}` covers `{pattern}`"),
            );
        }
    }
}

/// Patterns by their text, so that what covers one is found without comparing it with all.
struct Patterns<'a>(BTreeSet<&'a DomainPattern>);

impl<'a> Patterns<'a> {
    fn of(patterns: &'a [DomainPattern]) -> Self {
        Self(patterns.iter().collect())
    }

    fn any_covers(&self, pattern: &DomainPattern) -> bool {
        self.0.contains(pattern) || self.wider_than(pattern).is_some()
    }

    fn wider_than(&self, pattern: &DomainPattern) -> Option<DomainPattern> {
        let (host, below) = match pattern {
            DomainPattern::Any => return None,
            DomainPattern::Exact(host) => (host, false),
            DomainPattern::Below(host) => (host, true),
        };
        let mut name = Some(host.as_str());
        if below {
            name = host.as_str().split_once('.').map(|(_, rest)| rest);
        }
        while let Some(suffix) = name {
            if let Ok(wider) = format!("*.{suffix}").parse::<DomainPattern>()
                && wider.covers(pattern)
                && self.0.contains(&wider)
            {
                return Some(wider);
            }
            name = suffix.split_once('.').map(|(_, rest)| rest);
        }
        self.0
            .contains(&DomainPattern::Any)
            .then_some(DomainPattern::Any)
    }
}

fn escaped(tool: &ToolName) -> String {
    tool.as_str().replace('~', "~0").replace('/', "~1")
}
