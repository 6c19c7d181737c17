//! A private nats-server with JetStream.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::binaries::{Binaries, is_supported_nats_version};
use crate::error::{SignalError, StartError};
use crate::lock::Lock;
use crate::log::Log;
use crate::ports::free_port;
use crate::probe;
use crate::process::{self, Farewell, Process};

const SERVER: &str = "nats-server";
/// Long enough for a store of many gigabytes to be recovered.
const START_PATIENCE: Duration = Duration::from_mins(1);
const STOP_PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);
/// How often another port is tried when the one just found free is taken by somebody quicker.
const PORT_ATTEMPTS: u32 = 10;

/// SIGTERM: it flushes its store.
const FAREWELL: Farewell = Farewell {
    signal: Signal::TERM,
    name: "TERM",
    patience: Duration::from_secs(10),
};

/// When JetStream writes are synced to the disk (`sync_interval`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncInterval {
    /// Before every acknowledgement.
    Always,
    /// At this interval: a power cut may lose that much, a crash of the server loses nothing.
    Every(Duration),
}

/// Membership of a cluster; [`NatsCluster`](crate::NatsCluster) fills this in.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The cluster's name, the same on every node.
    pub name: String,
    /// The loopback port for the other nodes.
    pub port: u16,
    /// The route ports of all nodes; a server's own may be among them.
    pub routes: Vec<u16>,
}

/// How a nats-server is to run.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// Its directory: configuration, log, lock and the JetStream store. Made when it is not there.
    pub data_dir: PathBuf,
    /// Its `server_name`, by which it is recognized: letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// When writes are synced.
    pub sync: SyncInterval,
    /// The client port on 127.0.0.1; `None` takes a free one.
    pub port: Option<u16>,
    /// The cluster that it belongs to.
    pub cluster: Option<ClusterOptions>,
    /// More configuration, in the server's own syntax, appended as it is.
    pub extra_config: String,
}

impl NatsOptions {
    /// A lone server on a free port that syncs every 100 ms.
    pub fn new(data_dir: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        Self {
            data_dir: data_dir.into(),
            name: name.into(),
            sync: SyncInterval::Every(Duration::from_millis(100)),
            port: None,
            cluster: None,
            extra_config: String::new(),
        }
    }
}

/// A nats-server that this process started; dropping it ends it.
#[derive(Debug)]
pub struct NatsServer {
    program: PathBuf,
    options: NatsOptions,
    lock: Lock,
    port: u16,
    monitor_port: u16,
    version: String,
    process: Process,
}

