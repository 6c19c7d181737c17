//! What the sandbox costs: a command that does nothing, bare and sandboxed.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use gatewright_schemas::{RunId, WorkspaceId};
use gatewright_worker::sandbox::{Limits, Order, Sandbox};
use serde::Serialize;

use super::percentile;

const ROUNDS: usize = 200;

/// How long a command takes that does nothing.
#[derive(Debug, Clone, Serialize)]
pub struct SandboxFigures {
    pub commands: usize,
    pub bare_p50_ms: f64,
    pub sandboxed_p50_ms: f64,
    pub sandboxed_p99_ms: f64,
}

/// Runs one again and again; nothing where no sandbox can be made.
pub async fn measure(sandbox: &Sandbox) -> anyhow::Result<Option<SandboxFigures>> {
    if sandbox.check().await.is_err() {
        return Ok(None);
    }
    let mut bare = Vec::with_capacity(ROUNDS);
    let mut sandboxed = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        tokio::process::Command::new("true")
            .stdin(Stdio::null())
            .output()
            .await?;
        bare.push(began.elapsed());
        let began = Instant::now();
        sandbox.run(order()?).await?;
        sandboxed.push(began.elapsed());
    }
    bare.sort_unstable();
    sandboxed.sort_unstable();
    let milliseconds = |times: &[Duration], share| percentile(times, share).as_secs_f64() * 1_000.0;
    Ok(Some(SandboxFigures {
        commands: ROUNDS,
        bare_p50_ms: milliseconds(&bare, 0.5),
        sandboxed_p50_ms: milliseconds(&sandboxed, 0.5),
        sandboxed_p99_ms: milliseconds(&sandboxed, 0.99),
    }))
}

fn order() -> anyhow::Result<Order> {
    Ok(Order {
        workspace: WorkspaceId::new("bench")?,
        run: RunId::new("r1")?,
        argv: vec!["true".into()],
        stdin: Vec::new(),
        env: Vec::new(),
        programs: Vec::new(),
        profile: None,
        limits: Limits::default(),
    })
}
