//! `gatewright audit`: whether the record is what was written.

mod source;
mod verify;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use gatewright_bus::Fleet;
use gatewright_schemas::{RunId, WorkspaceId};
use gatewright_store::Store;
use serde::Serialize;

use crate::{
    context::Context,
    escape::escaped,
    exit::Exit,
    out::{Form, Table},
    progress,
    target::{DEFAULT_WORKSPACE, RunRef},
};
use source::{Rows, Stream};
use verify::{Broken, Verifier};

/// How many faults are told one by one.
const MOST_TOLD: usize = 100;

/// Check the record of what happened.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    verb: AuditVerb,
}

#[derive(Debug, Subcommand)]
enum AuditVerb {
    Verify(VerifyArgs),
}

/// Where the record is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum From {
    /// The stream of events
    Stream,
    /// The table `events`
    Postgres,
    /// Both, which must also agree
    Both,
}

/// Check every run's hash chain, and that stream and Postgres agree; exits with 1 and names what is broken
#[derive(Debug, Args)]
struct VerifyArgs {
    /// Where to read it; both when a database is named, else the stream
    #[arg(long, value_enum)]
    from: Option<From>,
    /// Only the runs of this workspace
    #[arg(long, short)]
    workspace: Option<WorkspaceId>,
    /// Only this run (of the workspace named, or of `default`)
    #[arg(long)]
    run: Option<RunId>,
}

/// Does what was asked.
pub async fn run(context: Context, args: AuditArgs) -> Result<Exit> {
    match args.verb {
        AuditVerb::Verify(args) => verify(&context, args).await,
    }
}

/// What came of it, as `--json` shows it.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// Whether nothing is broken.
    pub ok: bool,
    from: From,
    /// Runs, and chains of authority.
    pub runs: u64,
    /// Events that were looked at.
    pub events: u64,
    /// Events of the stream that are not in the tables yet.
    pub not_projected: u64,
    /// How many are broken.
    pub broken_total: u64,
    /// The first hundred.
    broken: Vec<Broken>,
}

impl Verdict {
    fn of(from: From, verifier: Verifier) -> Self {
        Self {
            ok: verifier.broken_total == 0,
            from,
            runs: verifier.runs,
            events: verifier.events,
            not_projected: verifier.not_projected,
            broken_total: verifier.broken_total,
            broken: verifier.broken,
        }
    }
}

/// Which events are looked at.
#[derive(Debug, Clone)]
enum Scope {
    All,
    Workspace(WorkspaceId),
    Run(RunRef),
}

async fn verify(context: &Context, args: VerifyArgs) -> Result<Exit> {
    let has_database = context.settings.database_url.is_some();
    let from = args.from.unwrap_or(if has_database {
        From::Both
    } else {
        From::Stream
    });
    let scope = match (args.workspace, args.run) {
        (None, None) => Scope::All,
        (Some(workspace), None) => Scope::Workspace(workspace),
        (workspace, Some(run)) => {
            let workspace = match workspace {
                Some(workspace) => workspace,
                None => DEFAULT_WORKSPACE.parse()?,
            };
            Scope::Run(RunRef { workspace, run })
        }
    };
    let bar = progress::bar("verifying", 0);
    let mut stream = match from {
        From::Stream | From::Both => Some(Stream::open(&context.fleet().await?, &scope).await?),
        From::Postgres => None,
    };
    let mut rows = match from {
        From::Postgres | From::Both => Some(Rows::open(context.store().await?, &scope).await?),
        From::Stream => None,
    };
    let length = stream
        .as_ref()
        .map(Stream::end)
        .or(rows.as_ref().map(Rows::end));
    bar.set_length(length.unwrap_or(0));
    let progress = |sequence| bar.set_position(sequence);
    let verifier = compare(&mut stream, &mut rows, progress).await?;
    bar.finish_and_clear();
    show(context, from, verifier, &scope)
}

