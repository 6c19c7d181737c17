//! Whether the dispatcher is alive, and whether it works. Both say nothing of any run, and need no key.

use std::sync::Arc;

use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Api, problem::Problem};

/// How it does.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Health {
    status: Condition,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Condition {
    Alive,
    Ready,
}

/// The process answers.
pub(super) async fn alive() -> Json<Health> {
    let status = Condition::Alive;
    Json(Health { status })
}

/// It is connected, and the loops that take submissions and commands come round.
pub(super) async fn ready(State(api): State<Arc<Api>>) -> Result<Json<Health>, Problem> {
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
    let status = Condition::Ready;
    Ok(Json(Health { status }))
}
