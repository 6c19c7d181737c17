//! What is left of the story: the rows in Postgres, the verified chains, and how to go on.

use std::time::Duration;

use anyhow::Result;
use gatewright_schemas::{Event, EventType};
use gatewright_store::{
    event,
    run::{self, Filter},
};

use super::stage::{Played, Stage};
use crate::{
    audit,
    out::{Cell, Table},
    run::{Whole, error_of, runs_table},
};

const PATIENCE: Duration = Duration::from_secs(15);

pub(super) async fn tables(stage: &mut Stage, denied: &Played) -> Result<()> {
    stage.scene("What Postgres has of it")?;
    let projected = stage.private.caught_up(PATIENCE).await;
    stage.claim(projected, "the projector has folded the whole stream")?;
    let filter = Filter {
        workspace: Some(stage.workspace.clone()),
        limit: 100,
        ..Filter::default()
    };
    let runs = run::list(&stage.private.store, &filter).await?;
    stage.say("select … from runs where workspace_id = 'acme':")?;
    stage.table(runs_table(&runs))?;

    stage.out.line("")?;
    let Some(whole) = Whole::read(&stage.private.store, &denied.run).await? else {
        return stage.claim(false, "the denied run is in the table `runs`");
    };
    stage.say("The denied run, in `runs`, `tool_calls`, `policy_decisions` and `events`:")?;
    let mut table = Table::new(&["TABLE", "STATUS", "WHAT"]);
    let error = whole.run.error.as_ref();
    table.row(vec![
        "runs".into(),
        Cell::word(&whole.run.status),
        error.map_or_else(String::new, error_of).into(),
    ]);
    for call in &whole.tool_calls {
        table.row(vec![
            "tool_calls".into(),
            Cell::word(&call.status),
            format!(
                "{} {}",
                call.tool_name,
                call.error.as_ref().map_or_else(String::new, error_of)
            )
            .into(),
        ]);
    }
    for decision in &whole.decisions {
        table.row(vec![
            "policy_decisions".into(),
            Cell::word(&decision.decision),
            format!(
                "{} {}, blocked: {}",
                decision.tool_name, decision.reason_code, decision.blocked
            )
            .into(),
        ]);
    }
    let rows = event::of_run(
        &stage.private.store,
        &denied.run.workspace,
        &denied.run.run,
        0,
        100,
    )
    .await?;
    for row in rows
        .iter()
        .filter(|row| row.event.event_type == EventType::PolicyDenied)
    {
        let step = row.event.step_id.as_ref().map_or("-", AsRef::as_ref);
        table.row(vec![
            "events".into(),
            "policy.denied".into(),
            format!("of step {step}").into(),
        ]);
    }
    stage.table(table)?;
    let code = "capability_scope_tool_not_allowed";
    let stage_and_code =
        error.is_some_and(|error| error["stage"] == "tool_policy" && error["reason_code"] == code);
    stage.claim(
        whole.run.status == "failed" && stage_and_code,
        "the run is failed, with stage and reason",
    )?;
    let failed = whole.tool_calls.iter().all(|call| call.status == "failed");
    stage.claim(
        failed && !whole.tool_calls.is_empty(),
        "its tool call is failed",
    )?;
    let rows: Vec<Event> = rows.into_iter().map(|row| row.event).collect();
    stage.claim(
        rows == denied.events,
        "its events are row by row what the stream has",
    )
}

pub(super) async fn chain(stage: &mut Stage) -> Result<()> {
    stage.scene("The hash chain of every run, from the stream and from Postgres")?;
    let verdict = audit::whole(&stage.private.fleet, &stage.private.store).await?;
    stage.claim(
        verdict.ok,
        &format!(
            "{} events of {} chains are as they were written, and both agree",
            verdict.events, verdict.runs
        ),
    )
}

pub(super) fn how_to_go_on(stage: &mut Stage, keep: bool) -> Result<()> {
    stage.scene("How to go on")?;
    let connection = stage.private.connection.clone();
    if keep {
        stage.say("This fleet goes on running. In another terminal:")?;
        stage.say(&format!("  export NATS_URL='{}'", connection.nats_url))?;
        let nkey = connection.nats_nkey.display();
        stage.say(&format!("  export NATS_NKEY='{nkey}'"))?;
        stage.say(&format!(
            "  export DATABASE_URL='{}'",
            connection.database_url
        ))?;
        stage.say("  gatewright run list")?;
        stage.say("  gatewright run show acme/denied")?;
    } else {
        stage.say(
            "gatewright dev                               a fleet that stays, for this directory",
        )?;
        stage.say("echo '{}' | gatewright run submit --wait     a run")?;
        stage.say("gatewright policy explain --tool runtime.noop --token …    why a call is allowed or not")?;
        stage.say("gatewright demo --keep                       this one again, left running to be looked at")?;
    }
    stage.say("gatewright --help                            everything else")
}
