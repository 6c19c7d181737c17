//! Runs that are allowed, and a submission that is not valid.

use anyhow::Result;
use gatewright_schemas::{EventType, Reply, RunStatus};
use serde_json::json;

use super::stage::Stage;
use crate::out::Table;

pub(super) async fn allowed(stage: &mut Stage) -> Result<()> {
    stage.scene("A run of one call that the policy allows")?;
    let played = stage.play("hello", json!({ "title": "hello" })).await?;
    stage.show_events(&played.events)?;
    let allowed = played
        .data(EventType::ToolInvoked)
        .is_some_and(|invoked| invoked["decision"]["decision"] == "allow");
    stage.claim(
        played.status == RunStatus::Succeeded,
        &format!("it succeeded, {} after it was submitted", played.took),
    )?;
    stage.claim(allowed, "the gate's answer is recorded before the tool ran")
}

pub(super) async fn of_several_steps(stage: &mut Stage) -> Result<()> {
    stage.scene("A run of several steps, one call of which names a tool that does not exist")?;
    let run = json!({
        "title": "nightly report",
        "input": { "runtime": { "steps": [
            { "title": "fetch", "tool_calls": [
                { "tool": "runtime.echo", "input": { "rows": [1, 2, 3] } },
                { "tool": "crm.export", "on_failure": "continue" } ] },
            { "title": "write", "tool_calls": [ { "tool": "runtime.noop" } ] },
        ] } },
    });
    let played = stage.play("nightly-report", run).await?;
    stage.show_events(&played.events)?;
    let goes_on = played
        .data(EventType::RunCompleted)
        .is_some_and(|end| end["succeeded_calls"] == 2 && end["failed_calls"] == 1);
    stage.claim(
        goes_on,
        "the run went on after the call that had leave to fail, and says so",
    )
}

pub(super) async fn not_valid(stage: &mut Stage) -> Result<()> {
    stage.scene("A submission that is not valid")?;
    let run = json!({
        "run_id": "not.a.token",
        "lane": "fast",
        "input": { "runtime": { "steps": [ { "tool_calls": [ { "tool": 7 } ] } ], "polcy": {} } },
    });
    stage.say(&run.to_string())?;
    let reply = stage.ask(run.to_string().into_bytes()).await?;
    let Reply::Refused { violations, .. } = reply else {
        return stage.claim(false, "it is refused");
    };
    let mut table = Table::new(&["AT", "VIOLATION"]);
    for violation in &violations {
        table.row(vec![
            (&violation.pointer).into(),
            (&violation.message).into(),
        ]);
    }
    stage.table(table)?;
    stage.claim(
        violations.len() >= 4,
        "it is refused, with every violation and its place",
    )?;
    let dead = stage
        .private
        .fleet
        .dead_letters(Some(&stage.workspace), 0, 10)
        .await?;
    stage.claim(
        !dead.is_empty(),
        "it is kept as a dead letter, to be mended and sent again",
    )
}
