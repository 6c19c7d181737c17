//! How long a decision takes, and that it takes as long with 10,000 tokens and rules as with 10.
//!
//! `cargo bench -p gatewright-policy`

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock, and has nobody to report an error to"
)]

use std::{hint::black_box, sync::Arc, time::Instant};

use gatewright_policy::{
    CompiledPolicy, Host, PolicyContext, PolicyDocument, QuotaAnswer, Snapshot, ToolCallRequest,
    ToolFacts, authorize_tool_call, quota_needed,
};
use gatewright_schemas::{
    ActorType, CapabilityToken, CapabilityTokenId, DataAccess, Digest, Effect, Principal,
    PrincipalId, RunId, Scopes, StepId, Timestamp, ToolCallId, WorkspaceId,
};
use serde_json::json;

const ROUNDS: usize = 200_000;

fn main() {
    println!("{:>8}  {:<28} {:>10} {:>10}", "rules", "call", "p50", "p99");
    for size in [10, 100, 10_000] {
        let snapshot = snapshot(size);
        let last = size - 1;
        let token = json!({
            "principal_id": format!("p{last}"), "capability_token_id": format!("t{last}"),
            "actor_type": "agent", "actor_id": format!("agent-{last}"),
        });
        report(
            size,
            "allowed, no context",
            &snapshot,
            &call(last, &json!({}), &[]),
        );
        let hosts = [format!("api.h{last}.example.com")];
        report(
            size,
            "allowed, token, action, host",
            &snapshot,
            &call(last, &token, &hosts),
        );
        let foreign = ["api.evil.org".to_owned()];
        report(
            size,
            "denied by scope and more",
            &snapshot,
            &call(last, &token, &foreign),
        );
    }
}

/// Asks the gate as a worker does, both phases, and prints how long that takes.
fn report(size: usize, name: &str, snapshot: &Snapshot, call: &ToolCallRequest) {
    let now = now();
    let mut nanos = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let quota = quota_needed(black_box(call), snapshot, None, now);
        let quota = quota.map_or(QuotaAnswer::NotNeeded, QuotaAnswer::Granted);
        let answer = authorize_tool_call(black_box(call), snapshot, None, &quota, now);
        nanos.push(start.elapsed().as_nanos());
        drop(black_box(answer));
    }
    nanos.sort_unstable();
    let at = |percent: usize| {
        nanos
            .get(nanos.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    println!("{size:>8}  {name:<28} {:>7} ns {:>7} ns", at(50), at(99));
}

fn now() -> Timestamp {
    "2026-03-04T12:00:00Z".parse().unwrap()
}

fn snapshot(size: usize) -> Snapshot {
    use std::fmt::Write as _;
    let list = |format: &dyn Fn(usize) -> String| {
        (0..size)
            .map(|n| format!("{:?}", format(n)))
            .collect::<Vec<_>>()
            .join(",")
    };
    let mut text = format!(
        "auto_allow = [{}]\n[domains]\nallow = [{}]\n[limits.tools_daily]\n",
        list(&|n| format!("tool-{n}")),
        list(&|n| format!("*.h{n}.example.com")),
    );
    for n in 0..size {
        writeln!(text, "tool-{n} = 1000").unwrap();
    }
    for n in 0..size {
        writeln!(text, "[[actions]]\ntype = \"a{n}.read\"\nreversible = true").unwrap();
    }
    let document = PolicyDocument::parse(&text).unwrap();
    let digest = document.digest();
    let mut snapshot = Snapshot::new();
    snapshot.set_policy(Some(Arc::new(CompiledPolicy::new(document, 1, digest))));
    snapshot.set_synced_at(now());
    let acme = WorkspaceId::new("acme").unwrap();
    for n in 0..size {
        let holder = PrincipalId::new(format!("p{n}")).unwrap();
        snapshot.upsert_principal(Principal {
            principal_id: holder.clone(),
            workspace_id: acme.clone(),
            principal_type: ActorType::Agent,
            actor_id: format!("agent-{n}"),
            quarantine: None,
        });
        snapshot.upsert_token(CapabilityToken {
            token_id: CapabilityTokenId::new(format!("t{n}")).unwrap(),
            workspace_id: acme.clone(),
            issued_to_principal_id: holder.clone(),
            granted_by_principal_id: holder,
            parent_token_id: None,
            scopes: Scopes {
                tools: (0..size)
                    .map(|n| format!("tool-{n}"))
                    .take(100)
                    .chain(["*".into()])
                    .collect(),
                rooms: vec!["lobby".into()],
                action_types: vec![format!("a{n}.read")],
                egress_domains: vec![format!("*.h{n}.example.com")],
                data_access: DataAccess::default(),
            },
            valid_until: None,
            granted_at: now(),
            revoked_at: None,
        });
    }
    snapshot
}

fn call(n: usize, context: &serde_json::Value, hosts: &[String]) -> ToolCallRequest {
    ToolCallRequest {
        workspace_id: WorkspaceId::new("acme").unwrap(),
        room_id: Some("lobby".into()),
        run_id: RunId::new("r1").unwrap(),
        step_id: StepId::new("acme.r1.1").unwrap(),
        tool_call_id: ToolCallId::new("acme.r1.1.1").unwrap(),
        context: PolicyContext::parse(context),
        tool: ToolFacts {
            name: format!("tool-{n}"),
            definition_digest: Digest::of(&json!("definition")),
            effect: Effect::Read,
            action_type: Some(format!("a{n}.read")),
            requires_token: false,
            data: DataAccess::default(),
            through_gateway: false,
            sandboxed: false,
        },
        input_digest: Digest::of(&json!("input")),
        hosts: Ok(hosts
            .iter()
            .map(|host| Host::parse(host).unwrap())
            .collect()),
        sandbox_permissions: None,
    }
}
