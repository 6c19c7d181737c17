//! Dead letters: messages that could not be worked on.

use gatewright_schemas::{Violation, WorkspaceId, message};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{Store, StoreError, Time, time::parameter};

/// A message that could not be worked on.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "the columns are described where they are made, in `migrations/`"
)]
pub struct DeadLetter {
    pub sequence: i64,
    pub workspace_id: String,
    pub run_id: Option<String>,
    pub reason_code: String,
    pub reason: String,
    #[schemars(with = "Option<Vec<Violation>>")]
    pub violations: Option<Value>,
    pub died_at: Time,
    pub put_aside_by: String,
    pub subject: String,
    pub source_sequence: i64,
    pub message_json: Option<Value>,
    pub message_text: Option<String>,
}

macro_rules! select_dead_letters {
    ($tail:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            DeadLetter,
            r#"select sequence, workspace_id, run_id, reason_code, reason, violations, died_at, put_aside_by, subject,
                source_sequence, message_json, message_text
             from dead_letters "# + $tail
            $(, $argument)*
        )
    };
}

// Of one workspace: a part of the one index that has this order. By `=` and the second column's order Postgres would take an index of that
// column alone where the workspace has many rows, and read all that others have had since.

/// The dead letters before `before` (`i64::MAX` for the first page), the latest first; of one workspace where one is given.
pub async fn list(
    store: &Store,
    workspace: Option<&WorkspaceId>,
    before: i64,
    limit: u32,
) -> Result<Vec<DeadLetter>, StoreError> {
    let limit = i64::from(limit);
    let page = match workspace {
        Some(workspace) => {
            select_dead_letters!(
                "where (workspace_id, sequence) < ($1, $2) and workspace_id >= $1
                 order by workspace_id desc, sequence desc limit $3",
                workspace.as_str(),
                before,
                limit
            )
            .fetch_all(&store.pool)
            .await
        }
        None => {
            select_dead_letters!(
                "where sequence < $1 order by sequence desc limit $2",
                before,
                limit
            )
            .fetch_all(&store.pool)
            .await
        }
    };
    page.map_err(StoreError::during("list dead letters"))
}

/// One dead letter, by its sequence in the stream `DEAD_LETTERS`.
pub async fn show(store: &Store, sequence: u64) -> Result<Option<DeadLetter>, StoreError> {
    select_dead_letters!(
        "where sequence = $1",
        i64::try_from(sequence).unwrap_or(i64::MAX)
    )
    .fetch_optional(&store.pool)
    .await
    .map_err(StoreError::during("read a dead letter"))
}

/// The last sequence of the stream `DEAD_LETTERS` that the table has; where reading goes on.
pub async fn last_sequence(store: &Store) -> Result<u64, StoreError> {
    let last = sqlx::query_scalar!("select max(sequence) from dead_letters")
        .fetch_one(&store.pool)
        .await
        .map_err(StoreError::during("find the last dead letter"))?;
    Ok(last.and_then(|last| u64::try_from(last).ok()).unwrap_or(0))
}

/// Keeps a dead letter; doing it again changes nothing.
///
/// `sequence` is its place in the stream `DEAD_LETTERS`, `workspace` the last token of the subject it stands under.
pub async fn upsert(
    store: &Store,
    sequence: u64,
    workspace: &WorkspaceId,
    letter: &message::DeadLetter,
) -> Result<(), StoreError> {
    let no_nul = |text: &str| text.replace('\0', "\u{fffd}");
    // As text, so that what was sent is kept to the letter.
    let violations = (!letter.violations.is_empty())
        .then(|| serde_json::to_string(&letter.violations).unwrap_or_default());
    let json = letter.json.as_ref().map(ToString::to_string);
    sqlx::query!(
        "insert into dead_letters (sequence, source_sequence, died_at, workspace_id, run_id, reason_code, put_aside_by,
            subject, reason, violations, message_json, message_text)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::json, $11::text::json, $12)
         on conflict (sequence) do update set source_sequence = excluded.source_sequence, died_at = excluded.died_at,
            workspace_id = excluded.workspace_id, run_id = excluded.run_id, reason_code = excluded.reason_code,
            put_aside_by = excluded.put_aside_by, subject = excluded.subject, reason = excluded.reason,
            violations = excluded.violations, message_json = excluded.message_json, message_text = excluded.message_text",
        i64::try_from(sequence).unwrap_or(i64::MAX),
        i64::try_from(letter.sequence).unwrap_or(i64::MAX),
        parameter(letter.died_at),
        workspace.as_str(),
        letter.run_id.as_ref().map(AsRef::<str>::as_ref),
        letter.reason_code.as_str(),
        letter.by.as_str(),
        no_nul(&letter.subject),
        no_nul(&letter.reason),
        violations,
        json,
        letter.text.as_deref().map(no_nul)
    )
    .execute(&store.pool)
    .await
    .map_err(StoreError::during("keep a dead letter"))?;
    Ok(())
}
