//! What can go wrong, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// A server that did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file or directory that the server needs could not be read or written.
    #[error("cannot {action} `{}`", .path.display())]
    File {
        /// What was tried: `create`, `read`, …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The program could not be executed.
    #[error("cannot run `{}`; run `make setup` to find or install it", .program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A live server owns the data directory.
    #[error(
        "`{}` is in use by a running {server}, {}; stop that first, or choose another data directory",
        .data_dir.display(),
        .pid.map_or_else(|| "whose pid is unknown".to_owned(), |pid| format!("pid {pid}"))
    )]
    InUse {
        /// `nats-server` or `Postgres`.
        server: &'static str,
        /// The directory.
        data_dir: PathBuf,
        /// The process that holds it, where it could be found out.
        pid: Option<u32>,
    },
    /// The server ended instead of getting ready.
    #[error("{server} ended while starting ({status}); the end of `{}`:\n{tail}", .log.display())]
    Ended {
        /// `nats-server` or `Postgres`.
        server: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log since this start.
        tail: String,
    },
    /// The server runs but does not answer as it should.
    #[error(
        "{server} was not ready after {} s (waiting for {waiting_for}); the end of `{}`:\n{tail}",
        .after.as_secs(), .log.display()
    )]
    NotReady {
        /// `nats-server` or `Postgres`.
        server: &'static str,
        /// How long it was given.
        after: Duration,
        /// What it had not done yet.
        waiting_for: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log since this start.
        tail: String,
    },
    /// Something else answers where our server should.
    #[error(
        "the server at `{address}` calls itself `{found}`, not `{expected}`: \
         it is not the one that was started here, so it is left alone; free the port or choose another"
    )]
    WrongServer {
        /// Where it listens.
        address: String,
        /// The name we gave our server.
        expected: String,
        /// The name that the answer carried.
        found: String,
    },
    /// The nats-server is older than what a fleet needs.
    #[error("nats-server {found} is too old: 2.12 or newer is needed; run `make setup`")]
    TooOld {
        /// The version it reports.
        found: String,
    },
    /// A setting that cannot be written into the server's configuration.
    #[error("the {setting} `{value}` cannot be used: {why}")]
    BadSetting {
        /// Which setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The data directory holds files, but no Postgres cluster.
    #[error(
        "`{}` is not empty and holds no Postgres cluster; empty it, or choose another data directory",
        .path.display()
    )]
    NotACluster {
        /// The directory.
        path: PathBuf,
    },
    /// The cluster was made by another major version of Postgres.
    #[error(
        "`{}` was made by Postgres {found}, but the binaries are version {binaries}; \
         use Postgres {found}, or move the directory away to start empty",
        .path.display()
    )]
    OtherVersion {
        /// The directory.
        path: PathBuf,
        /// The major version that made it.
        found: String,
        /// The major version of the binaries.
        binaries: u32,
    },
    /// `initdb` failed.
    #[error("initdb could not create `{}` ({status}): {output}", .path.display())]
    Initdb {
        /// The directory.
        path: PathBuf,
        /// How initdb ended.
        status: ExitStatus,
        /// What it printed.
        output: String,
    },
    /// We are root, and there is nobody to run Postgres as.
    #[error(
        "Postgres refuses to run as root, and neither the user `postgres` nor `nobody` exists; \
         create one, or run this as a normal user"
    )]
    NoUnprivilegedUser,
}

/// A signal that could not be delivered.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {server} (pid {pid})")]
pub struct SignalError {
    pub(crate) action: &'static str,
    pub(crate) server: &'static str,
    pub(crate) pid: u32,
    #[source]
    pub(crate) source: io::Error,
}

impl StartError {
    /// For `map_err` on a file operation.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// Whether another try on another port may succeed.
    pub(crate) fn is_port_taken(&self) -> bool {
        match self {
            Self::Ended { tail, .. } => {
                tail.contains("address already in use") || tail.contains("Address already in use")
            }
            Self::WrongServer { .. } => true,
            _ => false,
        }
    }
}
