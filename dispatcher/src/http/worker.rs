//! The fleet's workers over HTTP, as they last said of themselves.

use std::sync::Arc;

use axum::{Json, extract::State};
use gatewright_bus::{clock, presence::Sighting};
use serde_json::{Value, json};

use super::{Api, caller::Caller, problem::Problem};

/// Every worker that signed on, by name.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    _caller: Caller,
) -> Result<Json<Value>, Problem> {
    let now = clock::now();
    let mut workers = api.fleet.list_workers().await?;
    workers.sort_by(|a, b| a.worker_id.cmp(&b.worker_id));
    let workers: Vec<Sighting> = workers
        .into_iter()
        .map(|heartbeat| Sighting::at(now, heartbeat))
        .collect();
    Ok(Json(json!({ "items": workers, "next": null })))
}
