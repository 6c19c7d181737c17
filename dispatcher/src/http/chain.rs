//! Whether a run's events are what was written: its hash chain, checked from its first event on as the stream has it now.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use gatewright_schemas::chain::{self, BrokenChain, ChainHead};
use serde_json::{Value, json};

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

/// Checks the chain. `complete` is false where the run has more commits than one request checks.
pub(super) async fn check(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(run): Path<String>,
    query: Asked<Where>,
) -> Result<Json<Value>, Problem> {
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
    Ok(Json(json!({
        "workspace_id": workspace, "run_id": run,
        "holds": broken.is_none(), "complete": complete,
        "commits": commits, "events": head.seq, "last_sequence": last, "head": head.hash,
        "broken": broken.map(|(sequence, error)| told(sequence, &error)),
    })))
}

/// Where the chain does not hold, and why.
fn told(sequence: u64, error: &BrokenChain) -> Value {
    let (kind, event_id) = match error {
        BrokenChain::Gap { event_id, .. } => ("gap", event_id),
        BrokenChain::NotJoined { event_id, .. } => ("not_joined", event_id),
        BrokenChain::Altered { event_id, .. } => ("altered", event_id),
    };
    json!({ "kind": kind, "event_id": event_id, "stream_sequence": sequence, "detail": error.to_string() })
}
