//! `gatewright approval`: what waits for a person's yes or no.

use anyhow::Result;
use clap::{Args, Subcommand};
use gatewright_bus::clock;
use gatewright_schemas::{ApprovalId, Command, RunStatus, WorkspaceId};
use gatewright_store::approval::{self, Approval};
use serde::Serialize;

use crate::{
    context::Context,
    escape::to_json,
    exit::{Exit, Failure},
    issue::{self, Issuer},
    out::{Cell, Form, Table, span, time},
    period::Since,
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
    Approve(DecideArgs),
    /// Say no: the call fails, and with it the run
    Deny(DecideArgs),
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
        ApprovalVerb::Approve(args) => decide(&context, &args, true).await,
        ApprovalVerb::Deny(args) => decide(&context, &args, false).await,
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
        let before = after.map_or_else(
            || clock::now().plus(std::time::Duration::from_hours(1)),
            |after| after.0,
        );
        approval::list(&store, before, limit).await?
    } else {
        approval::waiting(&store, workspace, limit).await?
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
            fact("asked", time(*approval.requested_at).into());
            fact("expires", time(*approval.expires_at).into());
            if let Some(by) = &approval.decided_by {
                fact("decided by", by.into());
                fact("reason", Cell::maybe(approval.reason.as_deref()));
            }
            fact("input digest", (&approval.input_digest).into());
            context.out.table(&table)?;
            context.out.line("input")?;
            context.out.line(to_json(&approval.input, true)?)?;
        }
    }
    Ok(Exit::Ok)
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

async fn decide(context: &Context, args: &DecideArgs, approve: bool) -> Result<Exit> {
    let approvals: Vec<ApprovalId> = expand(&args.approvals)?;
    let fleet = context.fleet().await?;
    for id in &approvals {
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
        };
        let accepted = issue::issue(
            &fleet,
            &run.workspace,
            &run.run,
            args.issuer.name(),
            command,
        )
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
                let mut table = Table::new(&[]);
                let answer = if approve { "approved" } else { "denied" };
                table.row(vec![
                    id.as_str().into(),
                    answer.into(),
                    run.to_string().into(),
                    Cell::word(status),
                ]);
                context.out.table(&table)?;
            }
        }
    }
    Ok(Exit::Ok)
}
