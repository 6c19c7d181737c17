//! The gate by itself: how long one decision takes, at how many tokens and rules.

use std::{
    fmt::Write as _,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use gatewright_policy::{
    CompiledPolicy, Host, PolicyContext, PolicyDocument, QuotaAnswer, Snapshot, ToolCallRequest,
    ToolFacts, authorize_tool_call,
};
use gatewright_schemas::{
    CapabilityToken, CapabilityTokenId, DataAccess, Digest, Effect, InvalidId, PrincipalId, RunId,
    Scopes, StepId, Timestamp, ToolCallId, WorkspaceId,
};
use serde::Serialize;
use serde_json::json;

use super::percentile;

const ROUNDS: usize = 100_000;

/// How long one decision takes.
#[derive(Debug, Clone, Serialize)]
pub struct GateFigures {
    pub tokens_and_rules: usize,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// Decides one call, the last token's, again and again.
pub fn measure() -> Vec<GateFigures> {
    [10, 100, 10_000]
        .into_iter()
        .filter_map(|size| measure_at(size).ok())
        .collect()
}

fn measure_at(size: usize) -> Result<GateFigures, InvalidId> {
    let now = Timestamp::from_micros(1_800_000_000_000_000);
    let workspace = WorkspaceId::new("bench")?;
    let snapshot = world(size, &workspace, now)?;
    let call = call(size - 1, workspace)?;
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            let answer = authorize_tool_call(
                black_box(&call),
                &snapshot,
                None,
                &QuotaAnswer::NotNeeded,
                now,
            );
            let took = began.elapsed();
            drop(black_box(answer));
            took
        })
        .collect();
    times.sort_unstable();
    let microseconds = |share| percentile(&times, share).as_secs_f64() * 1_000_000.0;
    Ok(GateFigures {
        tokens_and_rules: size,
        p50_us: microseconds(0.5),
        p99_us: microseconds(0.99),
    })
}

/// `size` tools allowed, domains allowed, actions known and tokens granted.
fn world(size: usize, workspace: &WorkspaceId, now: Timestamp) -> Result<Snapshot, InvalidId> {
    let quoted = |name: &dyn Fn(usize) -> String| {
        (0..size)
            .map(|n| format!("\"{}\"", name(n)))
            .collect::<Vec<_>>()
            .join(",")
    };
    let mut text = format!(
        "auto_allow = [{}]\n[domains]\nallow = [{}]\n",
        quoted(&|n| format!("tool-{n}")),
        quoted(&|n| format!("*.h{n}.example.com")),
    );
    for n in 0..size {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "[[actions]]\ntype = \"a{n}.read\"\nreversible = true");
    }
    let mut snapshot = Snapshot::new();
    if let Ok(document) = PolicyDocument::parse(&text) {
        let digest = document.digest();
        snapshot.set_policy(Some(Arc::new(CompiledPolicy::new(document, 1, digest))));
    }
    snapshot.set_synced_at(now);
    for n in 0..size {
        let holder = PrincipalId::new(format!("p{n}"))?;
        snapshot.upsert_token(CapabilityToken {
            token_id: CapabilityTokenId::new(format!("t{n}"))?,
            workspace_id: workspace.clone(),
            issued_to_principal_id: holder.clone(),
            granted_by_principal_id: holder,
            parent_token_id: None,
            scopes: Scopes {
                tools: vec![format!("tool-{n}")],
                rooms: vec!["*".into()],
                action_types: vec![format!("a{n}.read")],
                egress_domains: vec![format!("*.h{n}.example.com")],
                data_access: DataAccess::default(),
            },
            valid_until: None,
            granted_at: now,
            revoked_at: None,
        });
    }
    Ok(snapshot)
}

fn call(n: usize, workspace_id: WorkspaceId) -> Result<ToolCallRequest, InvalidId> {
    let run_id = RunId::new("r1")?;
    Ok(ToolCallRequest {
        room_id: Some("room".into()),
        step_id: StepId::of(&workspace_id, &run_id, 1),
        tool_call_id: ToolCallId::of(&workspace_id, &run_id, 1, 1),
        context: PolicyContext::parse(
            &json!({ "principal_id": format!("p{n}"), "capability_token_id": format!("t{n}") }),
        ),
        tool: ToolFacts {
            name: format!("tool-{n}"),
            definition_digest: Digest::of(&json!({})),
            effect: Effect::Read,
            action_type: Some(format!("a{n}.read")),
            requires_token: true,
            data: DataAccess::default(),
            through_gateway: false,
            sandboxed: false,
        },
        input_digest: Digest::of(&json!({})),
        hosts: Host::parse(&format!("api.h{n}.example.com")).map(|host| vec![host]),
        sandbox_permissions: None,
        run_id,
        workspace_id,
    })
}
