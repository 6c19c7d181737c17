//! `policy explain`: what the gate would say of a call, check by check.

#![expect(
    clippy::doc_markdown,
    reason = "doc comments of arguments are their help texts, which show backticks as they are"
)]

use std::{path::PathBuf, sync::Arc};

use anyhow::Result;
use clap::Args;
use gatewright_bus::{clock, quota::Counter};
use gatewright_policy::{
    CallExplanation, CheckResult, CompiledPolicy, Explanation, Snapshot, explain::Counted,
};
use gatewright_schemas::{Submission, Violation, WorkspaceId, Zone, validate};
use gatewright_worker::explain::explain;
use serde_json::{Value, json};

use super::document::candidate;
use crate::{
    context::Context,
    exit::{Exit, Failure},
    input,
    out::{Cell, Table},
    target::DEFAULT_WORKSPACE,
    worker::registry,
};

/// Show every check of the gate for a hypothetical call; exits with 1 when it would be blocked
///
/// The call is told by flags, or by a file with a run as it would be submitted, whose every call is explained.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A run as it would be submitted, JSON; `-` is standard input
    #[arg(required_unless_present = "tool")]
    file: Option<PathBuf>,
    /// The tool
    #[arg(long, conflicts_with = "file")]
    tool: Option<String>,
    /// The tool's input, JSON
    #[arg(long, value_name = "JSON", default_value = "{}", requires = "tool")]
    input: String,
    /// The workspace
    #[arg(long, short, default_value = DEFAULT_WORKSPACE)]
    workspace: WorkspaceId,
    /// The principal on whose authority
    #[arg(long, requires = "tool")]
    principal: Option<String>,
    /// The capability token
    #[arg(long, requires = "tool")]
    token: Option<String>,
    /// The zone: sandbox, supervised or high_stakes
    #[arg(long, requires = "tool")]
    zone: Option<Zone>,
    /// What kind of thing acts: service, user or agent
    #[arg(long, requires = "tool", value_name = "TYPE")]
    actor_type: Option<String>,
    /// Who acts
    #[arg(long, requires = "actor_type")]
    actor_id: Option<String>,
    /// The room
    #[arg(long, requires = "tool")]
    room: Option<String>,
    /// The sandbox that the call asks for: use_default or require_escalated
    #[arg(long, requires = "tool", value_name = "WORD")]
    sandbox_permissions: Option<String>,
    /// A policy document to ask instead of the active one
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Ask no fleet: there are no capability tokens and no principals then
    #[arg(long, requires = "policy")]
    offline: bool,
}

/// Explains.
pub async fn run(context: &Context, args: ExplainArgs) -> Result<Exit> {
    let submission = submission(&args)?;
    let snapshot = snapshot(context, &args).await?;
    let registry = registry(&context.settings)?;
    let mut answer = explain(&args.workspace, &submission, &snapshot, &registry);
    if !args.offline {
        count(context, &mut answer.calls).await?;
    }
    if context.out.is_json() {
        context.out.json(&answer)?;
    } else {
        for call in &answer.calls {
            tell(context, call)?;
        }
    }
    Ok(if answer.blocked { Exit::No } else { Exit::Ok })
}

/// Looks up the counters of the limits that the calls would consume.
async fn count(context: &Context, calls: &mut [CallExplanation]) -> Result<()> {
    let now = clock::now();
    for call in calls {
        let gates = [&call.tool_gate, &call.egress_gate];
        for quota in gates
            .into_iter()
            .flatten()
            .filter_map(|gate| gate.quota.as_ref())
        {
            let counter = Counter::of(quota, now);
            let ledger = context.fleet().await?.quota(&counter).await?;
            call.counters.push(Counted {
                resets_at: counter.resets_at(),
                counter: counter.name,
                leased: ledger.map_or(0, |ledger| ledger.leased),
            });
        }
    }
    Ok(())
}

