//! The fleet under measurement: private servers and the roles as processes of their own, or servers that run already.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::Context as _;
use clap::ValueEnum;
use gatewright_bus::{Connection, Fleet, Names, Tls};
use gatewright_local::{
    Binaries, NatsCluster, NatsOptions, NatsServer, Postgres, PostgresOptions, SyncInterval,
};
use gatewright_schemas::{Command, CommandMessage, Reply, RunId, WorkspaceId, WriterId};
use gatewright_store::Store;
use serde::Serialize;
use tokio::process::{Child, Command as Process};

use super::BenchArgs;
use crate::context::Context;

/// How messages reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// One node that syncs every 100 milliseconds
    Interval,
    /// One node that syncs before it answers
    Always,
    /// Three nodes that sync before they answer
    Cluster,
    /// Whatever the servers that run already do
    #[value(skip)]
    Given,
}

impl std::fmt::Display for Durability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Interval => "one node, synced every 100 ms",
            Self::Always => "one node, synced always",
            Self::Cluster => "three nodes, synced always",
            Self::Given => "servers as given",
        })
    }
}

enum Servers {
    One(Box<NatsServer>),
    Three(NatsCluster),
    Given,
}

/// The policy under which is measured: everything that a no-op meets, and nothing that stops it.
pub const POLICY: &str = include_str!("../../../policy/examples/default.toml");

/// A fleet under measurement.
pub struct BenchFleet {
    pub fleet: Fleet,
    pub store: Store,
    url: String,
    database_url: String,
    servers: Servers,
    postgres: Option<Postgres>,
    dispatcher: Option<Child>,
    projector: Option<Child>,
    pub workers: Vec<(WriterId, Child)>,
    concurrency: usize,
    durability: Durability,
    _data: Option<tempfile::TempDir>,
}

impl BenchFleet {
    /// Starts private servers and every role.
    pub async fn start(args: &BenchArgs, durability: Durability) -> anyhow::Result<Self> {
        let data = tempfile::Builder::new()
            .prefix("gatewright-bench-")
            .tempdir()?;
        let (servers, postgres, url) = start_servers(data.path(), durability).await?;
        let database_url = postgres.url("postgres");
        let mut this = Self {
            fleet: Fleet::connect(&connection(&url, durability)?).await?,
            store: Store::connect(&database_url, gatewright_store::Options::default()).await?,
            url,
            database_url,
            servers,
            postgres: Some(postgres),
            dispatcher: None,
            projector: None,
            workers: Vec::new(),
            concurrency: args.concurrency,
            durability,
            _data: Some(data),
        };
        let replicas = if durability == Durability::Cluster {
            3
        } else {
            1
        };
        this.fleet.provision(replicas).await?;
        gatewright_store::migrate::run(&this.store).await?;
        let replicas = replicas.to_string();
        this.dispatcher = Some(this.role(&[
            "dispatcher",
            "--name",
            "dispatcher-1",
            "--replicas",
            &replicas,
        ])?);
        this.start_projector()?;
        for n in 1..=args.workers {
            this.start_worker(&format!("worker-{n}"))?;
        }
        this.apply_policy(POLICY).await?;
        Ok(this)
    }

    /// The fleet that runs already, as the settings name it.
    pub async fn running(context: &Context) -> anyhow::Result<Self> {
        Ok(Self {
            fleet: context.fleet().await?,
            store: context.store().await?,
            url: String::new(),
            database_url: String::new(),
            servers: Servers::Given,
            postgres: None,
            dispatcher: None,
            projector: None,
            workers: Vec::new(),
            concurrency: 0,
            durability: Durability::Given,
            _data: None,
        })
    }

    fn role(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        let mut process = Process::new(std::env::current_exe()?);
        process
            .args(arguments)
            .env("NATS_URL", &self.url)
            .env("DATABASE_URL", &self.database_url)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        if self.durability == Durability::Always && arguments.first() != Some(&"projector") {
            process.arg("--group-commit");
        }
        process.spawn().context("cannot start a role of the fleet")
    }

    pub fn start_projector(&mut self) -> anyhow::Result<()> {
        self.projector = Some(self.role(&["projector", "--name", "projector-1"])?);
        Ok(())
    }

    pub async fn stop_projector(&mut self) -> anyhow::Result<()> {
        if let Some(mut projector) = self.projector.take() {
            projector.kill().await?;
        }
        Ok(())
    }

    fn start_worker(&mut self, name: &str) -> anyhow::Result<()> {
        let concurrency = self.concurrency.to_string();
        let child = self.role(&["worker", "--name", name, "--concurrency", &concurrency])?;
        self.workers.push((WriterId::new(name)?, child));
        Ok(())
    }

    pub async fn apply_policy(&self, document: &str) -> anyhow::Result<()> {
        let message = CommandMessage {
            issued_by: "bench".into(),
            command: Command::ApplyPolicy {
                document: document.to_owned(),
            },
        };
        let (workspace, run) = (WorkspaceId::fleet(), RunId::authority());
        match self
            .fleet
            .command(&workspace, &run, &message, Duration::from_secs(30))
            .await?
        {
            Reply::Accepted { .. } => Ok(()),
            Reply::Refused { reason, .. } => anyhow::bail!("the policy was refused: {reason}"),
        }
    }

    /// Processor time that all processes of the fleet have used so far; absent where it cannot be told.
    pub fn processor_time(&self) -> Option<Duration> {
        let mut roots: Vec<u32> = self
            .workers
            .iter()
            .filter_map(|(_, child)| child.id())
            .collect();
        roots.extend(
            [&self.dispatcher, &self.projector]
                .into_iter()
                .flatten()
                .filter_map(Child::id),
        );
        roots.extend(self.postgres.as_ref().map(Postgres::pid));
        match &self.servers {
            Servers::One(server) => roots.push(server.pid()),
            Servers::Three(cluster) => roots.extend(cluster.nodes().iter().map(NatsServer::pid)),
            Servers::Given => return None,
        }
        processor_time_of(&roots)
    }

