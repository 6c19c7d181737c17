//! `gatewright dev`: a whole fleet on this machine, in one command.

use std::{path::PathBuf, time::Instant};

use anyhow::Result;
use clap::Args;
use gatewright_worker::declared::DeclaredTools;
use serde::Serialize;

use crate::{
    context::Context,
    exit::{Exit, Failure},
    out::span,
    private::{FIRST_POLICY, Kind, Place, Plan, PrivateFleet},
    signal,
};

/// Where the data is unless `--data` says otherwise; also where other commands look for it.
const DATA: &str = ".gatewright/dev";

/// Run a whole fleet on this machine: a private nats-server and Postgres, a dispatcher, workers and a projector.
///
/// Ready in seconds. Ctrl-C drains and stops all of it; the next start goes on with the data of this one.
/// While it runs, other commands that are started in the same directory use it when they are told of no servers.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// How many workers
    #[arg(long, default_value_t = 2, value_name = "N")]
    workers: usize,
    /// Runs that each worker moves at once
    #[arg(long, default_value_t = 64, value_name = "N")]
    concurrency: usize,
    /// The data directory
    #[arg(long, default_value = DATA, value_name = "DIR")]
    data: PathBuf,
    /// A throw-away data directory
    #[arg(long, conflicts_with = "data")]
    ephemeral: bool,
    /// The policy to begin with, when none is active yet; the default policy when left out
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// Runs it until it is told to stop, or until a part of it ends.
pub async fn run(context: Context, args: DevArgs) -> Result<Exit> {
    let (shutdown, hurry) = signal::shutdown_and_hurry();
    let began = Instant::now();
    let place = if args.ephemeral {
        Place::ephemeral(Kind::Dev)?
    } else {
        Place::open(&args.data, Kind::Dev)?
    };
    let first_policy = match &args.policy {
        None => FIRST_POLICY.to_owned(),
        Some(path) => std::fs::read_to_string(path).map_err(|error| {
            Failure::usage(format!("cannot read `{}`: {error}", path.display()))
        })?,
    };
    let declared = crate::worker::declared(&context.settings)?;
    let plan = Plan {
        workers: args.workers,
        services: declared
            .iter()
            .flat_map(DeclaredTools::subjects)
            .map(str::to_owned)
            .collect(),
        concurrency: args.concurrency,
        first_policy,
        durable: !args.ephemeral,
    };
    let say = |text: &str| eprintln!("{text}");
    let starting = Box::pin(PrivateFleet::start(place, &plan, say));
    let Some(private) = shutdown.run_until_cancelled(starting).await else {
        return Ok(Exit::Ok);
    };
    let private = private?;
    show(&context, &args, &private, began)?;
    let ended = tokio::select! {
        ended = private.first_end() => Some(ended),
        () = shutdown.cancelled() => None,
    };
    if let Some(ended) = &ended {
        eprintln!("gatewright: {ended}\nthe rest is stopped");
    }
    private.stop(&hurry, say).await;
    Ok(match ended {
        Some(_) => Exit::No,
        None => Exit::Ok,
    })
}

/// Where everything is, as `--json` shows it once the fleet is ready.
#[derive(Debug, Serialize)]
struct Ready<'a> {
    nats_url: &'a str,
    nats_nkey: &'a std::path::Path,
    monitor_url: &'a str,
    database_url: &'a str,
    prefix: &'a str,
    http_url: &'a str,
    data: &'a std::path::Path,
    roles: Vec<Role<'a>>,
    is_new: bool,
    pid: u32,
}

/// A role's process.
#[derive(Debug, Serialize)]
struct Role<'a> {
    name: &'a str,
    pid: u32,
}

fn show(context: &Context, args: &DevArgs, private: &PrivateFleet, began: Instant) -> Result<()> {
    let connection = &private.connection;
    if context.out.is_json() {
        return context.out.json_line(&Ready {
            nats_url: &connection.nats_url,
            nats_nkey: &connection.nats_nkey,
            monitor_url: &connection.monitor_url,
            database_url: &connection.database_url,
            prefix: &connection.prefix,
            http_url: &private.http_url,
            data: private.dir(),
            roles: private
                .processes()
                .into_iter()
                .map(|(name, pid)| Role { name, pid })
                .collect(),
            is_new: private.is_new,
            pid: connection.pid,
        });
    }
    let took = span(began.elapsed());
    let state = if private.is_new {
        "a new fleet, under the default policy"
    } else {
        "going on with the data that was there"
    };
    let dir = private.dir().display();
    let mut lines = vec![
        format!("ready after {took}: {state}"),
        String::new(),
        format!(
            "  NATS      {}  (monitoring {})",
            connection.nats_url, connection.monitor_url
        ),
        format!("  Postgres  {}", connection.database_url),
        format!(
            "  HTTP      {}  (API and dashboard; keys: gatewright key create)",
            private.http_url
        ),
        format!("  roles     {}", private.roles().join(", ")),
        format!("  data      {dir}"),
        format!("  logs      {dir}/logs"),
        String::new(),
    ];
    let found_by_itself = !args.ephemeral && args.data.as_os_str() == DATA;
    lines.push(if found_by_itself {
        "In this directory the other commands find it by themselves. Elsewhere:".into()
    } else {
        "For the other commands:".into()
    });
    lines.extend([
        String::new(),
        format!("  export NATS_URL='{}'", connection.nats_url),
        format!("  export NATS_NKEY='{}'", connection.nats_nkey.display()),
        format!("  export DATABASE_URL='{}'", connection.database_url),
        String::new(),
        "Try:".into(),
        String::new(),
        "  echo '{}' | gatewright run submit --wait".into(),
        "  gatewright run list".into(),
        "  gatewright doctor".into(),
        String::new(),
        "Ctrl-C stops it.".into(),
    ]);
    context.out.line(lines.join("\n"))
}