/// The run that is asked about.
fn submission(args: &ExplainArgs) -> Result<Submission> {
    let bytes = match (&args.file, &args.tool) {
        (Some(file), _) => input::read(file)?.into_bytes(),
        (None, tool) => {
            let input: Value = serde_json::from_str(&args.input)
                .map_err(|error| Failure::usage(format!("`--input` is not JSON: {error}")))?;
            let call = match &args.sandbox_permissions {
                None => json!({ "tool": tool, "input": input }),
                Some(word) => json!({ "tool": tool, "input": input, "sandbox_permissions": word }),
            };
            let policy = json!({
                "principal_id": args.principal,
                "capability_token_id": args.token,
                "zone": args.zone,
                "actor_type": args.actor_type,
                "actor_id": args.actor_id,
            });
            let run = json!({
                "room_id": args.room,
                "input": { "runtime": { "policy": policy, "steps": [{ "tool_calls": [call] }] } },
            });
            run.to_string().into_bytes()
        }
    };
    validate::submission(&bytes).map_err(|invalid| {
        let told: Vec<String> = invalid
            .0
            .iter()
            .map(|Violation { pointer, message }| format!("{pointer}: {message}"))
            .collect();
        Failure::usage(format!(
            "not a run that could be submitted:\n  {}",
            told.join("\n  ")
        ))
    })
}

/// What the gate knows.
async fn snapshot(context: &Context, args: &ExplainArgs) -> Result<Snapshot> {
    let mut snapshot = if args.offline {
        Snapshot::new()
    } else {
        context.fleet().await?.authority_now().await?
    };
    if let Some(file) = &args.policy {
        let document = candidate(file)?;
        let digest = document.digest();
        let revision = snapshot.policy().map_or(0, |policy| policy.revision()) + 1;
        let compiled = CompiledPolicy::new(document, revision, digest);
        snapshot.set_policy(Some(Arc::new(compiled)));
        // The question is what the document says, not whether some worker's copy of another is fresh.
        snapshot.set_synced_at(clock::now());
    }
    Ok(snapshot)
}

fn tell(context: &Context, call: &CallExplanation) -> Result<()> {
    let out = context.out;
    let mut head = Table::new(&[]);
    let answer = if call.blocked { "blocked" } else { "allowed" };
    head.row(vec![
        format!("call {}", call.call).into(),
        (&call.tool).into(),
        Cell::word(answer),
    ]);
    out.table(&head)?;
    if let Some(error) = &call.error {
        out.line(format!(
            "  {}",
            crate::escape::escaped(&crate::run::describe::error(error))
        ))?;
        let mut table = Table::new(&[]).indented(4);
        for violation in &error.violations {
            table.row(vec![
                (&violation.pointer).into(),
                (&violation.message).into(),
            ]);
        }
        out.table(&table)?;
    }
    let gates = [
        ("as a tool call", &call.tool_gate),
        ("as a request to the outside", &call.egress_gate),
    ];
    for (name, gate) in gates {
        if let Some(gate) = gate {
            out.line(format!(
                "\n  {name}: {} by {}, mode {}, {}",
                gate.decision.decision,
                gate.decision.reason_code,
                gate.decision.enforcement_mode,
                if gate.decision.blocked {
                    "blocked"
                } else {
                    "not blocked"
                }
            ))?;
            out.table(&checks(gate))?;
            if let Some(quota) = &gate.quota {
                let counted = call
                    .counters
                    .iter()
                    .find(|counted| counted.counter == quota.name);
                let counted = counted.map_or(String::new(), |counted| {
                    format!(
                        ", of which {} are leased; it starts anew at {}",
                        counted.leased, counted.resets_at
                    )
                });
                out.line(format!(
                    "    it would take one of {} of `{}`{counted}",
                    quota.limit,
                    crate::escape::escaped(&quota.name)
                ))?;
            }
        }
    }
    Ok(())
}

fn checks(gate: &Explanation) -> Table {
    let mut table = Table::new(&["", "CHECK", "RESULT", "CODE", "WHY"]).indented(4);
    for check in &gate.checks {
        let result = match check.result {
            CheckResult::Passed => "passed",
            CheckResult::NotApplicable => "not_applicable",
            CheckResult::RequiresApproval => "requires_approval",
            CheckResult::Denied => "denied",
        };
        let finding = check.finding.as_ref();
        table.row(vec![
            format!("{:>2}", check.number).into(),
            check.check.into(),
            Cell::word(result),
            Cell::maybe(finding.map(|finding| finding.reason_code.as_str())),
            Cell::text(finding.map_or(check.asks, |finding| &finding.reason)),
        ]);
    }
    table
}