    /// Memory that the largest worker has in use, in megabytes; absent where it cannot be told.
    pub fn worker_resident_mb(&self) -> Option<f64> {
        let resident = |pid: u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()
        };
        let workers = self.workers.iter().filter_map(|(_, child)| child.id());
        workers
            .filter_map(resident)
            .max_by(f64::total_cmp)
            .map(|kilobytes| kilobytes / 1024.0)
    }

    /// Memory that each process of the fleet has in use, its children's included; of no process where it cannot be told.
    pub fn memory(&self) -> Vec<Memory> {
        let mut roots: Vec<(String, u32)> = Vec::new();
        match &self.servers {
            Servers::One(server) => roots.push(("nats-server".into(), server.pid())),
            Servers::Three(cluster) => roots.extend(
                (1..)
                    .zip(cluster.nodes())
                    .map(|(n, node)| (format!("nats-server {n}"), node.pid())),
            ),
            Servers::Given => {}
        }
        roots.extend(self.postgres.iter().map(|p| ("postgres".into(), p.pid())));
        let role = |name: &str, child: &Child| Some((name.to_owned(), child.id()?));
        let dispatcher = self.dispatcher.iter();
        roots.extend(dispatcher.filter_map(|child| role("dispatcher", child)));
        let projector = self.projector.iter();
        roots.extend(projector.filter_map(|child| role("projector", child)));
        let workers = self.workers.iter();
        roots.extend(workers.filter_map(|(name, child)| role(name.as_str(), child)));
        let measured = |(process, pid)| Some(Memory::of(process, &family_of(pid)?));
        roots.into_iter().filter_map(measured).collect()
    }

    pub async fn stop(mut self) {
        let roles = self.workers.iter_mut().map(|(_, child)| child);
        for child in roles.chain(&mut self.dispatcher).chain(&mut self.projector) {
            let _ = child.kill().await;
        }
        self.store.close().await;
    }
}

async fn start_servers(
    data: &Path,
    durability: Durability,
) -> anyhow::Result<(Servers, Postgres, String)> {
    let binaries = Binaries::find()?;
    let postgres = Postgres::start(
        &binaries,
        PostgresOptions {
            data_dir: data.join("postgres"),
            port: None,
            durable: true,
        },
    )
    .await?;
    let (servers, url) = if durability == Durability::Cluster {
        let cluster =
            NatsCluster::start(&binaries, data.join("nats"), SyncInterval::Always).await?;
        let url = cluster.url();
        (Servers::Three(cluster), url)
    } else {
        let mut options = NatsOptions::new(data.join("nats"), "gatewright-bench");
        if durability == Durability::Always {
            options.sync = SyncInterval::Always;
        }
        let server = NatsServer::start(&binaries, options).await?;
        let url = server.url();
        (Servers::One(Box::new(server)), url)
    };
    Ok((servers, postgres, url))
}

fn connection(url: &str, durability: Durability) -> anyhow::Result<Connection> {
    Ok(Connection {
        url: url.to_owned(),
        writer: WriterId::new("bench")?,
        names: Names::default(),
        credentials: None,
        tls: Tls::default(),
        group_commit: durability == Durability::Always,
    })
}

/// Memory of one process of the fleet.
#[derive(Debug, Clone)]
pub struct Memory {
    pub process: String,
    pub mb: f64,
}

impl Memory {
    /// What these processes have in use together; what they share is counted once.
    fn of(process: String, pids: &[u32]) -> Self {
        let proportional = |pid: &u32| {
            let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()
        };
        let kilobytes: f64 = pids.iter().filter_map(proportional).sum();
        Self {
            process,
            mb: kilobytes / 1024.0,
        }
    }
}

fn family_of(root: u32) -> Option<Vec<u32>> {
    let processes = processes()?;
    Some(descendants(&[root], &processes))
}

/// Processor time of processes and of all that descend from them, ended ones that were waited for included.
fn processor_time_of(roots: &[u32]) -> Option<Duration> {
    /// Linux counts in hundredths of a second towards user space, whatever the kernel's own rate is.
    const TICKS_PER_SECOND: u64 = 100;
    let processes = processes()?;
    let family = descendants(roots, &processes);
    let ticks: u64 = processes
        .iter()
        .filter(|process| family.contains(&process.pid))
        .map(|process| process.ticks)
        .sum();
    Some(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
}

struct ProcessStat {
    pid: u32,
    parent: u32,
    ticks: u64,
}

/// The processes and all that descend from them.
fn descendants(roots: &[u32], processes: &[ProcessStat]) -> Vec<u32> {
    let mut family: Vec<u32> = roots.to_vec();
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        next += 1;
        let children = processes.iter().filter(|process| process.parent == parent);
        family.extend(children.map(|process| process.pid));
    }
    family
}

/// Every process of this machine; none where there is no `/proc`.
fn processes() -> Option<Vec<ProcessStat>> {
    let mut processes = Vec::new();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // The name in parentheses may hold anything; what follows it are numbers.
        let Some((_, numbers)) = stat.rsplit_once(')') else {
            continue;
        };
        let numbers: Vec<&str> = numbers.split_whitespace().collect();
        let number = |index: usize| {
            numbers
                .get(index)
                .and_then(|text| text.parse::<u64>().ok())
                .unwrap_or(0)
        };
        processes.push(ProcessStat {
            pid,
            parent: u32::try_from(number(1)).unwrap_or(0),
            ticks: (11..=14).map(number).sum(),
        });
    }
    Some(processes)
}
