//! A row of `policy_decisions`. Such rows never change.

use gatewright_schemas::{
    DecisionRecord, GateFacts, RunId, Timestamp, ToolCallId, WorkspaceId, Zone,
};

use super::{copy::Row, row::Table};

/// A row of `policy_decisions`, borrowed from the event that recorded it.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct DecisionRow<'a> {
    pub decided_at: Timestamp,
    pub seq: i64,
    pub workspace_id: &'a WorkspaceId,
    pub run_id: &'a RunId,
    pub tool_call_id: &'a ToolCallId,
    pub category: &'a str,
    pub zone: Zone,
    pub principal_id: Option<&'a str>,
    pub capability_token_id: Option<&'a str>,
    pub tool_name: &'a str,
    pub action_type: Option<&'a str>,
    pub room_id: Option<&'a str>,
    pub hosts: &'a [String],
    pub asked: Option<&'a GateFacts>,
    pub record: &'a DecisionRecord,
}

impl Table for DecisionRow<'_> {
    const COPY: &'static str = "copy policy_decisions (decided_at, seq, policy_revision, blocked, workspace_id, run_id, \
        tool_call_id, category, decision, reason_code, enforcement_mode, zone, principal_id, capability_token_id, \
        tool_name, action_type, reason, hosts, findings, room_id, asked) from stdin (format binary)";
    const FIELDS: i16 = 21;

    fn fields(&self, row: &mut Row<'_>) {
        let record = self.record;
        row.time(self.decided_at);
        row.bigint(self.seq);
        row.bigint(
            record
                .policy_revision
                .map(|revision| i64::try_from(revision).unwrap_or(i64::MAX)),
        );
        row.boolean(record.blocked);
        row.word(self.workspace_id.as_str());
        row.word(self.run_id.as_str());
        row.word(self.tool_call_id.as_str());
        row.text(self.category);
        row.word(record.decision.as_str());
        row.word(record.reason_code.as_str());
        row.word(record.enforcement_mode.as_str());
        row.word(self.zone.as_str());
        row.word(self.principal_id);
        row.word(self.capability_token_id);
        row.text(self.tool_name);
        row.text(self.action_type);
        row.text(record.reason.as_str());
        row.json((!self.hosts.is_empty()).then_some(&self.hosts));
        row.json((!record.findings.is_empty()).then_some(&record.findings));
        row.text(self.room_id);
        row.json(self.asked);
    }
}
