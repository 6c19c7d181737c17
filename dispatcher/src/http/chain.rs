//! Whether a run's events are what was written: its hash chain, checked from its first event on as the stream has it now.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use gatewright_schemas::{
    Digest, EventId, RunId, WorkspaceId,
    chain::{self, BrokenChain, ChainHead},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Api,
    caller::Caller,
    problem::Problem,
    request::{Asked, Where, asked, existing},
};

/// Commits that are read at once.
const PAGE: usize = 500;
/// Commits that one request checks at most.
const MOST: usize = 20_000;

/// What was found of a run's hash chain.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ChainChecked {
    workspace_id: WorkspaceId,
    run_id: RunId,
    /// Whether all that was checked holds.
    holds: bool,
    /// Whether all of the run was checked.
    complete: bool,
    /// Commits that were checked.
    commits: usize,
    /// Events that were checked: the `seq` of the last.
    events: u64,
    /// The sequence of the last commit that was checked.
    last_sequence: u64,
    /// The hash of the last event that was checked.
    head: Option<Digest>,
    /// Where it does not hold.
    broken: Option<ChainBroken>,
}

/// Where a chain does not hold, and why.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ChainBroken {
    kind: Fault,
    event_id: EventId,
    /// The sequence of the event's commit.
    stream_sequence: u64,
    /// What is wrong, for a person.
    detail: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ChainFault")]
enum Fault {
    /// Events before this one are missing.
    Gap,
    /// It does not name the event before it.
    NotJoined,
    /// It is not what was hashed.
    Altered,
}

/// Checks the chain. `complete` is false where the run has more commits than one request checks.
pub(super) async fn check(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(run): Path<String>,
    query: Asked<Where>,
) -> Result<Json<ChainChecked>, Problem> {
    let workspace = caller.workspace(asked(query)?.workspace)?;
    let (run, _) = existing(&api, &workspace, &run).await?;
    let _place = api.place_to_wait()?;
    let (mut head, mut last, mut commits) = (ChainHead::default(), 0, 0);
    let mut broken = None;
    let complete = loop {
        if broken.is_some() || commits >= MOST {
            break false;
        }
        let page = api
            .fleet
            .commits_after(&workspace, &run, last, PAGE)
            .await?;
        for stored in &page {
            let mut events = stored.commit.events.iter();
            if let Err(error) = events.try_for_each(|event| chain::verify(&mut head, event)) {
                broken = Some((stored.sequence, error));
                break;
            }
            (last, commits) = (stored.sequence, commits + 1);
        }
        if page.len() < PAGE && broken.is_none() {
            break true;
        }
    };
    Ok(Json(ChainChecked {
        workspace_id: workspace,
        run_id: run,
        holds: broken.is_none(),
        complete,
        commits,
        events: head.seq,
        last_sequence: last,
        head: head.hash,
        broken: broken.map(|(sequence, error)| told(sequence, &error)),
    }))
}

fn told(sequence: u64, error: &BrokenChain) -> ChainBroken {
    let (kind, event_id) = match error {
        BrokenChain::Gap { event_id, .. } => (Fault::Gap, event_id),
        BrokenChain::NotJoined { event_id, .. } => (Fault::NotJoined, event_id),
        BrokenChain::Altered { event_id, .. } => (Fault::Altered, event_id),
    };
    ChainBroken {
        kind,
        event_id: event_id.clone(),
        stream_sequence: sequence,
        detail: error.to_string(),
    }
}
