//! Whether the dispatcher is alive, and whether it works. Both say nothing of any run, and need no key.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{Api, problem::Problem};

/// The process answers.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

/// It is connected, and the loops that take submissions and commands come round.
pub(super) async fn ready(State(api): State<Arc<Api>>) -> Result<Json<Value>, Problem> {
    if !api.fleet.is_connected() {
        return Err(Problem::unavailable("the connection to NATS is lost"));
    }
    let names = api.fleet.names();
    let loops = [names.submissions_consumer(), names.commands_consumer()];
    let missing = api.pulse.missing(&loops);
    if !missing.is_empty() {
        let missing = missing.join(" and ");
        return Err(Problem::unavailable(format!(
            "the intake of {missing} does not come round"
        )));
    }
    Ok(Json(json!({ "status": "ready" })))
}