impl NatsServer {
    /// Starts the server and waits until it is ready: listening, recovered, and by its own name.
    ///
    /// A server in a cluster is ready when it listens;
    /// [`NatsCluster`](crate::NatsCluster) waits for the rest.
    pub async fn start(binaries: &Binaries, mut options: NatsOptions) -> Result<Self, StartError> {
        check_name(&options.name)?;
        options.data_dir = make_folder(&options.data_dir)?;
        let lock = Lock::take(SERVER, &options.data_dir)?;
        let program = binaries.nats_server.clone();

        let mut attempt = 1;
        loop {
            let port = match options.port {
                Some(port) => port,
                None => pick_port(&options.data_dir)?,
            };
            let monitor_port = pick_port(&options.data_dir)?;
            match launch(&program, &options, &lock, port, monitor_port).await {
                Ok((process, version)) => {
                    return Ok(Self {
                        program,
                        options,
                        lock,
                        port,
                        monitor_port,
                        version,
                        process,
                    });
                }
                Err(error)
                    if error.is_port_taken()
                        && options.port.is_none()
                        && options.cluster.is_none()
                        && attempt < PORT_ATTEMPTS =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Where clients connect: `nats://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Where it is monitored: `http://127.0.0.1:<port>`.
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor_port)
    }

    /// The client port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its `server_name`.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// The version that it reports, such as `2.15.1`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its log file, which lasts over restarts.
    pub fn log_path(&self) -> PathBuf {
        log_path(&self.options.data_dir)
    }

    /// The process id of the current process, or of the last one when it is not running.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether its process is there (suspended counts as there).
    pub fn is_running(&self) -> bool {
        self.process.status().is_none()
    }

    /// SIGTERM, and SIGKILL after 20 s. A server that has ended already is left as it is.
    pub async fn stop(&mut self) -> Result<ExitStatus, SignalError> {
        self.process.stop(Signal::TERM, STOP_PATIENCE).await
    }

    /// SIGKILL.
    pub async fn kill(&mut self) -> Result<ExitStatus, SignalError> {
        self.process.kill().await
    }

    /// Stops it if it runs, and starts it again on the same ports with the same data.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        // A signal that fails leaves the old process in place, and then the port is taken: said below.
        let _ = self.stop().await;
        let (process, version) = launch(
            &self.program,
            &self.options,
            &self.lock,
            self.port,
            self.monitor_port,
        )
        .await?;
        self.process = process;
        self.version = version;
        Ok(())
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn suspend(&self) -> Result<(), SignalError> {
        self.process.suspend()
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<(), SignalError> {
        self.process.resume()
    }

    /// Resolves when the current process ends, for whatever reason. Borrows nothing, so it can be
    /// awaited beside everything else.
    pub fn wait_exit(&self) -> impl Future<Output = ExitStatus> + Send + use<> {
        self.process.ended()
    }

    pub(crate) fn monitor_port(&self) -> u16 {
        self.monitor_port
    }

    pub(crate) fn not_ready(&self, after: Duration, waiting_for: String) -> StartError {
        StartError::NotReady {
            server: SERVER,
            after,
            waiting_for,
            log: self.log_path(),
            tail: Log::tail_of(&self.log_path()),
        }
    }
}

/// Starts the process and waits until it is ready. Gives back the process and its version.
async fn launch(
    program: &Path,
    options: &NatsOptions,
    lock: &Lock,
    port: u16,
    monitor_port: u16,
) -> Result<(Process, String), StartError> {
    let config_path = options.data_dir.join("nats.conf");
    std::fs::write(&config_path, config(options, port, monitor_port))
        .map_err(StartError::file("write", &config_path))?;
    let run_dir = run_dir(&options.data_dir);
    // A killed server leaves its port file behind, and pids come around again.
    let _ = std::fs::remove_dir_all(&run_dir);
    std::fs::create_dir(&run_dir).map_err(StartError::file("create", &run_dir))?;

    let log_path = log_path(&options.data_dir);
    let (log, output) = Log::open(&log_path).map_err(StartError::file("open", &log_path))?;
    let spawn = || -> io::Result<Process> {
        let mut command = process::command(program, FAREWELL);
        command.arg("--config").arg(&config_path);
        command.current_dir(&options.data_dir);
        command.stdin(lock.share()?);
        command.stdout(output.try_clone()?).stderr(output);
        let process = Process::spawn(SERVER, FAREWELL, command)?;
        lock.record(process.pid())?;
        Ok(process)
    };
    let process = spawn().map_err(|source| StartError::Spawn {
        program: program.to_owned(),
        source,
    })?;

    let started = Instant::now();
    loop {
        if let Some(status) = process.status() {
            return Err(StartError::Ended {
                server: SERVER,
                status,
                tail: log.tail(),
                log: log_path,
            });
        }
        let waiting_for = match progress(&process, options, port, monitor_port).await? {
            Progress::Ready { version } => return Ok((process, version)),
            Progress::WaitingFor(what) => what,
        };
        if started.elapsed() > START_PATIENCE {
            return Err(StartError::NotReady {
                server: SERVER,
                after: START_PATIENCE,
                waiting_for,
                tail: log.tail(),
                log: log_path,
            });
        }
        tokio::time::sleep(POLL).await;
    }
}

enum Progress {
    Ready { version: String },
    WaitingFor(String),
}

async fn progress(
    process: &Process,
    options: &NatsOptions,
    port: u16,
    monitor_port: u16,
) -> Result<Progress, StartError> {
    // Written when all listeners are bound, with the pid in its name: so it is really ours that
    // listens, and not another server on the port that ours failed to get.
    if !wrote_ports(&run_dir(&options.data_dir), process.pid()) {
        return Ok(Progress::WaitingFor("its ports".to_owned()));
    }
    let info = match probe::nats_info(port).await {
        Ok(info) => info,
        Err(error) => return Ok(Progress::WaitingFor(format!("its greeting: {error}"))),
    };
    if info.server_name != options.name {
        return Err(StartError::WrongServer {
            address: format!("127.0.0.1:{port}"),
            expected: options.name.clone(),
            found: info.server_name,
        });
    }
    if !is_supported_nats_version(&info.version) {
        return Err(StartError::TooOld {
            found: info.version,
        });
    }
    if options.cluster.is_none() {
        match probe::is_healthy(monitor_port).await {
            Ok(true) => {}
            Ok(false) => return Ok(Progress::WaitingFor("its health".to_owned())),
            Err(error) => return Ok(Progress::WaitingFor(format!("its health: {error}"))),
        }
    }
    Ok(Progress::Ready {
        version: info.version,
    })
}

/// Whether the server has written the file that says where it listens (`<program>_<pid>.ports`).
fn wrote_ports(run_dir: &Path, pid: u32) -> bool {
    let ending = format!("_{pid}.ports");
    std::fs::read_dir(run_dir).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().ends_with(&ending))
    })
}

