//! Requests to the outside: allowed, out of a token's scope, and written after an approval.

use std::time::Duration;

use anyhow::Result;
use gatewright_schemas::{Command, EventType, Reply, RunStatus};
use serde_json::{Value, json};

use super::{denied::grant, stage::Stage, web::Web};
use crate::target::RunRef;

/// How long the run may take to ask.
const PATIENCE: Duration = Duration::from_secs(30);

fn request(token: &str, url: &str, method: &str) -> Value {
    json!({
        "title": format!("{method} {url}"),
        "input": { "runtime": {
            "policy": { "principal_id": "p-reporter", "capability_token_id": token },
            "egress": { "target_url": url, "method": method },
        } },
    })
}

pub(super) async fn reached(stage: &mut Stage, web: &Web) -> Result<()> {
    stage.scene("A request to the outside, through the egress gateway")?;
    grant(
        stage,
        "cap-web",
        &["egress.request"],
        &["127.0.0.1"],
        &["internal.read", "external.write"],
    )
    .await?;
    stage.say("The demo serves a page on loopback, which the policy names as an exception: only public addresses are reached else.")?;
    let url = web.url("/report?access_token=very-secret");
    let played = stage.play("reach", request("cap-web", &url, "GET")).await?;
    stage.show_events(&played.events)?;
    stage.claim(
        played.has(EventType::EgressAllowed),
        "the gate let the request pass, as a call and as a request",
    )?;
    let key = web.last_idempotency_key();
    let call = "acme.reach.1.1";
    stage.claim(
        key.as_deref() == Some(call),
        "the server was sent the call's id as Idempotency-Key",
    )?;
    let text: String = played
        .events
        .iter()
        .map(|event| event.data.to_string())
        .collect();
    let kept_secret = !text.contains("very-secret");
    stage.claim(
        kept_secret,
        "the secret in the URL's query stands in no event",
    )
}

pub(super) async fn out_of_scope(stage: &mut Stage, web: &Web) -> Result<()> {
    stage.scene("A request to a host outside the token's scope")?;
    let before = web.requests();
    let run = request("cap-web", "http://intranet.example.com/", "GET");
    let played = stage.play("out-of-scope", run).await?;
    stage.show_events(&played.events)?;
    let code = "capability_scope_egress_domain_not_allowed";
    let denied = ["tool_policy", "egress"]
        .iter()
        .any(|stage| played.failed_with(stage, code));
    stage.claim(
        denied,
        "it is denied: capability_scope_egress_domain_not_allowed",
    )?;
    let untouched = !played.has(EventType::EgressAllowed) && web.requests() == before;
    stage.claim(untouched, "nothing was sent anywhere")
}

pub(super) async fn written_to_after_approval(stage: &mut Stage, web: &Web) -> Result<()> {
    stage.scene("A write to the outside, which a person has to approve")?;
    let before = web.requests();
    let run = stage
        .submit("write", request("cap-web", &web.url("/orders"), "POST"))
        .await?;
    let Some(approval_id) = waiting(stage, &run).await? else {
        return stage.claim(false, "the run waits for an approval");
    };
    stage.say(&format!(
        "The run is parked and holds no worker; it waits for approval {approval_id}."
    ))?;
    stage.claim(web.requests() == before, "nothing was sent yet")?;
    let command = Command::DecideApproval {
        approval_id: approval_id.parse()?,
        approve: true,
        reason: Some("the order is right".into()),
        remember_s: None,
    };
    let reply = stage.order(&run, "ada", command).await?;
    stage.claim(
        matches!(reply, Reply::Accepted { .. }),
        "ada approves this very call, with this very input",
    )?;
    let status = stage.ended(&run).await?;
    stage.show_events(&stage.events(&run).await?)?;
    stage.claim(
        status == RunStatus::Succeeded,
        "the run went on and succeeded",
    )?;
    stage.claim(web.requests() == before + 1, "the server got it once")
}

/// The approval that the run waits for, once it does; none when it ends first.
async fn waiting(stage: &Stage, run: &RunRef) -> Result<Option<String>> {
    let mut following = stage
        .private
        .fleet
        .follow(&run.workspace, &run.run, 0)
        .await?;
    loop {
        for stored in tokio::time::timeout(PATIENCE, following.next()).await?? {
            let asked = stored
                .commit
                .events
                .iter()
                .find(|event| event.event_type == EventType::ApprovalRequested);
            if let Some(asked) = asked {
                return Ok(asked.data["approval_id"].as_str().map(str::to_owned));
            }
            if stored.status.is_some_and(RunStatus::is_terminal) {
                return Ok(None);
            }
        }
    }
}
