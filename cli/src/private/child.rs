//! A role as a child process.

use std::{
    fmt,
    fs::OpenOptions,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures::{FutureExt as _, future::BoxFuture};
use gatewright_bus::clock;
use gatewright_schemas::Timestamp;
use tokio::{
    process::{ChildStdin, Command},
    sync::{mpsc, watch},
};

use crate::{escape::escaped_lines, settings::ConnectionFile, signal::STOP_AT_END_OF_INPUT};

/// How much of a log is quoted.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 16 * 1024;

/// Settings of this process that are none of the roles'.
const NOT_INHERITED: &[&str] = &[
    "NATS_CREDS",
    "NATS_NKEY",
    "GATEWRIGHT_TLS_CA",
    "GATEWRIGHT_TLS_CLIENT_CERT",
    "GATEWRIGHT_TLS_CLIENT_KEY",
    "GATEWRIGHT_CONFIG",
    "GATEWRIGHT_NAME",
    "GATEWRIGHT_PREFIX",
    "GATEWRIGHT_GROUP_COMMIT",
    "GATEWRIGHT_METRICS",
    "GATEWRIGHT_CONCURRENCY",
    "GATEWRIGHT_ZONES",
    "GATEWRIGHT_DRAIN_PATIENCE",
    "GATEWRIGHT_MAX_CRASHES",
    "GATEWRIGHT_HEALTH_FILE",
];

/// What ended that was not asked to, how, and the last of what it logged.
#[derive(Debug, Clone)]
pub struct Ended {
    /// A role's or a server's name.
    pub name: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its log.
    pub log: PathBuf,
    /// The log's last lines.
    pub tail: String,
}

impl Ended {
    /// Quotes the log.
    pub fn new(name: &str, status: ExitStatus, log: &Path) -> Self {
        Self {
            name: name.to_owned(),
            status,
            log: log.to_owned(),
            tail: tail_of(log).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ended ({})", self.name, self.status)?;
        write!(
            f,
            "; the end of `{}`:\n{}",
            self.log.display(),
            escaped_lines(&self.tail)
        )
    }
}

/// A role that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Child {
    name: String,
    log: PathBuf,
    pid: u32,
    spawned_at: Timestamp,
    /// Its end is what tells the role to stop.
    input: Option<ChildStdin>,
    kill: mpsc::Sender<()>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl Child {
    /// Starts this program as a role. Its log is appended to the file.
    pub fn spawn(
        name: &str,
        arguments: &[&str],
        connection: &ConnectionFile,
        nkey: &Path,
        log: &Path,
    ) -> Result<Self> {
        let spawned_at = clock::now();
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write the log `{}`", log.display()))?;
        let program = std::env::current_exe().context("this program does not find itself")?;
        let mut command = Command::new(program);
        command.args(arguments);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        let mut process = command
            .env("NATS_URL", &connection.nats_url)
            .env("NATS_NKEY", nkey)
            .env("DATABASE_URL", &connection.database_url)
            .env("GATEWRIGHT_PREFIX", &connection.prefix)
            .env("GATEWRIGHT_LOG", "text")
            .env("NO_COLOR", "1")
            .env(STOP_AT_END_OF_INPUT, "1")
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let pid = process.id().unwrap_or_default();
        let input = process.stdin.take();
        let (kill, mut killed) = mpsc::channel(1);
        let (announce, ended) = watch::channel(None);
        tokio::spawn(async move {
            let status = tokio::select! {
                status = process.wait() => status,
                // Also when the sender is dropped.
                _ = killed.recv() => {
                    let _ = process.start_kill();
                    process.wait().await
                }
            };
            announce.send_replace(status.ok());
        });
        Ok(Self {
            name: name.to_owned(),
            log: log.to_owned(),
            pid,
            spawned_at,
            input,
            kill,
            ended,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it is a worker.
    pub fn is_worker(&self) -> bool {
        self.name.starts_with("worker")
    }

    /// Whether something that began at `at` can be this process's doing.
    pub fn has_been_up_since(&self, at: Timestamp) -> bool {
        self.is_worker() && at >= self.spawned_at
    }

    /// Resolves when it ends.
    pub fn ended(&self) -> BoxFuture<'static, Ended> {
        let (name, log) = (self.name.clone(), self.log.clone());
        let ended = self.wait();
        async move { Ended::new(&name, ended.await, &log) }.boxed()
    }

    fn wait(&self) -> impl Future<Output = ExitStatus> + Send + use<> {
        let mut ended = self.ended.clone();
        async move {
            loop {
                if let Some(status) = *ended.borrow_and_update() {
                    return status;
                }
                if ended.changed().await.is_err() {
                    // It could not be waited for; nothing more will be known of it.
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Asks it to stop, and kills it when it takes too long.
    pub async fn stop(mut self, patience: Duration) {
        drop(self.input.take());
        if tokio::time::timeout(patience, self.wait()).await.is_err() {
            tracing::warn!(role = %self.name, "did not stop in time and is killed");
            self.kill().await;
        }
    }

    /// SIGKILL.
    pub async fn kill(self) {
        let _ = self.kill.try_send(());
        let _ = tokio::time::timeout(Duration::from_secs(10), self.wait()).await;
    }
}

/// The last lines of a log.
fn tail_of(log: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(log)?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(end.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let skip = lines.len().saturating_sub(TAIL_LINES);
    Ok(lines.into_iter().skip(skip).collect::<Vec<_>>().join("\n"))
}
