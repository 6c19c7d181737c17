//! `gatewright worker`: the role that takes runs and executes allowed calls; `worker list`: which of them there are.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use clap::{Args, Subcommand};
use gatewright_bus::{Credentials, clock, layout::LayoutError, presence::Sighting, retry::Retry};
use gatewright_policy::DocumentFaults;
use gatewright_worker::{
    Worker, WorkerConfig,
    declared::DeclaredTools,
    egress::{self, Gateway},
    sandbox::{self, Sandbox},
    tool::{Registry, UnusableTool},
};

use crate::{
    context::Context,
    exit::{Exit, Failure},
    out::{Cell, Table, span},
    role,
    settings::{RoleFlags, Settings, WorkerFlags},
    signal,
};

/// What holds where the system bounds nothing: a fact of this machine, and what to do.
pub const MEMORY_IS_NOT_BOUND: &str = "their memory is looked at some times a second and not bounded by the system: run the worker where its cgroup has a limit (MemoryMax= of a systemd service, --memory of a container), which holds for its commands, too";

/// Take runs of some zones until told to stop; or list the workers.
///
/// At SIGTERM or Ctrl-C it takes no more runs, finishes or hands back those that it holds, and signs off.
/// Its name stands in every event that it writes; left out, it is made of the machine's and something random.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct WorkerArgs {
    #[command(subcommand)]
    pub(crate) verb: Option<WorkerVerb>,
    #[command(flatten)]
    pub(crate) worker: WorkerFlags,
    #[command(flatten)]
    pub(crate) role: RoleFlags,
}

/// What can be asked about workers.
#[derive(Debug, Subcommand)]
pub enum WorkerVerb {
    /// Every worker that signed on, and when it was last heard of
    List,
}

/// Runs it, or answers.
pub async fn run(context: Context, args: WorkerArgs) -> Result<Exit> {
    match args.verb {
        Some(WorkerVerb::List) => list(&context).await,
        None => Box::pin(work(context)).await,
    }
}

async fn work(context: Context) -> Result<Exit> {
    let metrics = context.settings.metrics;
    let shutdown = signal::shutdown();
    let settings = context.settings.worker.clone();
    let gateway = Arc::new(Gateway::new(egress::Settings {
        extra_authorities: settings.egress_authorities,
        ..egress::Settings::default()
    })?);
    let declared = declared(&context.settings)?;
    let sandbox = sandbox_beside(&context.settings, declared.as_ref());
    // Its own drain, and the time to sign off.
    let patience = settings.drain_patience + role::STOP_PATIENCE;
    let config = WorkerConfig {
        zones: settings.zones,
        concurrency: settings.concurrency,
        drain_patience: settings.drain_patience,
        max_crashes: settings.max_crashes,
    };
    let name = role::own_name("worker")?;
    let Some(fleet) = role::join(&context, &name, &shutdown).await? else {
        return Ok(Exit::Ok);
    };
    let instance = fleet.writer().clone();
    match sandbox.check().await {
        Ok(()) => match sandbox::memory_bound() {
            Some(bytes) => {
                tracing::info!(
                    memory_bound = bytes,
                    "commands can be executed in a sandbox"
                );
            }
            None => {
                tracing::warn!("commands can be executed in a sandbox, but {MEMORY_IS_NOT_BOUND}");
            }
        },
        Err(unavailable) => {
            tracing::warn!(remedy = %unavailable.remedy, "{unavailable}; calls that execute commands will fail");
        }
    }
    let joining = Retry::for_servers().run("joining the workers", may_come, || async {
        let mut registry = Registry::standard_in(Arc::clone(&gateway), Arc::clone(&sandbox))?;
        for tool in declared
            .iter()
            .flat_map(|tools| tools.tools(&sandbox, Some(&fleet)))
        {
            registry.add(tool)?;
        }
        Ok::<_, JoinError>(Worker::join(fleet.clone(), registry, config.clone()).await?)
    });
    let Some(worker) = shutdown.run_until_cancelled(joining).await else {
        return Ok(Exit::Ok);
    };
    let worker = worker?;
    let until = shutdown.clone();
    let looked_at = worker.clone();
    let work = async move {
        worker.run(until).await;
        Ok(())
    };
    role::supervise(
        metrics,
        "worker",
        &instance,
        move || looked_at.is_alive(),
        work,
        shutdown,
        patience,
    )
    .await
}

