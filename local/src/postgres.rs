//! A private Postgres server.

use std::fs;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, test_kill_process};

use crate::binaries::{Binaries, postgres_version};
use crate::error::{SignalError, StartError};
use crate::lock::Lock;
use crate::log::Log;
use crate::nats::{make_folder, pick_port};
use crate::placement::Placement;
use crate::process::{self, Farewell, Process};
use crate::template::{Creation, SUPERUSER};
use crate::user::{self, User};

const SERVER: &str = "Postgres";
/// Long enough for crash recovery of a busy server.
const START_PATIENCE: Duration = Duration::from_mins(2);
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// How long the processes of a dead postmaster may take to end as well.
const REMAINS_PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);
const PORT_ATTEMPTS: u32 = 10;

/// SIGINT, the fast shutdown: sessions are cut off, everything is written.
const KEEP: Farewell = Farewell {
    signal: Signal::INT,
    name: "INT",
    patience: Duration::from_secs(15),
};
/// SIGQUIT, the immediate shutdown: like a crash, but shared memory is given back.
const LOSE: Farewell = Farewell {
    signal: Signal::QUIT,
    name: "QUIT",
    patience: Duration::from_secs(5),
};

/// For data that is to last: the server's own defaults where durability is concerned.
const DURABLE_SETTINGS: &[&str] = &[
    "shared_buffers=256MB",
    "max_wal_size=2GB",
    "checkpoint_timeout=10min",
];

/// For data that may be lost, such as a test's: as fast as it gets.
const FAST_SETTINGS: &[&str] = &[
    "shared_buffers=64MB",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=2GB",
    "checkpoint_timeout=1h",
    // In the data directory, and so removed with it, also after a SIGKILL.
    "dynamic_shared_memory_type=mmap",
];

const COMMON_SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    // A socket's path may have about 100 bytes; a data directory's may have more.
    "unix_socket_directories=",
    "max_connections=200",
    "jit=off",
    "timezone=UTC",
    "log_timezone=UTC",
    "logging_collector=off",
    "log_checkpoints=off",
];

/// How a Postgres server is to run.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Its directory: cluster, password, log and lock. Made when it is not there.
    pub data_dir: PathBuf,
    /// The port on 127.0.0.1; `None` takes a free one.
    pub port: Option<u16>,
    /// Whether what is committed survives a power cut. Without it a new cluster is a copy of a
    /// template that is made once, nothing is synced, and dropping the server cuts it off.
    pub durable: bool,
}

/// A Postgres server that this process started; dropping it ends it.
///
/// Its one role is the superuser `gatewright`, with a random password that is kept in the file
/// `password` (mode 0600) of the data directory; it listens on 127.0.0.1 and nowhere else.
///
/// For root it runs as `postgres`, or as `nobody` where there is no such user. The cluster then
/// belongs to that user, who must be able to get to it: where the data directory is closed to him
/// (a checkout in `/root`, a temporary directory of mode 0700), `pgdata` in it is a symbolic link
/// into `/var/lib/gatewright-<random>`, or into `/var/tmp/gatewright-<random>` for a server that is
/// not durable, and that one is removed when the server is dropped.
#[derive(Debug)]
pub struct Postgres {
    launch: Launch,
    port: u16,
    /// Declared before the placement: the process is gone before its files are removed.
    process: Process,
    placement: Cleared,
}

/// All that a start needs and that restarts keep.
#[derive(Debug)]
struct Launch {
    program: PathBuf,
    data_dir: PathBuf,
    pgdata: PathBuf,
    password: String,
    user: Option<User>,
    durable: bool,
    lock: Lock,
}

/// Clears away on drop what lies outside the data directory.
#[derive(Debug)]
struct Cleared(Placement);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.clear_away();
    }
}

impl Postgres {
    /// Starts the server, after creating its cluster when the directory is new, and waits until it
    /// takes connections. A cluster that was not shut down cleanly is recovered first.
    pub async fn start(binaries: &Binaries, options: PostgresOptions) -> Result<Self, StartError> {
        let data_dir = make_folder(&options.data_dir)?;
        let lock = Lock::take(SERVER, &data_dir)?;
        let user = user::to_drop_to()?;
        let placement = Cleared(Placement::find(&data_dir, user.as_ref(), options.durable)?);
        let pgdata = placement.0.pgdata.clone();

        let creating = {
            let (postgres_bin, pgdata) = (binaries.postgres_bin.clone(), pgdata.clone());
            let (user, password_file) = (user.clone(), password_file(&data_dir));
            move || {
                prepare(
                    &postgres_bin,
                    &pgdata,
                    &password_file,
                    user.as_ref(),
                    options.durable,
                )
            }
        };
        tokio::task::spawn_blocking(creating)
            .await
            .map_err(io::Error::other)
            .map_err(StartError::file("create", &pgdata))??;

        let password_file = password_file(&data_dir);
        let launch = Launch {
            program: binaries.postgres_bin.join("postgres"),
            password: fs::read_to_string(&password_file)
                .map_err(StartError::file("read", &password_file))?,
            data_dir,
            pgdata,
            user,
            durable: options.durable,
            lock,
        };
        let (process, port) = launch.on_some_port(options.port).await?;
        Ok(Self {
            launch,
            port,
            process,
            placement,
        })
    }

