//! `run show`: one run with its steps, calls, decisions and requests, from the read tables.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use gatewright_store::{
    Store, StoreError, approval, decision, egress, run, run::Run, step, tool_call,
};
use serde::Serialize;
use serde_json::Value;

use super::events;
use crate::{
    context::Context,
    exit::{Exit, Failure},
    out::{Cell, Form, Out, Table, span, time},
    target::RunRef,
};

/// How long the projector is waited for when the stream has a run that the tables lack.
const PATIENCE: Duration = Duration::from_secs(3);
/// Rows of each kind that are shown; a run has at most 100 steps of 100 calls.
const MOST: u32 = 10_000;

/// A run with its steps, calls, decisions, approvals and requests
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The run
    #[arg(value_name = "[WORKSPACE/]RUN")]
    run: RunRef,
}

/// A run and all that belongs to it.
#[derive(Debug, Serialize)]
pub struct Whole {
    /// The run.
    #[serde(flatten)]
    pub run: Run,
    /// Its steps.
    pub steps: Vec<step::Step>,
    /// Its tool calls.
    pub tool_calls: Vec<tool_call::ToolCall>,
    /// What the gate answered, where that was recorded by itself or with the call.
    pub decisions: Vec<decision::Decision>,
    /// Its approvals.
    pub approvals: Vec<approval::Approval>,
    /// Its requests to the outside.
    pub egress_requests: Vec<egress::Egress>,
}

impl Whole {
    /// Reads it; nothing when the tables have no such run.
    pub async fn read(store: &Store, of: &RunRef) -> Result<Option<Self>, StoreError> {
        let (workspace, id) = (&of.workspace, &of.run);
        let Some(run) = run::show(store, workspace, id).await? else {
            return Ok(None);
        };
        Ok(Some(Self {
            run,
            steps: step::of_run(store, workspace, id, 0, MOST).await?,
            tool_calls: tool_call::of_run(store, workspace, id, (0, 0), MOST).await?,
            decisions: decision::of_run(store, workspace, id, 0, MOST).await?,
            approvals: approval::of_run(store, workspace, id).await?,
            egress_requests: egress::of_run(store, workspace, id, MOST).await?,
        }))
    }
}

/// Shows it.
pub async fn run(context: Context, args: ShowArgs) -> Result<Exit> {
    let store = context.store().await?;
    let Some(whole) = find(&context, &store, &args.run).await? else {
        return Err(events::not_found(&args.run));
    };
    match context.out.form {
        Form::Json => context.out.json(&whole)?,
        Form::Ids => context.out.line(args.run.to_string())?,
        Form::Table => tell(context.out, &whole)?,
    }
    Ok(Exit::Ok)
}

