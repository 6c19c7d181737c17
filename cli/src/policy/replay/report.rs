//! What changes, for a person and for a program.

use anyhow::Result;
use gatewright_policy::replay::{
    Change, Difference, Group, ReasonChange, Shadow, Side, Totals, UnreplayableGroup,
};
use gatewright_schemas::{Digest, EnforcementMode, Timestamp};
use serde::Serialize;

use crate::out::{Cell, Out, Table, time};

const LIMITS: &str = "limits are counted over the replayed decisions: every counter starts at zero with the first of them, \
    and a call that was asked about twice counts twice";

/// What was compared with what.
#[derive(Debug, Serialize)]
pub(super) struct Basis {
    /// Digest of the candidate.
    pub(super) digest: Digest,
    /// Its mode.
    pub(super) mode: EnforcementMode,
    /// Since when decisions were replayed.
    pub(super) since: Timestamp,
    /// Whether there are more, which the limit left out.
    pub(super) limited: bool,
}

/// The whole answer.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    candidate: Basis,
    totals: Totals,
    shadow: Shadow,
    tools: Vec<Group>,
    principals: Vec<Group>,
    zones: Vec<Group>,
    reasons: Vec<ReasonChange>,
    unreplayable: Vec<UnreplayableGroup>,
    /// How limits were counted.
    limits: &'static str,
}

impl Report {
    pub(super) fn new(candidate: Basis, difference: &Difference) -> Self {
        Self {
            candidate,
            totals: *difference.totals(),
            shadow: difference.shadow(),
            tools: difference.tools(),
            principals: difference.principals(),
            zones: difference.zones(),
            reasons: difference.reasons(),
            unreplayable: difference.unreplayable(),
            limits: LIMITS,
        }
    }

    /// Tells a person.
    pub(super) fn tell(&self, out: Out) -> Result<()> {
        let Basis { mode, since, .. } = &self.candidate;
        let decisions = self.totals.decisions;
        out.line(format!(
            "{decisions} decisions since {}, under the candidate in mode {mode}",
            time(*since)
        ))?;
        if self.candidate.limited {
            eprintln!("there are more: the limit left them out");
        }
        out.table(&totals(&self.totals))?;
        self.tell_shadow(out)?;
        let groups = [
            ("TOOL", &self.tools),
            ("PRINCIPAL", &self.principals),
            ("ZONE", &self.zones),
        ];
        for (head, groups) in groups {
            if !groups.is_empty() {
                out.line("")?;
                out.table(&by(head, groups))?;
            }
        }
        if !self.reasons.is_empty() {
            out.line("")?;
            out.table(&reasons(&self.reasons))?;
        }
        for group in &self.unreplayable {
            let (decisions, reason) = (group.decisions, &group.reason);
            let runs = group.examples.join(", ");
            out.line(format!(
                "\n{decisions} not replayed: {reason}; such as {runs}"
            ))?;
        }
        eprintln!("{LIMITS}");
        Ok(())
    }

    fn tell_shadow(&self, out: Out) -> Result<()> {
        let Shadow {
            decisions,
            would_stop_then,
            would_stop_now,
        } = self.shadow;
        if decisions == 0 {
            return Ok(());
        }
        out.line(format!(
            "\nOf {decisions} recorded in shadow mode, enforcing would have stopped {would_stop_then} by the recorded answers, \
             and {would_stop_now} by the candidate's"
        ))
    }
}

fn totals(totals: &Totals) -> Table {
    let mut table = Table::new(&[]).indented(2);
    for (name, count) in [
        ("same", totals.same),
        ("newly denied", totals.newly_denied),
        ("newly needing approval", totals.newly_needing_approval),
        ("newly allowed", totals.newly_allowed),
        ("same answer, obeyed by one only", totals.other_mode),
        ("same answer, other reason", totals.other_reason),
        ("not replayed", totals.unreplayable),
    ] {
        table.row(vec![name.into(), count.to_string().into()]);
    }
    table
}

fn by(head: &'static str, groups: &[Group]) -> Table {
    let mut table = Table::new(&[
        head,
        "DECISIONS",
        "SAME",
        "DENIED",
        "APPROVAL",
        "ALLOWED",
        "MODE",
        "REASON",
        "NOT REPLAYED",
    ]);
    for group in groups {
        let totals = &group.totals;
        let counts = [
            totals.decisions,
            totals.same,
            totals.newly_denied,
            totals.newly_needing_approval,
            totals.newly_allowed,
            totals.other_mode,
            totals.other_reason,
            totals.unreplayable,
        ];
        let mut row = vec![Cell::maybe(group.name.as_deref())];
        row.extend(counts.map(|count| Cell::text(count.to_string())));
        table.row(row);
    }
    table
}

fn reasons(changes: &[ReasonChange]) -> Table {
    let mut table = Table::new(&["DECISIONS", "CHANGE", "RECORDED", "CANDIDATE", "RUNS"]);
    for change in changes {
        table.row(vec![
            change.decisions.to_string().into(),
            word(change.change).into(),
            side(change.then).into(),
            side(change.now).into(),
            change.examples.join(" ").into(),
        ]);
    }
    table
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Same => "same",
        Change::NewlyDenied => "newly denied",
        Change::NewlyNeedingApproval => "newly needing approval",
        Change::NewlyAllowed => "newly allowed",
        Change::OtherMode => "obeyed by one only",
        Change::OtherReason => "other reason",
    }
}

fn side(side: Side) -> String {
    let stopped = if side.blocked { ", blocked" } else { "" };
    format!("{} {}{stopped}", side.decision, side.reason_code)
}
