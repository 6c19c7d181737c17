//! `gatewright approval`: what waits for a person's yes or no, and the approvals that hold for like calls.

mod remembered;

use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use gatewright_bus::{Fleet, clock};
use gatewright_schemas::{ApprovalId, Command, RunStatus, WorkspaceId};
use gatewright_store::approval::{self, Approval, Place};
use serde::Serialize;
use serde_json::Value;

use crate::{
    context::Context,
    escape::to_json,
    exit::{self, Exit, Failure},
    issue::{self, Issuer},
    out::{Cell, Form, Table, span, time},
    period::{Period, Since},
    target::{RunRef, expand},
};

/// List what waits for approval, look at it, and decide.
#[derive(Debug, Args)]
pub struct ApprovalArgs {
    #[command(subcommand)]
    verb: ApprovalVerb,
}

#[derive(Debug, Subcommand)]
enum ApprovalVerb {
    /// The approvals that somebody has to decide, the most urgent first
    List {
        /// Only of this workspace
        #[arg(long, short)]
        workspace: Option<WorkspaceId>,
        /// Also those that are decided, used or over, the latest first
        #[arg(long, conflicts_with = "workspace")]
        all: bool,
        /// With `--all`: only those asked for before
        #[arg(long, value_name = "TIME", requires = "all")]
        after: Option<Since>,
        /// At most so many
        #[arg(long, short = 'n', default_value_t = 50)]
        limit: u32,
    },
    /// An approval with the exact input that is to be approved
    Show {
        /// The approval
        approval: ApprovalId,
    },
    /// Say yes: the call is asked about again, and made if nothing else stands against it
    Approve {
        #[command(flatten)]
        decision: DecideArgs,
        /// Let like calls go without asking for so long, such as `24h`
        ///
        /// Like are calls of the same asker and tool to the same host; where that does not bound what a call can do, only those
        /// with the very same input (`approval show` tells which). The policy's `approvals.max_remember` is the most.
        #[arg(long, value_name = "SPAN")]
        remember: Option<Period>,
    },
    /// Say no: the call fails, and with it the run
    Deny(DecideArgs),
    /// Approvals that hold for like calls
    Remembered(remembered::RememberedArgs),
}

#[derive(Debug, Args)]
struct DecideArgs {
    /// The approvals; `-` reads them from standard input
    #[arg(required = true)]
    approvals: Vec<String>,
    /// Why, for people
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    issuer: Issuer,
}

/// Does what was asked.
pub async fn run(context: Context, args: ApprovalArgs) -> Result<Exit> {
    match args.verb {
        ApprovalVerb::List {
            workspace,
            all,
            after,
            limit,
        } => list(&context, workspace.as_ref(), all, after, limit).await,
        ApprovalVerb::Show { approval } => show(&context, &approval).await,
        ApprovalVerb::Approve { decision, remember } => {
            // Rounded down: never for longer than was asked for.
            let remember_s = remember.map(|span| span.0.as_secs());
            if remember_s == Some(0) {
                return Err(Failure::usage("`--remember` is at least `1s`"));
            }
            decide(&context, &decision, true, remember_s).await
        }
        ApprovalVerb::Deny(args) => decide(&context, &args, false, None).await,
        ApprovalVerb::Remembered(args) => remembered::run(&context, args).await,
    }
}

/// The run that an approval belongs to: its id begins with the workspace and the run.
fn run_of(approval: &ApprovalId) -> Result<RunRef> {
    let mut tokens = approval.as_str().split('.');
    let (Some(workspace), Some(run)) = (tokens.next(), tokens.next()) else {
        return Err(Failure::usage(format!(
            "`{approval}` is no approval's id, which looks like `acme.run-1.1.1.a1`"
        )));
    };
    Ok(RunRef {
        workspace: workspace.parse()?,
        run: run.parse()?,
    })
}

