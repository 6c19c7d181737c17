//! The built binary, and a private fleet of it.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// The binary, without any setting of whoever runs the tests.
pub fn gatewright() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatewright"));
    for name in [
        "NATS_URL",
        "NATS_CREDS",
        "NATS_NKEY",
        "DATABASE_URL",
        "RUST_LOG",
        "NO_COLOR",
    ] {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GATEWRIGHT_")) {
        // Where the servers' programs are, `make test` says.
        if !["GATEWRIGHT_NATS_SERVER", "GATEWRIGHT_PG_BIN"].contains(&name.as_str()) {
            command.env_remove(name);
        }
    }
    command
}

/// What a command came to.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails the test unless the command ended so.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }

    /// Every line of standard output as JSON.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let read = |line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
        };
        self.out.lines().map(read).collect()
    }

    /// Every line of standard output.
    pub fn lines(&self) -> Vec<&str> {
        self.out.lines().collect()
    }
}

/// Runs a command to its end.
pub fn run(mut command: Command, input: &str) -> Done {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read its input may be gone already.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    Done::of(&child.wait_with_output().unwrap())
}

/// Waits for something that is to become so.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match look() {
            Ok(found) => return found,
            Err(state) if Instant::now() > deadline => panic!("{what}: still {state}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// A process that is ended with the test.
pub struct Running {
    pub child: Child,
}

impl Running {
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Its exit code, once it has ended.
    pub fn ended(&mut self) -> i32 {
        eventually("the process ends", || {
            match self.child.try_wait().unwrap() {
                Some(status) => Ok(status.code().unwrap_or(-1)),
                None => Err("running".to_owned()),
            }
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::TERM);
            let deadline = Instant::now() + Duration::from_secs(20);
            while matches!(self.child.try_wait(), Ok(None)) {
                if Instant::now() > deadline {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// SIGKILL for a process by its id.
pub fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// A `gatewright dev`, ready.
pub struct Dev {
    pub running: Running,
    /// What it says of itself.
    pub ready: Value,
    log: PathBuf,
}

impl Dev {
    /// Starts one in `directory`, with its data in the default place.
    pub fn start_in(directory: &Path, arguments: &[&str]) -> Self {
        let log = directory.join("dev.log");
        let errors = std::fs::File::create(&log).unwrap();
        let mut child = gatewright()
            .arg("dev")
            .args(arguments)
            .arg("--json")
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let mut running = Running { child };
        let Ok(ready) = serde_json::from_str(&line) else {
            let code = running.ended();
            panic!(
                "dev ended with {code}:\n{}",
                std::fs::read_to_string(log).unwrap()
            );
        };
        Self {
            running,
            ready,
            log,
        }
    }

    /// What it said on standard error so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// One of the addresses it listens on.
    pub fn url(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap()
    }

    /// The process of a role.
    pub fn pid_of(&self, role: &str) -> i32 {
        let roles = self.ready["roles"].as_array().unwrap();
        let role = roles.iter().find(|one| one["name"] == role).unwrap();
        role["pid"].as_i64().unwrap().try_into().unwrap()
    }
}

/// A fleet in a throw-away directory, and commands that use it.
pub struct Fleet {
    pub dev: Dev,
    folder: TempDir,
}

impl Fleet {
    pub fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("gatewright-cli-")
            .tempdir()
            .unwrap();
        // Not `--data`: what lasts is slower to make.
        let dev = Dev::start_in(folder.path(), &["--ephemeral"]);
        Self { dev, folder }
    }

    /// A command with the fleet's addresses.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = gatewright();
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("NATS_URL", self.dev.url("nats_url"))
            .env("NATS_NKEY", self.dev.url("nats_nkey"))
            .env("DATABASE_URL", self.dev.url("database_url"));
        command
    }

    /// The same fleet's servers for whoever may do anything on them, another fleet among it.
    pub fn administrator(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        let nkey = Path::new(self.dev.url("nats_nkey")).with_file_name("administrator.nk");
        command.env("NATS_NKEY", nkey);
        command
    }

    /// Runs a command with an input.
    pub fn feed(&self, arguments: &[&str], input: &str) -> Done {
        run(self.command(arguments), input)
    }

    /// Runs a command.
    pub fn run(&self, arguments: &[&str]) -> Done {
        self.feed(arguments, "")
    }

    /// Writes a file into the directory that commands run in.
    pub fn file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Reads a file of that directory.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// Waits until the tables have all that is in the stream.
    pub fn projected(&self) {
        eventually("the tables catch up", || {
            let verdict = self.run(&["audit", "verify", "--json"]).json();
            if verdict["not_projected"] == 0 {
                Ok(())
            } else {
                Err(verdict.to_string())
            }
        });
    }
}

/// An address on loopback that nobody listens on.
pub fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}
