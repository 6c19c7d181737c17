//! The fleet's workers over HTTP, as they last said of themselves.

use std::sync::Arc;

use axum::{Json, extract::State};
use gatewright_bus::{clock, presence::Sighting};

use super::{Api, caller::Caller, problem::Problem, request::Page};

/// Every worker that signed on, by name.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    _caller: Caller,
) -> Result<Json<Page<Sighting>>, Problem> {
    let now = clock::now();
    let mut workers = api.fleet.list_workers().await?;
    workers.sort_by(|a, b| a.worker_id.cmp(&b.worker_id));
    let items = workers
        .into_iter()
        .map(|heartbeat| Sighting::at(now, heartbeat))
        .collect();
    Ok(Json(Page { items, next: None }))
}
