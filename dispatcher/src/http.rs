//! The HTTP API: what NATS clients can do, for those who speak HTTP.
//!
//! It is thin on purpose (`docs/adr/0016-http-api.md`): it says who asks, turns a request into the submission or command that any
//! NATS client would send, and answers with what the dispatchers answer and the run's events say. It decides nothing.
//!
//! `guard` refuses what no request may be, `caller` says who asks and what a key is good for, `problem` is how all errors look.

mod agent;
mod approval;
mod authority;
mod caller;
mod chain;
mod dead_letter;
mod guard;
mod health;
mod history;
mod openapi;
mod outcome;
mod overview;
mod own_key;
mod parts;
mod policy;
mod prefer;
mod problem;
pub mod rate;
mod remembered;
mod request;
mod routes;
mod run;
mod tool_call;
mod traced;
mod ui;
mod worker;

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{Arc, OnceLock},
};

use axum::{Router, extract::DefaultBodyLimit, http::StatusCode, middleware};
use gatewright_bus::Fleet;
use gatewright_store::Store;
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;

use crate::{Dispatcher, pulse::Pulse};
pub use policy::Explain;
use problem::Problem;
use rate::Rates;

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
    /// What says how the gate would answer.
    pub explain: Option<Explain>,
    /// Requests a second that a key may make; [`rate::DEFAULT`] where nothing is said.
    pub rate: Option<NonZeroU32>,
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
    rates: Rates,
    /// What addresses have left of requests without a good key.
    strangers: Rates,
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
            stopping: shutdown.clone(),
            places: Arc::new(Semaphore::new(MOST_WAITING)),
            rates: Rates::new(options.rate.unwrap_or(rate::DEFAULT)),
            strangers: Rates::new(rate::OF_STRANGERS),
            options,
        });
        let service = router(api).into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service)
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await
    }
}

fn router(api: Arc<Api>) -> Router {
    routes::router()
        .merge(ui::routes())
        .fallback(async || Problem::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .layer(middleware::from_fn(traced::serve))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&api),
            guard::check,
        ))
        .with_state(api)
}