/// Everything, from both.
pub async fn whole(fleet: &Fleet, store: &Store) -> Result<Verdict> {
    let mut stream = Some(Stream::open(fleet, &Scope::All).await?);
    let mut rows = Some(Rows::open(store.clone(), &Scope::All).await?);
    let verifier = compare(&mut stream, &mut rows, |_| ()).await?;
    Ok(Verdict::of(From::Both, verifier))
}

/// Follows what there is to its end; `progress` is told how far it is.
async fn compare(
    stream: &mut Option<Stream>,
    rows: &mut Option<Rows>,
    progress: impl Fn(u64),
) -> Result<Verifier> {
    let mut verifier = Verifier::new(MOST_TOLD);
    match (stream, rows) {
        (Some(stream), None) => {
            while let Some(item) = stream.next().await? {
                progress(item.sequence);
                verifier.check("stream", &item);
            }
        }
        (None, Some(rows)) => {
            while let Some(item) = rows.next().await? {
                if item.sequence > rows.end() {
                    break;
                }
                progress(item.sequence);
                verifier.check("postgres", &item);
            }
            for row in rows.beyond_checkpoint().await? {
                verifier.surplus(&row);
            }
        }
        (Some(stream), Some(rows)) => {
            while let Some(item) = stream.next().await? {
                progress(item.sequence);
                verifier.check("stream", &item);
                if item.sequence > rows.end() {
                    verifier.not_projected += 1;
                    continue;
                }
                // Rows that the stream does not have, up to this event's place.
                while let Some(row) = rows.peek().await? {
                    if row.place() >= item.place() {
                        break;
                    }
                    verifier.surplus(&row);
                    rows.next().await?;
                }
                match rows.peek().await? {
                    Some(row) if row.place() == item.place() => {
                        verifier.compare(&item, &row);
                        rows.next().await?;
                    }
                    _ => verifier.missing(&item),
                }
            }
            // What was appended or projected since they were opened is nobody's fault.
            let both = stream.end().min(rows.end());
            while let Some(row) = rows.next().await? {
                if row.sequence > both {
                    break;
                }
                verifier.surplus(&row);
            }
            for row in rows.beyond_checkpoint().await? {
                verifier.surplus(&row);
            }
        }
        (None, None) => {}
    }
    Ok(verifier)
}

fn show(context: &Context, from: From, verifier: Verifier, scope: &Scope) -> Result<Exit> {
    let verdict = Verdict::of(from, verifier);
    match context.out.form {
        Form::Json => context.out.json(&verdict)?,
        Form::Ids => {
            for broken in &verdict.broken {
                context
                    .out
                    .line(format!("{}/{}", broken.workspace_id, broken.run_id))?;
            }
        }
        Form::Table => {
            let mut table = Table::new(&["RUN", "SEQ", "EVENT", "MESSAGE", "IN", "WHAT"]);
            for broken in &verdict.broken {
                table.row(vec![
                    format!("{}/{}", broken.workspace_id, broken.run_id).into(),
                    broken.seq.to_string().into(),
                    broken.event_id.as_str().into(),
                    broken.stream_sequence.to_string().into(),
                    broken.found_in.into(),
                    (&broken.what).into(),
                ]);
            }
            if !table.is_empty() {
                context.out.table(&table)?;
            }
        }
    }
    let looked_at = format!("{} events of {} chains", verdict.events, verdict.runs);
    let later = match verdict.not_projected {
        0 => String::new(),
        count => format!(", {count} of them not in Postgres yet"),
    };
    let place = match from {
        From::Stream => "the stream",
        From::Postgres => "Postgres",
        From::Both => "the stream and Postgres",
    };
    match scope {
        Scope::Run(run) if verdict.events == 0 => {
            return Err(crate::run::not_found(run));
        }
        _ if verdict.ok => eprintln!("{place}: {looked_at} are as they were written{later}"),
        _ => eprintln!(
            "{place}: {} of {looked_at} are broken{later}{}",
            verdict.broken_total,
            escaped(
                if verdict.broken_total > u64::try_from(MOST_TOLD).unwrap_or(u64::MAX) {
                    "; the first hundred are told"
                } else {
                    ""
                }
            )
        ),
    }
    Ok(if verdict.ok { Exit::Ok } else { Exit::No })
}
