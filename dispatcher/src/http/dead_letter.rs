//! Dead letters over HTTP: what could not be worked on, and sending it again.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use gatewright_bus::dead_letters::{DeadLetterError, StoredDeadLetter};
use gatewright_schemas::{KeyRole, WorkspaceId, message};
use gatewright_store::dead_letter::{self, DeadLetter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Api,
    caller::Caller,
    problem::Problem,
    request::{Asked, MOST_PAGE, PATIENCE, Page, accepted, asked, limit_of, page},
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
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    sequence: u64,
    workspace_id: WorkspaceId,
    #[serde(flatten)]
    letter: message::DeadLetter,
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
    Ok(Json(Shown {
        sequence: dead.sequence,
        workspace_id: dead.workspace_id,
        letter: dead.letter,
    }))
}

/// Sends the message again to where it was published.
pub(super) async fn replay(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(sequence): Path<String>,
) -> Result<Json<Value>, Problem> {
    caller.must_be(KeyRole::Admin)?;
    let dead = visible(&api, &caller, &sequence).await?;
    let reply = api.fleet.replay(&dead, PATIENCE).await?;
    let (run_id, status, created) = accepted(reply)?;
    Ok(Json(json!({
        "workspace_id": dead.workspace_id, "run_id": run_id, "status": status, "created": created,
    })))
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
