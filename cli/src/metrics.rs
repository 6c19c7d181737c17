//! What a role measures of itself and whether it is alive, over HTTP: for Prometheus and for probes.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    routing::get,
};
use gatewright_bus::telemetry;
use tokio::net::TcpListener;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves `/metrics` and `/health` at `address` until the role ends; the role is well while `alive` says so.
pub async fn serve(
    address: SocketAddr,
    alive: Arc<dyn Fn() -> bool + Send + Sync>,
) -> Result<impl Future<Output = ()> + Send> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot serve metrics at `{address}`"))?;
    tracing::info!(address = %listener.local_addr()?, "serving metrics");
    let is_alive = Arc::clone(&alive);
    let metrics = move || async move {
        telemetry::is_alive(is_alive());
        ([(CONTENT_TYPE, OPEN_METRICS)], telemetry::render())
    };
    let health = move || async move {
        if alive() {
            (StatusCode::OK, "alive\n")
        } else {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the role's loop does not come round, or its connection is down\n",
            )
        }
    };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(health));
    Ok(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "metrics are served no more");
        }
    })
}
