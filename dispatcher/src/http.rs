//! The HTTP API: what NATS clients can do, for those who speak HTTP.
//!
//! It is thin on purpose (`docs/adr/0016-http-api.md`): it says who asks, turns a request into the submission or command that any
//! NATS client would send, and answers with what the dispatchers answer and the run's events say. It decides nothing.
//!
//! `guard` refuses what no request may be, `caller` says who asks and what a key is good for, `problem` is how all errors look.

mod agent;
mod approval;
mod caller;
mod chain;
mod guard;
mod health;
mod history;
mod outcome;
mod own_key;
mod parts;
mod prefer;
mod problem;
mod request;
mod run;
mod tool_call;
mod ui;

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::StatusCode,
    middleware,
    routing::{get, post},
};
use gatewright_bus::Fleet;
use gatewright_store::Store;
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;

use crate::{Dispatcher, pulse::Pulse};
use problem::Problem;

/// Bytes of a request's body at most.
const MOST_BODY: usize = 256 * 1024;

/// Requests that may wait for something at once.
const MOST_WAITING: usize = 1_024;

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
    /// Requests that may wait at once: each holds a connection and a subscription.
    places: Arc<Semaphore>,
}

impl Api {
    /// A place for one more request that waits.
    fn place_to_wait(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        place.map_err(|_| {
            let detail = "too many requests wait already";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
        })
    }

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
            places: Arc::new(Semaphore::new(MOST_WAITING)),
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
        .merge(ui::routes())
        .route("/v1/key", get(own_key::show))
        .route("/v1/runs", get(run::list).post(run::submit))
        .route("/v1/runs/{run}", get(run::show))
        .route("/v1/runs/{run}/events", get(history::events))
        .route("/v1/runs/{run}/tail", get(history::tail))
        .route("/v1/runs/{run}/chain", get(chain::check))
        .route("/v1/runs/{run}/toolcalls", get(parts::tool_calls))
        .route("/v1/runs/{run}/decisions", get(parts::decisions))
        .route("/v1/runs/{run}/cancel", post(run::cancel))
        .route("/v1/runs/{run}/retry", post(run::retry))
        .route(
            "/v1/runs/{run}/steps",
            get(parts::steps).post(agent::open_step),
        )
        .route("/v1/runs/{run}/complete", post(agent::complete))
        .route("/v1/steps/{step}/toolcalls", post(tool_call::ask))
        .route("/v1/toolcalls/{call}", get(tool_call::show))
        .route("/v1/approvals", get(approval::list))
        .route("/v1/approvals/{approval}", get(approval::show))
        .route("/v1/approvals/{approval}/approve", post(approval::approve))
        .route("/v1/approvals/{approval}/deny", post(approval::deny))
        .fallback(async || Problem::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&api),
            guard::check,
        ))
        .with_state(api)
}