fn run_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("run")
}

fn log_path(data_dir: &Path) -> PathBuf {
    data_dir.join("nats.log")
}

/// The configuration file.
fn config(options: &NatsOptions, port: u16, monitor_port: u16) -> String {
    let name = &options.name;
    let store = quoted(&options.data_dir.join("jetstream"));
    let run_dir = quoted(&run_dir(&options.data_dir));
    let sync = match options.sync {
        SyncInterval::Always => "always".to_owned(),
        SyncInterval::Every(interval) => format!("\"{}ms\"", interval.as_millis().max(1)),
    };
    let cluster = options
        .cluster
        .as_ref()
        .map_or_else(String::new, cluster_config);
    let extra = &options.extra_config;
    // The store may grow as far as the disk lets it: a limit of the server's own would only be met
    // earlier, and its default depends on what happens to be free at the start.
    format!(
        "# Written at every start; a change made here does not last.\n\
         server_name: \"{name}\"\n\
         listen: \"127.0.0.1:{port}\"\n\
         http: \"127.0.0.1:{monitor_port}\"\n\
         ports_file_dir: {run_dir}\n\
         jetstream {{\n  store_dir: {store}\n  sync_interval: {sync}\n  \
         max_mem: 1GB\n  max_file: 1TB\n}}\n\
         {cluster}{extra}\n"
    )
}

fn cluster_config(cluster: &ClusterOptions) -> String {
    let ClusterOptions { name, port, routes } = cluster;
    let routes: Vec<String> = routes
        .iter()
        .map(|port| format!("\"nats-route://127.0.0.1:{port}\""))
        .collect();
    let routes = routes.join(", ");
    format!(
        "cluster {{\n  name: \"{name}\"\n  listen: \"127.0.0.1:{port}\"\n  routes: [{routes}]\n}}\n"
    )
}

/// A path as a string of the configuration language, which escapes as JSON does.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}

fn check_name(name: &str) -> Result<(), StartError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && name.chars().all(allowed) {
        return Ok(());
    }
    Err(StartError::BadSetting {
        setting: "server name",
        value: name.to_owned(),
        why: "it may only have letters, digits, `-`, `_` and `.`, and must have one",
    })
}

/// Makes a folder and gives back its absolute path.
pub(crate) fn make_folder(path: &Path) -> Result<PathBuf, StartError> {
    std::fs::create_dir_all(path).map_err(StartError::file("create", path))?;
    path.canonicalize().map_err(StartError::file("find", path))
}

pub(crate) fn pick_port(data_dir: &Path) -> Result<u16, StartError> {
    free_port().map_err(StartError::file("find a free port for", data_dir))
}
