//! Dead letters over HTTP: what could not be worked on, and sending it again.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use gatewright_bus::dead_letters::{DeadLetterError, StoredDeadLetter};
use gatewright_schemas::{KeyRole, ReasonCode, RunId, Timestamp, Violation, WorkspaceId, WriterId};
use gatewright_store::dead_letter::{self, DeadLetter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Api,
    caller::Caller,
    problem::Problem,
    request::{Asked, MOST_PAGE, PATIENCE, Page, asked, limit_of, page},
    run::answer,
};

/// Which dead letters are listed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    workspace: Option<WorkspaceId>,
    /// The `next` of the page before.
    after: Option<i64>,
    #[schemars(range(min = 1, max = MOST_PAGE))]
    limit: Option<u32>,
}

/// A dead letter as it is shown.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DeadLetterShown")]
pub(super) struct Shown {
    /// Its number among the dead letters.
    sequence: u64,
    workspace_id: WorkspaceId,
    /// Why it could not be worked on.
    reason_code: ReasonCode,
    reason: String,
    /// What is wrong, place by place.
    violations: Vec<Violation>,
    /// When it was put aside.
    died_at: Timestamp,
    /// Who put it aside.
    by: WriterId,
    /// The run that it concerned, or that records its rejection.
    run_id: Option<RunId>,
    /// The subject it was published to, and can be replayed to.
    subject: String,
    /// The message's sequence in its own stream.
    source_sequence: u64,
    /// The message as JSON, where it is JSON.
    json: Option<Value>,
    /// Whether secrets were taken out of it, so that it cannot be sent again.
    redacted: bool,
    /// The message as text, where it is not JSON.
    text: Option<String>,
}

impl From<StoredDeadLetter> for Shown {
    fn from(dead: StoredDeadLetter) -> Self {
        let letter = dead.letter;
        Self {
            sequence: dead.sequence,
            workspace_id: dead.workspace_id,
            reason_code: letter.reason_code,
            reason: letter.reason,
            violations: letter.violations,
            died_at: letter.died_at,
            by: letter.by,
            run_id: letter.run_id,
            subject: letter.subject,
            source_sequence: letter.sequence,
            json: letter.json,
            redacted: letter.redacted,
            text: letter.text,
        }
    }
}

/// A page of dead letters, the latest first, from the read tables.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    query: Asked<Listed>,
) -> Result<Json<Page<DeadLetter>>, Problem> {
    let query = asked(query)?;
    let workspace = caller.workspace_or_all(query.workspace)?;
    let (before, limit) = (query.after.unwrap_or(i64::MAX), limit_of(query.limit)?);
    let found = dead_letter::list(api.tables()?, workspace.as_ref(), before, limit).await?;
    Ok(page(found, limit, |letter| letter.sequence.to_string()))
}

/// One dead letter, from the stream.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(sequence): Path<String>,
) -> Result<Json<Shown>, Problem> {
    let dead = visible(&api, &caller, &sequence).await?;
    Ok(Json(dead.into()))
}

/// Sends the message again to where it was published.
pub(super) async fn replay(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(sequence): Path<String>,
) -> Result<Response, Problem> {
    caller.must_be(KeyRole::Admin)?;
    let dead = visible(&api, &caller, &sequence).await?;
    let reply = api.fleet.replay(&dead, PATIENCE).await?;
    answer(&dead.workspace_id, reply, StatusCode::OK)
}

/// A dead letter that the caller may see. Its number names no workspace, so another's is as one that is not there.
async fn visible(api: &Api, caller: &Caller, sequence: &str) -> Result<StoredDeadLetter, Problem> {
    let missing = || Problem::not_found("there is no such dead letter");
    // Beyond what Postgres counts, and at 0, there is none.
    let sequence: i64 = sequence.parse().map_err(|_| missing())?;
    let sequence = u64::try_from(sequence).map_err(|_| missing())?;
    if sequence == 0 {
        return Err(missing());
    }
    let dead = api.fleet.dead_letter(sequence).await?;
    let dead = dead.ok_or_else(missing)?;
    match caller.workspace(Some(dead.workspace_id.clone())) {
        Ok(_) => Ok(dead),
        Err(_) => Err(missing()),
    }
}

impl From<DeadLetterError> for Problem {
    fn from(error: DeadLetterError) -> Self {
        match error {
            DeadLetterError::Request(error) => error.into(),
            DeadLetterError::NotReplayable { .. } | DeadLetterError::Redacted { .. } => {
                Self::refused(None, error.to_string(), Vec::new())
            }
            DeadLetterError::Unavailable { .. } | DeadLetterError::Unreadable { .. } => {
                tracing::warn!(%error, "a request met an error");
                Self::unavailable("the dead letters cannot be read now")
            }
        }
    }
}