    /// The connection URL of a database, as its superuser. `postgres` always exists.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}",
            self.launch.password, self.port
        )
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The cluster's directory; for root it may lie outside the data directory.
    pub fn cluster_dir(&self) -> &Path {
        &self.placement.0.pgdata
    }

    /// Its log file, which lasts over restarts.
    pub fn log_path(&self) -> PathBuf {
        self.launch.log_path()
    }

    /// The process id of the current postmaster, or of the last one when it is not running.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether its process is there (suspended counts as there).
    pub fn is_running(&self) -> bool {
        self.process.status().is_none()
    }

    /// The fast shutdown: sessions are cut off, everything is written. Killed after 30 s.
    pub async fn stop(&mut self) -> Result<ExitStatus, SignalError> {
        self.process.stop(Signal::INT, STOP_PATIENCE).await
    }

    /// SIGKILL for the postmaster and every one of its processes.
    pub async fn kill(&mut self) -> Result<ExitStatus, SignalError> {
        self.process.kill().await
    }

    /// Stops it if it runs, and starts it again on the same port with the same data.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        // A signal that fails leaves the old process in place, and the start below says so.
        let _ = self.stop().await;
        self.process = self.launch.on_port(self.port).await?;
        Ok(())
    }

    /// SIGSTOP for all of it: connections stay open and nothing answers.
    pub fn suspend(&self) -> Result<(), SignalError> {
        self.process.suspend()
    }

    /// SIGCONT for all of it.
    pub fn resume(&self) -> Result<(), SignalError> {
        self.process.resume()
    }

    /// Resolves when the current postmaster ends, for whatever reason. Borrows nothing, so it can
    /// be awaited beside everything else.
    pub fn wait_exit(&self) -> impl Future<Output = ExitStatus> + Send + use<> {
        self.process.ended()
    }
}

