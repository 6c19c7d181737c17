//! A dispatcher, worker or projector as a process of its own.

use std::{path::PathBuf, process::Stdio, time::Duration};

use gatewright_bus::permissions;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::{Fleetlet, credentials};

/// How long a role may take to be at work, or to drain.
const PATIENCE: Duration = Duration::from_secs(40);

/// A role as a process. Dropping it kills it.
pub struct Role {
    child: Child,
    /// The name that it writes under.
    pub name: String,
}

/// How to start a role.
pub struct RoleOptions<'a> {
    program: &'a str,
    role: &'a str,
    name: String,
    nats: String,
    nkey: PathBuf,
    db: Option<String>,
    more: Vec<String>,
}

impl<'a> RoleOptions<'a> {
    /// The program `fleet_role` in one of its roles.
    pub fn new(program: &'a str, role: &'a str, name: &str, fleet: &Fleetlet) -> Self {
        let needs_db = role != "worker";
        let credential = match role {
            "dispatcher" => permissions::Role::Dispatcher,
            "projector" => permissions::Role::Projector,
            _ => credentials::worker(),
        };
        Self {
            program,
            role,
            name: name.to_owned(),
            nats: fleet.nats.url(),
            nkey: fleet.nkey(name, &credential),
            db: needs_db.then(|| fleet.postgres.url("postgres")),
            more: Vec::new(),
        }
    }

    /// Reaches NATS there.
    #[must_use]
    pub fn through(mut self, url: String) -> Self {
        self.nats = url;
        self
    }

    /// Works without a database.
    #[must_use]
    pub fn without_db(mut self) -> Self {
        self.db = None;
        self
    }

    /// With one more argument and its value.
    #[must_use]
    pub fn with(mut self, argument: &str, value: &str) -> Self {
        self.more.extend([argument.to_owned(), value.to_owned()]);
        self
    }

    /// Starts it and does not wait until it is at work.
    pub fn launch(self) -> Role {
        let mut command = Command::new(self.program);
        command
            .args([self.role, "--nats", &self.nats, "--name", &self.name])
            .arg("--nkey")
            .arg(&self.nkey)
            .args(self.db.iter().flat_map(|db| ["--db", db]))
            .args(&self.more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        Role {
            child: command.spawn().unwrap(),
            name: self.name,
        }
    }

    /// Starts it and waits until it is at work.
    pub async fn start(self) -> Role {
        let mut role = self.launch();
        role.is_at_work().await;
        role
    }
}

impl Role {
    /// Waits until it says that it is at work.
    pub async fn is_at_work(&mut self) {
        let stdout = self.child.stdout.as_mut().unwrap();
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("{} is not at work in time", self.name));
        assert_eq!(line.unwrap().as_deref(), Some("ready"), "{}", self.name);
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        let id = self.child.id().expect("the role has not ended");
        Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
    }

    /// Whether it is still there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM, and waits until it has drained.
    pub async fn drain(mut self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("{} does not drain", self.name));
        assert!(ended.unwrap().success(), "{}", self.name);
    }

    /// SIGSTOP.
    pub fn pause(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
    }

    /// SIGCONT.
    pub fn wake(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }
}

/// SIGKILL, and waits until not one of the process's threads runs any more.
pub(crate) async fn kill_at_once(pid: Pid) {
    // The harness is its parent and has not waited for it: the number still means this process.
    let _ = kill_process(pid, Signal::KILL);
    let status = format!("/proc/{}/stat", pid.as_raw_nonzero());
    for _ in 0..5_000 {
        let state = std::fs::read_to_string(&status).ok();
        let state = state.as_deref().and_then(|s| s.rsplit_once(") "));
        if state.is_none_or(|(_, rest)| rest.starts_with('Z')) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("process {pid:?} does not die");
}