async fn list(
    context: &Context,
    workspace: Option<&WorkspaceId>,
    all: bool,
    after: Option<Since>,
    limit: u32,
) -> Result<Exit> {
    let store = context.store().await?;
    let found = if all {
        let before = after.map(|after| Place {
            at: after.0,
            approval_id: String::new(),
        });
        approval::list(&store, workspace, before.as_ref(), limit).await?
    } else {
        approval::waiting(&store, workspace, None, limit).await?
    };
    let is_full = found.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = found
        .last()
        .filter(|_| all && is_full)
        .map(|last| last.requested_at.to_string());
    context
        .out
        .list(&found, next, |approval| approval.approval_id.clone(), table)?;
    Ok(Exit::Ok)
}

fn table(approvals: &[Approval]) -> Table {
    let mut table = Table::new(&[
        "APPROVAL",
        "STATUS",
        "TOOL",
        "WHY",
        "PRINCIPAL",
        "LEFT",
        "INPUT",
    ]);
    let now = clock::now();
    for approval in approvals {
        let left = match approval.status.as_str() {
            "waiting" => span(approval.expires_at.since(now)),
            _ => "-".into(),
        };
        table.row(vec![
            (&approval.approval_id).into(),
            Cell::word(&approval.status),
            (&approval.tool_name).into(),
            Cell::text(
                approval
                    .reason_code
                    .as_deref()
                    .unwrap_or(&approval.question),
            ),
            Cell::maybe(approval.principal_id.as_deref()),
            left.into(),
            Cell::cut(approval.input.to_string(), 60),
        ]);
    }
    table
}

async fn show(context: &Context, id: &ApprovalId) -> Result<Exit> {
    let run = run_of(id)?;
    let store = context.store().await?;
    let Some(approval) = approval::show(&store, &run.workspace, &run.run, id).await? else {
        return Err(Failure::not_found(format!("there is no approval `{id}`")));
    };
    match context.out.form {
        Form::Json => context.out.json(&approval)?,
        Form::Ids => context.out.line(id.as_str())?,
        Form::Table => {
            let mut table = Table::new(&[]);
            let mut fact = |name: &str, value: Cell| table.row(vec![name.into(), value]);
            fact("approval", id.as_str().into());
            fact("status", Cell::word(&approval.status));
            fact("question", (&approval.question).into());
            fact("run", run.to_string().into());
            fact("tool", (&approval.tool_name).into());
            fact("why", Cell::maybe(approval.reason_code.as_deref()));
            fact("principal", Cell::maybe(approval.principal_id.as_deref()));
            if let Some(asker) = text_at(&approval.asked, "/asked_by/actor_id") {
                let kind = text_at(&approval.asked, "/asked_by/actor_type").unwrap_or_default();
                fact("asked by", Cell::text(format!("{kind} {asker}")));
            }
            fact("asked", time(*approval.requested_at).into());
            fact("expires", time(*approval.expires_at).into());
            let hosts = strings(approval.asked.pointer("/hosts"));
            fact("hosts", Cell::maybe(joined(&hosts)));
            fact("effect", Cell::maybe(text_at(&approval.asked, "/effect")));
            let sandbox = text_at(&approval.asked, "/sandbox_permissions");
            fact("sandbox", Cell::maybe(sandbox));
            if let Some(profile) = text_at(&approval.asked, "/sandbox_profile/name") {
                let digest = text_at(&approval.asked, "/sandbox_profile/digest");
                let digest = digest.unwrap_or_default();
                fact("its profile", format!("{profile}, digest {digest}").into());
            }
            let likeness = match text_at(&approval.asked, "/likeness") {
                Some("hosts") => {
                    "calls of this asker and tool to this host, with this effect at most"
                }
                _ => "calls of this asker and tool with this very input",
            };
            fact("if remembered", likeness.into());
            let votes: Vec<&str> = approval
                .votes
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|vote| text_at(vote, "/by"))
                .collect();
            let needed = format!("{} of {}", votes.len(), approval.approvers);
            fact("approvals", needed.into());
            fact("approved by", Cell::maybe(joined(&votes)));
            if let Some(by) = &approval.decided_by {
                fact("decided by", by.into());
                fact("reason", Cell::maybe(approval.reason.as_deref()));
            }
            if let Some(seconds) = approval.remember_s {
                let holds_for = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
                fact("remembered for", span(holds_for).into());
            }
            fact("tool definition", (&approval.definition_digest).into());
            fact("input digest", (&approval.input_digest).into());
            context.out.table(&table)?;
            for finding in findings(&approval.asked) {
                context.out.line(finding)?;
            }
            context.out.line("input")?;
            context.out.line(to_json(&approval.input, true)?)?;
        }
    }
    Ok(Exit::Ok)
}

