//! The gate's answers with all that it was asked, read in the order in which they were given.

use gatewright_schemas::{DecisionRecord, RecordedDecision, Timestamp, WorkspaceId};
use time::OffsetDateTime;

use crate::{Store, StoreError, reading::Reading, time::parameter};

const READING: Reading = Reading("read recorded decisions");

struct Row {
    decided_at: OffsetDateTime,
    seq: i64,
    policy_revision: Option<i64>,
    blocked: bool,
    workspace_id: String,
    run_id: String,
    tool_call_id: String,
    category: String,
    decision: String,
    reason_code: String,
    enforcement_mode: String,
    zone: String,
    principal_id: Option<String>,
    capability_token_id: Option<String>,
    tool_name: String,
    action_type: Option<String>,
    room_id: Option<String>,
    reason: String,
    hosts: Option<String>,
    findings: Option<String>,
    asked: Option<String>,
}

/// At most `limit` answers since `since`, the earliest first, of one workspace where one is given;
/// those behind `after`, the last of the page before.
pub async fn page(
    store: &Store,
    workspace: Option<&WorkspaceId>,
    since: Timestamp,
    after: Option<&RecordedDecision>,
    limit: u32,
) -> Result<Vec<RecordedDecision>, StoreError> {
    let from = after.map_or(since, |last| last.decided_at);
    let (after_workspace, after_run, after_seq) = after.map_or(("", "", 0), |last| {
        let seq = i64::try_from(last.seq).unwrap_or(i64::MAX);
        (last.workspace_id.as_str(), last.run_id.as_str(), seq)
    });
    // The first comparison is for the index, the second for what was decided within one microsecond.
    let rows = sqlx::query_as!(
        Row,
        r#"select decided_at, seq, policy_revision, blocked, workspace_id, run_id, tool_call_id, category, decision,
            reason_code, enforcement_mode, zone, principal_id, capability_token_id, tool_name, action_type, room_id,
            reason, hosts::text as hosts, findings::text as findings, asked::text as asked
         from policy_decisions
         where decided_at >= $1
           and (decided_at, workspace_id, run_id, seq) > ($1, $2, $3, $4)
           and ($5::text is null or workspace_id = $5)
         order by decided_at, workspace_id, run_id, seq
         limit $6"#,
        parameter(from),
        after_workspace,
        after_run,
        after_seq,
        workspace.map(WorkspaceId::as_str),
        i64::from(limit)
    )
    .fetch_all(&store.pool)
    .await
    .map_err(StoreError::during(READING.0))?;
    rows.into_iter().map(Row::read).collect()
}

fn read_number(column: &'static str, number: i64) -> Result<u64, StoreError> {
    let negative = |_| READING.unreadable(column, "a negative number");
    number.try_into().map_err(negative)
}

impl Row {
    fn read(self) -> Result<RecordedDecision, StoreError> {
        Ok(RecordedDecision {
            decided_at: self.decided_at.into(),
            workspace_id: READING.text("workspace_id", &self.workspace_id)?,
            run_id: READING.text("run_id", &self.run_id)?,
            seq: read_number("seq", self.seq)?,
            tool_call_id: READING.text("tool_call_id", &self.tool_call_id)?,
            tool_name: self.tool_name,
            category: self.category,
            zone: READING.text("zone", &self.zone)?,
            principal_id: READING.optional("principal_id", self.principal_id.as_deref())?,
            capability_token_id: READING
                .optional("capability_token_id", self.capability_token_id.as_deref())?,
            room_id: self.room_id,
            action_type: self.action_type,
            hosts: READING
                .optional_json("hosts", self.hosts.as_deref())?
                .unwrap_or_default(),
            asked: READING.optional_json("asked", self.asked.as_deref())?,
            decision: DecisionRecord {
                decision: READING.text("decision", &self.decision)?,
                reason_code: READING.text("reason_code", &self.reason_code)?,
                reason: self.reason,
                enforcement_mode: READING.text("enforcement_mode", &self.enforcement_mode)?,
                blocked: self.blocked,
                findings: READING
                    .optional_json("findings", self.findings.as_deref())?
                    .unwrap_or_default(),
                policy_revision: self
                    .policy_revision
                    .map(|revision| read_number("policy_revision", revision))
                    .transpose()?,
                // The table has none; a replay compares answers, not documents.
                policy_digest: None,
            },
        })
    }
}