impl Launch {
    async fn on_some_port(&self, wanted: Option<u16>) -> Result<(Process, u16), StartError> {
        let mut attempt = 1;
        loop {
            let port = match wanted {
                Some(port) => port,
                None => pick_port(&self.data_dir)?,
            };
            match self.on_port(port).await {
                Ok(process) => return Ok((process, port)),
                Err(error)
                    if error.is_port_taken() && wanted.is_none() && attempt < PORT_ATTEMPTS =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn on_port(&self, port: u16) -> Result<Process, StartError> {
        check_foreign_server(&self.data_dir, &self.pgdata)?;
        let started = Instant::now();
        loop {
            match self.try_on_port(port).await {
                // The postmaster is dead, killed by us or by somebody else, and the last of its
                // processes is still ending.
                Err(StartError::Ended { tail, .. })
                    if tail.contains("pre-existing shared memory block")
                        && started.elapsed() < REMAINS_PATIENCE =>
                {
                    tokio::time::sleep(POLL * 10).await;
                }
                result => return result,
            }
        }
    }

    async fn try_on_port(&self, port: u16) -> Result<Process, StartError> {
        let log_path = self.log_path();
        let (log, output) = Log::open(&log_path).map_err(StartError::file("open", &log_path))?;
        let process = self
            .spawn(port, output)
            .map_err(|source| StartError::Spawn {
                program: self.program.clone(),
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
            if self.is_ready(process.pid(), port) {
                return Ok(process);
            }
            if started.elapsed() > START_PATIENCE {
                return Err(StartError::NotReady {
                    server: SERVER,
                    after: START_PATIENCE,
                    waiting_for: "it to take connections".to_owned(),
                    tail: log.tail(),
                    log: log_path,
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn spawn(&self, port: u16, output: fs::File) -> io::Result<Process> {
        let (farewell, settings) = if self.durable {
            (KEEP, DURABLE_SETTINGS)
        } else {
            (LOSE, FAST_SETTINGS)
        };
        let mut command = process::command(&self.program, farewell);
        command.arg("-D").arg(&self.pgdata);
        command.arg("-c").arg(format!("port={port}"));
        for setting in COMMON_SETTINGS.iter().chain(settings) {
            command.arg("-c").arg(setting);
        }
        // The settings are all here: nothing of the caller's environment for Postgres clients
        // and servers shall add to them.
        for name in [
            "PGDATA",
            "PGHOST",
            "PGPORT",
            "PGOPTIONS",
            "PGDATABASE",
            "PGUSER",
            "PGTZ",
        ] {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C");
        command.current_dir(&self.pgdata);
        user::run_as(&mut command, self.user.as_ref());
        command.stdin(self.lock.share()?);
        command.stdout(output.try_clone()?).stderr(output);
        let process = Process::spawn(SERVER, farewell, command)?;
        self.lock.record(process.pid())?;
        Ok(process)
    }

    /// Whether our postmaster says that it is ready, and its port takes connections.
    ///
    /// The file names the process that wrote it, so a server that somebody else has on the port,
    /// or an old file, is not mistaken for ours.
    fn is_ready(&self, pid: u32, port: u16) -> bool {
        let Ok(file) = fs::read_to_string(postmaster_file(&self.pgdata)) else {
            return false;
        };
        let mut lines = file.lines();
        let is_ours = lines
            .next()
            .is_some_and(|line| line.trim() == pid.to_string());
        let is_ready = lines.nth(6).is_some_and(|line| line.trim() == "ready");
        is_ours && is_ready && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    }

    fn log_path(&self) -> PathBuf {
        self.data_dir.join("postgres.log")
    }
}

fn password_file(data_dir: &Path) -> PathBuf {
    data_dir.join("password")
}

fn postmaster_file(pgdata: &Path) -> PathBuf {
    pgdata.join("postmaster.pid")
}

/// Creates the cluster when the directory is empty, and refuses what is not a cluster of ours.
fn prepare(
    postgres_bin: &Path,
    pgdata: &Path,
    password_file: &Path,
    user: Option<&User>,
    durable: bool,
) -> Result<(), StartError> {
    let (major, version) = postgres_version(postgres_bin).ok_or_else(|| StartError::Spawn {
        program: postgres_bin.join("postgres"),
        source: io::Error::other("it does not tell its version"),
    })?;
    let version_file = pgdata.join("PG_VERSION");
    if let Ok(found) = fs::read_to_string(&version_file) {
        let found = found.trim().to_owned();
        if found == major.to_string() {
            return Ok(());
        }
        return Err(StartError::OtherVersion {
            path: pgdata.to_owned(),
            found,
            binaries: major,
        });
    }
    let mut entries = fs::read_dir(pgdata).map_err(StartError::file("read", pgdata))?;
    if entries.next().is_some() {
        return Err(StartError::NotACluster {
            path: pgdata.to_owned(),
        });
    }
    let creation = Creation {
        postgres_bin,
        version: version.split_whitespace().next().unwrap_or(&version),
        user,
    };
    let created = if durable {
        creation.create(pgdata, password_file)
    } else {
        creation.copy(pgdata, password_file)
    };
    if created.is_err() {
        // Half a cluster would be refused by the next start.
        empty(pgdata);
    }
    created
}

fn empty(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let _ = if path.is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        };
    }
}

/// Looks at the pid file that an earlier postmaster has left.
///
/// We hold the lock, so no server that this crate started is alive here. One that was started by
/// hand may be, and is left alone. A file whose process is dead is Postgres's own business; but one
/// whose number meanwhile belongs to some other program would make it refuse to start.
fn check_foreign_server(data_dir: &Path, pgdata: &Path) -> Result<(), StartError> {
    let path = postmaster_file(pgdata);
    let Ok(file) = fs::read_to_string(&path) else {
        return Ok(());
    };
    let pid = file
        .lines()
        .next()
        .and_then(|line| line.trim().parse().ok());
    let Some(pid) = pid.and_then(Pid::from_raw) else {
        return Ok(());
    };
    if test_kill_process(pid).is_err_and(|errno| errno == Errno::SRCH) {
        return Ok(());
    }
    if is_postgres(pid) {
        return Err(StartError::InUse {
            server: SERVER,
            data_dir: data_dir.to_owned(),
            pid: Some(pid.as_raw_nonzero().get().unsigned_abs()),
        });
    }
    fs::remove_file(&path).map_err(StartError::file("remove", &path))
}

/// Whether the process is a Postgres server. When in doubt it is.
fn is_postgres(pid: Pid) -> bool {
    let pid = pid.as_raw_nonzero().get();
    if cfg!(target_os = "linux") {
        return fs::read_to_string(format!("/proc/{pid}/comm"))
            .map_or(true, |name| name.trim() == "postgres");
    }
    std::process::Command::new("ps")
        .args(["-p", &pid.to_string(), "-o", "comm="])
        .output()
        .map_or(true, |output| {
            String::from_utf8_lossy(&output.stdout).contains("postgres")
        })
}