/// What the gate objects to, a line each.
fn findings(asked: &Value) -> Vec<String> {
    let findings = asked.pointer("/findings").and_then(Value::as_array);
    let told = |finding: &Value| {
        let code = text_at(finding, "/reason_code").unwrap_or("-");
        let reason = text_at(finding, "/reason").unwrap_or_default();
        crate::escape::escaped(&format!("objection {code}: {reason}"))
    };
    findings.into_iter().flatten().map(told).collect()
}

fn text_at<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

fn strings(list: Option<&Value>) -> Vec<&str> {
    let list = list.and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn joined(texts: &[&str]) -> Option<String> {
    (!texts.is_empty()).then(|| texts.join(", "))
}

/// Where the run stands after a decision.
#[derive(Debug, Serialize)]
struct Decided<'a> {
    approval_id: &'a ApprovalId,
    approved: bool,
    workspace_id: &'a WorkspaceId,
    run_id: &'a gatewright_schemas::RunId,
    status: Option<RunStatus>,
}

/// Decides all of them. One that is refused does not keep the others waiting; the last refusal is what the command ends with.
async fn decide(
    context: &Context,
    args: &DecideArgs,
    approve: bool,
    remember_s: Option<u64>,
) -> Result<Exit> {
    let approvals: Vec<ApprovalId> = expand(&args.approvals)?;
    let fleet = context.fleet().await?;
    let mut ended = Exit::Ok;
    for id in &approvals {
        let decided = decide_one(context, &fleet, args, id, approve, remember_s).await;
        if let Err(error) = decided {
            if approvals.len() == 1 {
                return Err(error);
            }
            ended = exit::report(&error);
        }
    }
    Ok(ended)
}

async fn decide_one(
    context: &Context,
    fleet: &Fleet,
    args: &DecideArgs,
    id: &ApprovalId,
    approve: bool,
    remember_s: Option<u64>,
) -> Result<()> {
    let run = run_of(id)?;
    if fleet.last_commit(&run.workspace, &run.run).await?.is_none() {
        return Err(Failure::not_found(format!(
            "there is no approval `{id}`: its run does not exist"
        )));
    }
    let command = Command::DecideApproval {
        approval_id: id.clone(),
        approve,
        reason: args.reason.clone(),
        remember_s,
    };
    let issuer = args.issuer.name();
    let accepted = issue::issue(fleet, &run.workspace, &run.run, issuer, command)
        .await
        .map_err(|error| error.context(format!("{id}")))?;
    let done = Decided {
        approval_id: id,
        approved: approve,
        workspace_id: &run.workspace,
        run_id: &run.run,
        status: accepted.status,
    };
    match context.out.form {
        Form::Json => context.out.json_line(&done)?,
        Form::Ids => context.out.line(id.as_str())?,
        Form::Table => {
            let status = accepted.status.map_or("-", RunStatus::as_str);
            let answer = match (approve, accepted.status) {
                // One yes of several: the run goes on waiting.
                (true, Some(RunStatus::WaitingApproval)) => "counted, more must approve",
                (true, _) => "approved",
                (false, _) => "denied",
            };
            let mut table = Table::new(&[]);
            table.row(vec![
                id.as_str().into(),
                answer.into(),
                run.to_string().into(),
                Cell::word(status),
            ]);
            context.out.table(&table)?;
        }
    }
    Ok(())
}
