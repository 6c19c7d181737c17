//! The HTTP API: what NATS clients can do, for those who speak HTTP.
//!
//! It is thin on purpose (`docs/adr/0016-http-api.md`): it says who asks, turns a request into the submission or command that any
//! NATS client would send, and answers with what the dispatchers answer and the run's events say. It decides nothing.
//!
//! `guard` refuses what no request may be, `caller` says who asks and what a key is good for, `problem` is how all errors look.

mod agent;
mod caller;
mod guard;
mod health;
mod outcome;
mod prefer;
mod problem;
mod request;
mod run;
mod tool_call;

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use gatewright_bus::Fleet;
use gatewright_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Dispatcher, pulse::Pulse};
use problem::Problem;

/// Bytes of a request's body at most.
const MOST_BODY: usize = 256 * 1024;

/// What the API is served with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Names under which it may be spoken to, beside those of the loopback; without ports.
    pub hosts: Vec<String>,
    /// The read tables, once they are open. Lists need them, nothing else does.
    pub store: Arc<OnceLock<Store>>,
}

/// What every request has at hand.
#[derive(Debug)]
struct Api {
    fleet: Fleet,
    pulse: Pulse,
    options: Options,
    /// Whoever waits does not keep the dispatcher from going.
    stopping: CancellationToken,
}

impl Api {
    /// The read tables.
    fn tables(&self) -> Result<&Store, Problem> {
        self.options.store.get().ok_or_else(|| {
            Problem::unavailable(
                "the read tables are not open: this needs a dispatcher with a database",
            )
        })
    }
}

impl Dispatcher {
    /// Serves the API on `listener` until `shutdown`, then finishes the requests that are under way.
    pub async fn serve_http(
        &self,
        listener: TcpListener,
        options: Options,
        shutdown: CancellationToken,
    ) -> std::io::Result<()> {
        let api = Arc::new(Api {
            fleet: self.fleet.clone(),
            pulse: self.pulse.clone(),
            options,
            stopping: shutdown.clone(),
        });
        axum::serve(listener, router(api))
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await
    }
}

fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/health", get(health::alive))
        .route("/ready", get(health::ready))
        .route("/v1/runs", get(run::list).post(run::submit))
        .route("/v1/runs/{run}", get(run::show))
        .route("/v1/runs/{run}/events", get(run::events))
        .route("/v1/runs/{run}/cancel", post(run::cancel))
        .route("/v1/runs/{run}/retry", post(run::retry))
        .route("/v1/runs/{run}/steps", post(agent::open_step))
        .route("/v1/runs/{run}/complete", post(agent::complete))
        .route("/v1/steps/{step}/toolcalls", post(tool_call::ask))
        .route("/v1/toolcalls/{call}", get(tool_call::show))
        .fallback(async || Problem::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&api),
            guard::check,
        ))
        .with_state(api)
}