/// A run that was submitted a moment ago may be on the stream and not yet in the tables.
async fn find(context: &Context, store: &Store, of: &RunRef) -> Result<Option<Whole>> {
    if let Some(whole) = Whole::read(store, of).await? {
        return Ok(Some(whole));
    }
    let fleet = context.fleet().await?;
    if fleet.last_commit(&of.workspace, &of.run).await?.is_none() {
        return Ok(None);
    }
    let until = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < until {
        if let Some(whole) = Whole::read(store, of).await? {
            return Ok(Some(whole));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(Failure::not_found(format!(
        "the run `{of}` is on the stream but not yet in the read tables; see `gatewright projector status`, \
         or read the stream with `gatewright run events {of}`"
    )))
}

/// Tells it to a person.
pub fn tell(out: Out, whole: &Whole) -> Result<()> {
    let run = &whole.run;
    out.heading(&format!("{}/{}", run.workspace_id, run.run_id))?;
    let mut facts = Table::new(&[]).indented(2);
    let mut fact = |name: &str, value: Cell| facts.row(vec![name.into(), value]);
    fact("status", Cell::word(&run.status));
    if let Some(title) = &run.title {
        fact("title", title.into());
    }
    fact(
        "zone",
        format!("{}, {}", run.zone, run.lane.as_deref().unwrap_or("-")).into(),
    );
    for (name, value) in [
        ("principal", &run.principal_id),
        ("capability token", &run.capability_token_id),
        ("room", &run.room_id),
        ("correlation", &run.correlation_id),
        ("retry of", &run.retry_of),
        ("waits for", &run.waiting_approval_id),
    ] {
        if let Some(value) = value {
            fact(name, value.into());
        }
    }
    fact("created", time(*run.created_at).into());
    if let (Some(started), Some(ended)) = (run.started_at, run.ended_at) {
        let took = span(ended.since(*started));
        fact("ended", format!("{} (took {took})", time(*ended)).into());
    }
    if let Some(worker) = &run.worker {
        fact(
            "worker",
            format!("{worker} (attempt {})", run.attempt).into(),
        );
    }
    if let Some(error) = &run.error {
        fact("error", error_of(error).into());
    }
    out.table(&facts)?;
    calls(out, whole)?;
    decisions(out, whole)?;
    requests(out, whole)?;
    approvals(out, whole)
}

/// An error's JSON in one line.
pub fn error_of(error: &Value) -> String {
    let word = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or("-");
    format!(
        "{} {}: {}",
        word("stage"),
        word("reason_code"),
        word("reason")
    )
}

fn calls(out: Out, whole: &Whole) -> Result<()> {
    if whole.tool_calls.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["CALL", "STEP", "TOOL", "STATUS", "TOOK", "WHY"]).indented(2);
    for call in &whole.tool_calls {
        let step = whole
            .steps
            .iter()
            .find(|step| step.number == call.step_number);
        let took = call
            .duration_us
            .and_then(|us| u64::try_from(us).ok())
            .map(|us| span(Duration::from_micros(us)));
        table.row(vec![
            format!("{}.{}", call.step_number, call.call_number).into(),
            Cell::cut(
                step.and_then(|step| step.title.as_deref()).unwrap_or("-"),
                30,
            ),
            (&call.tool_name).into(),
            Cell::word(&call.status),
            Cell::maybe(took),
            Cell::maybe(call.error.as_ref().map(error_of)),
        ]);
    }
    out.heading("\ncalls")?;
    out.table(&table)
}

fn decisions(out: Out, whole: &Whole) -> Result<()> {
    if whole.decisions.is_empty() {
        return Ok(());
    }
    let mut table =
        Table::new(&["CALL", "GATE", "ASKED", "CODE", "MODE", "BLOCKED", "POLICY"]).indented(2);
    for decision in &whole.decisions {
        let asked = match &decision.action_type {
            Some(action) => format!("{} {action}", decision.category),
            None => decision.category.clone(),
        };
        table.row(vec![
            short_call(&decision.tool_call_id).into(),
            Cell::word(&decision.decision),
            asked.into(),
            (&decision.reason_code).into(),
            (&decision.enforcement_mode).into(),
            if decision.blocked { "yes" } else { "no" }.into(),
            Cell::maybe(
                decision
                    .policy_revision
                    .map(|revision| format!("revision {revision}")),
            ),
        ]);
    }
    out.heading("\ndecisions of the gate")?;
    out.table(&table)
}

fn requests(out: Out, whole: &Whole) -> Result<()> {
    if whole.egress_requests.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[
        "CALL", "HOP", "STATUS", "REQUEST", "ADDRESS", "ANSWER", "WHY",
    ])
    .indented(2);
    for request in &whole.egress_requests {
        let wanted = format!(
            "{} {}",
            request.method.as_deref().unwrap_or("-"),
            request.url.as_deref().unwrap_or(&request.host)
        );
        table.row(vec![
            short_call(&request.tool_call_id).into(),
            request.hop.to_string().into(),
            Cell::word(&request.status),
            Cell::cut(wanted, 80),
            Cell::maybe(request.address.as_deref()),
            Cell::maybe(request.http_status.map(|status| status.to_string())),
            Cell::maybe(request.error.as_ref().map(error_of)),
        ]);
    }
    out.heading("\nrequests to the outside")?;
    out.table(&table)
}

fn approvals(out: Out, whole: &Whole) -> Result<()> {
    if whole.approvals.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[
        "APPROVAL",
        "STATUS",
        "QUESTION",
        "EXPIRES",
        "DECIDED BY",
        "REASON",
    ])
    .indented(2);
    for approval in &whole.approvals {
        table.row(vec![
            (&approval.approval_id).into(),
            Cell::word(&approval.status),
            (&approval.question).into(),
            time(*approval.expires_at).into(),
            Cell::maybe(approval.decided_by.as_deref()),
            Cell::maybe(approval.reason.as_deref()),
        ]);
    }
    out.heading("\napprovals")?;
    out.table(&table)
}

/// `<step>.<call>` of a call's id.
fn short_call(id: &str) -> String {
    let mut parts = id.rsplitn(3, '.');
    match (parts.next(), parts.next()) {
        (Some(call), Some(step)) => format!("{step}.{call}"),
        _ => id.to_owned(),
    }
}