/// Why a worker cannot join.
#[derive(Debug, thiserror::Error)]
enum JoinError {
    #[error(transparent)]
    Tool(#[from] UnusableTool),
    #[error(transparent)]
    Fleet(#[from] LayoutError),
}

/// Whether waiting can help: the server comes back, or a dispatcher makes the fleet's streams.
fn may_come(error: &JoinError) -> bool {
    match error {
        JoinError::Tool(_) => false,
        JoinError::Fleet(error) => {
            error.is_transient() || matches!(error, LayoutError::Missing { .. })
        }
    }
}

/// The tools of this program, outside a worker: to show them, and to explain what the gate would say of a call.
pub fn registry(settings: &Settings) -> Result<Registry> {
    let mut registry = own_registry()?;
    if let Some(tools) = declared(settings)? {
        for tool in tools.tools(&sandbox(settings), None) {
            registry.add(tool)?;
        }
    }
    Ok(registry)
}

/// The tools that this program has without anybody's doing.
fn own_registry() -> Result<Registry> {
    let gateway = Gateway::new(egress::Settings::default())?;
    Ok(Registry::standard(Arc::new(gateway))?)
}

/// The sandbox that these settings make.
pub fn sandbox(settings: &Settings) -> Arc<Sandbox> {
    sandbox_beside(settings, None)
}

/// The same, where the programs of the user's own tools are not to be changed by a command.
fn sandbox_beside(settings: &Settings, tools: Option<&DeclaredTools>) -> Arc<Sandbox> {
    let programs = tools.into_iter().flat_map(DeclaredTools::programs);
    Arc::new(Sandbox::new(sandbox::Settings {
        dir: settings.worker.sandbox_dir.clone(),
        own: own_paths(settings)
            .into_iter()
            .chain(programs.map(Path::to_owned))
            .collect(),
    }))
}

/// What is a worker's own on its machine: what it reads, what it is, and where its user's own programs look for theirs.
fn own_paths(settings: &Settings) -> Vec<PathBuf> {
    let worker = &settings.worker;
    let mut own = Vec::new();
    own.extend(settings.file.clone());
    own.extend(
        settings
            .nats_credentials
            .as_ref()
            .map(Credentials::file)
            .map(Path::to_owned),
    );
    own.extend(crate::health::file());
    own.extend(worker.egress_authorities.clone());
    own.extend(worker.tools.clone());
    // Beside it are the seeds and the data of the servers.
    own.extend(
        settings
            .from_dev
            .as_deref()
            .and_then(Path::parent)
            .map(Path::to_owned),
    );
    own.extend(std::env::current_exe().ok());
    if let Some(home) = std::env::home_dir() {
        own.extend([home.join(".ssh"), home.join(".config")]);
    }
    own
}

/// The tools of the file that the settings name.
pub fn declared(settings: &Settings) -> Result<Option<DeclaredTools>> {
    let Some(file) = &settings.worker.tools else {
        return Ok(None);
    };
    let tools = read_tools(file, settings)?.map_err(|faults| {
        let told: Vec<String> = faults
            .0
            .iter()
            .map(|fault| format!("\n  {fault}"))
            .collect();
        Failure::usage(format!(
            "`{}` cannot be used:{}",
            file.display(),
            told.concat()
        ))
    })?;
    Ok(Some(tools))
}

/// Reads a file of the user's own tools, or tells everything that is wrong with it.
pub fn read_tools(
    file: &Path,
    settings: &Settings,
) -> Result<std::result::Result<DeclaredTools, DocumentFaults>> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("cannot read `{}`: {error}", file.display())))?;
    let own = own_registry()?;
    let taken: Vec<&str> = own.definitions().map(|tool| tool.name.as_str()).collect();
    let beside = file.parent().unwrap_or(Path::new(""));
    Ok(DeclaredTools::read(
        &text,
        beside,
        &taken,
        settings.names.prefix(),
    ))
}

async fn list(context: &Context) -> Result<Exit> {
    let fleet = context.fleet().await?;
    let mut workers: Vec<Sighting> = fleet
        .list_workers()
        .await?
        .into_iter()
        .map(|heartbeat| Sighting::at(clock::now(), heartbeat))
        .collect();
    workers.sort_by(|a, b| a.heartbeat.worker_id.cmp(&b.heartbeat.worker_id));
    context.out.list(
        &workers,
        None,
        |worker| worker.heartbeat.worker_id.to_string(),
        table,
    )?;
    Ok(Exit::Ok)
}

fn table(workers: &[Sighting]) -> Table {
    let mut table = Table::new(&["WORKER", "STATE", "SEEN", "RUNS", "ZONES", "UP", "VERSION"]);
    for worker in workers {
        let heartbeat = &worker.heartbeat;
        let zones: Vec<&str> = heartbeat.zones.iter().map(|zone| zone.as_str()).collect();
        table.row(vec![
            heartbeat.worker_id.as_str().into(),
            Cell::word(worker.state),
            format!("{} ago", span(Duration::from_millis(worker.age_ms))).into(),
            format!("{}/{}", heartbeat.busy, heartbeat.slots).into(),
            zones.join(",").into(),
            span(clock::now().since(heartbeat.started_at)).into(),
            (&heartbeat.version).into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{CommonFlags, Flags, ToolFlags};

    #[test]
    fn what_a_worker_reads_is_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (seed, tools) = (file("worker.nk", ""), file("tools.toml", ""));
        let authorities = file("authorities.pem", "");
        let config = file(
            "gatewright.toml",
            &format!("egress_authorities = {authorities:?}\n"),
        );
        let text = |path: &Path| Some(path.to_str().unwrap().to_owned());
        let flags = Flags {
            common: CommonFlags {
                config: text(&config),
                nats_nkey: text(&seed),
                ..CommonFlags::default()
            },
            worker: WorkerFlags {
                tools: ToolFlags {
                    tools: text(&tools),
                },
                ..WorkerFlags::default()
            },
            ..Flags::default()
        };
        let own = own_paths(&Settings::read(&flags).unwrap());
        for path in [
            seed,
            tools,
            authorities,
            config,
            std::env::current_exe().unwrap(),
        ] {
            assert!(own.contains(&path), "{path:?}: {own:?}");
        }
    }
}
