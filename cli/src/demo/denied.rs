//! Calls that the gate denies: by the scope of a token, in shadow mode, in quarantine.

use anyhow::Result;
use gatewright_schemas::{
    ActorType, CapabilityTokenId, Command, DataAccess, EventType, PrincipalId, RunStatus, Scopes,
};
use serde_json::json;

use super::stage::{Played, Stage};

/// Grants a token of the principal `p-reporter`.
pub(super) async fn grant(
    stage: &Stage,
    token: &str,
    tools: &[&str],
    domains: &[&str],
    actions: &[&str],
) -> Result<()> {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    stage
        .command(Command::GrantCapability {
            token_id: Some(CapabilityTokenId::new(token)?),
            to: PrincipalId::new("p-reporter")?,
            by: PrincipalId::new("p-admin")?,
            parent: None,
            scopes: Scopes {
                tools: texts(tools),
                rooms: texts(&["*"]),
                action_types: texts(actions),
                egress_domains: texts(domains),
                data_access: DataAccess::default(),
            },
            valid_until: None,
        })
        .await
}

pub(super) async fn by_its_token(stage: &mut Stage) -> Result<Played> {
    stage.scene("A run whose capability token does not allow its tool")?;
    stage
        .command(Command::RegisterPrincipal {
            principal_id: PrincipalId::new("p-reporter")?,
            principal_type: ActorType::Agent,
            actor_id: "reporter".into(),
        })
        .await?;
    grant(stage, "cap-echo-only", &["runtime.echo"], &[], &[]).await?;
    stage.say(
        "The token `cap-echo-only` allows the tool runtime.echo; the run calls runtime.noop.",
    )?;
    let run = json!({
        "title": "denied by its token",
        "input": { "runtime": { "policy": {
            "principal_id": "p-reporter", "capability_token_id": "cap-echo-only", "zone": "sandbox" } } },
    });
    let played = stage.play("denied", run).await?;
    stage.show_events(&played.events)?;
    let failed = played.failed_with("tool_policy", "capability_scope_tool_not_allowed");
    stage.claim(
        failed,
        "the run failed at stage tool_policy: capability_scope_tool_not_allowed",
    )?;
    stage.claim(
        played.has(EventType::PolicyDenied),
        "policy.denied is on the stream",
    )?;
    stage.claim(
        !played.has(EventType::ToolInvoked),
        "the tool was never invoked",
    )?;
    Ok(played)
}

pub(super) async fn in_shadow_mode(stage: &mut Stage) -> Result<()> {
    stage.scene("The same objection in shadow mode")?;
    grant(stage, "cap-noop-only", &["runtime.noop"], &[], &[]).await?;
    stage.say(
        "The policy has runtime.echo in shadow mode; the token `cap-noop-only` does not allow it.",
    )?;
    let run = json!({
        "title": "in shadow mode",
        "input": { "runtime": {
            "policy": { "principal_id": "p-reporter", "capability_token_id": "cap-noop-only" },
            "steps": [ { "tool_calls": [ { "tool": "runtime.echo", "input": { "hello": "shadow" } } ] } ] } },
    });
    let played = stage.play("shadow", run).await?;
    stage.show_events(&played.events)?;
    let recorded = played
        .data(EventType::PolicyDenied)
        .is_some_and(|denied| denied["decision"]["blocked"] == false);
    stage.claim(recorded, "the denial is recorded, and is not obeyed")?;
    stage.claim(
        played.status == RunStatus::Succeeded,
        "the call ran: so a policy can be tried before it bites",
    )
}

pub(super) async fn in_quarantine(stage: &mut Stage) -> Result<()> {
    stage.scene("A principal in quarantine")?;
    let principal_id = PrincipalId::new("p-reporter")?;
    let act = json!({
        "input": { "runtime": { "policy": {
            "principal_id": "p-reporter", "actor_type": "agent", "actor_id": "reporter" } } },
    });
    let before = stage.play("before-quarantine", act.clone()).await?;
    stage.claim(
        before.status == RunStatus::Succeeded,
        "before it, a run on the authority of p-reporter succeeds",
    )?;
    stage
        .command(Command::QuarantinePrincipal {
            principal_id: principal_id.clone(),
            reason: "odd requests at night".into(),
        })
        .await?;
    let during = stage.play("in-quarantine", act.clone()).await?;
    let denied = during.failed_with("tool_policy", "agent_quarantined");
    stage.claim(
        denied,
        "in it, the very next run is denied: agent_quarantined",
    )?;
    stage
        .command(Command::ReleasePrincipal {
            principal_id,
            reason: Some("it was the new report".into()),
        })
        .await?;
    let after = stage.play("after-quarantine", act).await?;
    stage.claim(
        after.status == RunStatus::Succeeded,
        "released, it works again",
    )
}
