//! `gatewright nats-config`: files that the real server takes, and that stay when they are made again.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::Signal;

use crate::support::{Done, Running, eventually, free_address, gatewright, run};

pub fn configure(dir: &Path, more: &[&str]) -> Done {
    let mut command = gatewright();
    command
        .args(["nats-config", "--out"])
        .arg(dir)
        .args(more)
        .current_dir(dir);
    run(command, "")
}

/// What is in each file of the directory, by name.
fn files(dir: &Path) -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// Those of them that hold seeds.
fn seeds(files: &[(String, String)]) -> impl Iterator<Item = &(String, String)> {
    let is_seed = |name: &str| name.strip_suffix(".nk").is_some();
    files.iter().filter(move |(name, _)| is_seed(name))
}

fn names(dir: &Path) -> Vec<String> {
    files(dir).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn what_is_there_is_kept_and_workers_are_added_and_struck_off() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let first = ["--worker", "w1=sandbox", "--submitter", "acme"];
    configure(dir, &first).ends(0);
    let before = files(dir);
    assert_eq!(
        names(dir),
        [
            "dispatcher.nk",
            "nats-server.conf",
            "operator.nk",
            "projector.nk",
            "provisioner.nk",
            "submitter-acme.nk",
            "users.toml",
            "w1.nk"
        ]
    );
    for (name, _) in seeds(&before) {
        let mode = fs::metadata(dir.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    configure(dir, &first).ends(0);
    configure(dir, &[]).ends(0);
    assert_eq!(files(dir), before);

    configure(dir, &["--worker", "w2=supervised,high_stakes"]).ends(0);
    let after = files(dir);
    for (name, text) in seeds(&before) {
        assert!(after.contains(&(name.clone(), text.clone())), "{name}");
    }
    let config = fs::read_to_string(dir.join("nats-server.conf")).unwrap();
    assert!(config.contains("fleet.events.*.*.w2.*.*"));
    assert!(config.contains("fleet.events.*.*.w1.*.*"));
    for (name, text) in seeds(&after) {
        assert!(!config.contains(text.trim()), "the seed of {name} is told");
    }

    configure(dir, &["--remove", "w1"]).ends(0);
    let config = fs::read_to_string(dir.join("nats-server.conf")).unwrap();
    assert!(!config.contains("fleet.events.*.*.w1.*.*"));
    assert!(!dir.join("w1.nk").exists());
}

#[test]
fn every_fault_is_told_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let faults = [
        "--worker",
        "w1",
        "--worker",
        "w2=moon",
        "--worker",
        "a.b=sandbox",
        "--submitter",
        "_fleet",
        "--remove",
        "nobody",
    ];
    let done = configure(dir, &faults).ends(2);
    for told in [
        "`w1` names no zones",
        "`moon`",
        "a.b",
        "`_fleet`",
        "`nobody`",
    ] {
        assert!(done.err.contains(told), "{told} is missing in {done:#?}");
    }
    let done = configure(dir, &["--worker", "operator=sandbox"]).ends(2);
    assert!(done.err.contains("two users"), "{done:#?}");
    configure(dir, &["--tls-cert", "cert.pem"]).ends(2);
    let missing = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    configure(dir, &missing).ends(2);
    assert_eq!(names(dir), Vec::<String>::new());
}

#[test]
fn the_real_server_takes_the_configuration_and_lets_in_who_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    configure(dir, &["--worker", "w1=sandbox"]).ends(0);
    let server = Server::start(dir);
    server.ask(None, &["provision"]).ends(4);
    let as_operator = Some("operator.nk");
    server.ask(Some("provisioner.nk"), &["provision"]).ends(0);
    let list = ["worker", "list", "--json"];
    let listed = server.ask(as_operator, &list).ends(0);
    assert_eq!(listed.json()["items"], serde_json::json!([]));
    let mistaken = server.ask(Some("nats-server.conf"), &["worker", "list"]);
    assert!(mistaken.ends(2).err.contains("no seed"));
}

#[test]
fn a_worker_that_is_added_works_once_the_server_was_told_twice() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    configure(dir, &["--worker", "w1=sandbox"]).ends(0);
    let server = Server::start(dir);
    server.ask(Some("provisioner.nk"), &["provision"]).ends(0);
    let first = server.worker("w1", "sandbox");
    server.signs_on("w1");
    configure(dir, &["--worker", "w2=sandbox,supervised"]).ends(0);
    server.keep_ports();
    server.reload();
    server.reload();
    let second = server.worker("w2", "sandbox,supervised");
    server.signs_on("w2");
    // Nobody else was disturbed.
    server.signs_on("w1");
    drop((first, second));
}

#[test]
fn a_worker_does_not_start_for_a_zone_that_its_credential_is_not_for() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    configure(dir, &["--worker", "w1=sandbox"]).ends(0);
    let server = Server::start(dir);
    server.ask(Some("provisioner.nk"), &["provision"]).ends(0);
    let arguments = ["worker", "--name", "w1", "--zones", "sandbox,high_stakes"];
    let refused = server.ask(Some("w1.nk"), &arguments);
    assert_ne!(refused.code, 0, "{refused:#?}");
    assert!(
        refused.err.contains("high_stakes-interactive")
            && refused
                .err
                .contains("this credential may not take runs from it"),
        "{refused:#?}"
    );
}

/// A server under the configuration in a directory, on ports that were free.
pub struct Server {
    dir: PathBuf,
    client: String,
    monitor: String,
    running: Option<Running>,
}

const RELOADED: &str = "Reloaded server configuration";

impl Server {
    pub fn start(dir: &Path) -> Self {
        let mut this = Self {
            dir: dir.to_owned(),
            client: free_address(),
            monitor: free_address(),
            running: None,
        };
        this.keep_ports();
        let server = std::env::var("GATEWRIGHT_NATS_SERVER").unwrap_or("nats-server".into());
        let child = Command::new(server)
            .arg("--config")
            .arg(dir.join("nats-server.conf"))
            .stderr(fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .unwrap();
        this.running = Some(Running { child });
        eventually("the server listens", || {
            let connected = std::net::TcpStream::connect(&this.client);
            connected.map(|_| ()).map_err(|error| error.to_string())
        });
        this
    }

    /// The configuration names the ports that are meant for a machine of its own.
    fn keep_ports(&self) {
        let path = self.dir.join("nats-server.conf");
        let config = fs::read_to_string(&path).unwrap();
        let config = config
            .replace("127.0.0.1:4222", &self.client)
            .replace("127.0.0.1:8222", &self.monitor);
        fs::write(&path, config).unwrap();
    }

    /// As `nats-server --signal reload`.
    fn reload(&self) {
        let reloads = || {
            let log = fs::read_to_string(self.dir.join("log")).unwrap();
            (log.matches(RELOADED).count(), log)
        };
        let (before, _) = reloads();
        self.running.as_ref().unwrap().signal(Signal::HUP);
        eventually("the server reads its configuration", || match reloads() {
            (count, _) if count > before => Ok(()),
            (_, log) => Err(log),
        });
    }

    /// The program, as whoever has the seed in that file.
    pub fn command(&self, nkey: Option<&str>, arguments: &[&str]) -> Command {
        let mut command = gatewright();
        command
            .args(arguments)
            .current_dir(&self.dir)
            .env("NATS_URL", format!("nats://{}", self.client));
        if let Some(nkey) = nkey {
            command.env("NATS_NKEY", nkey);
        }
        command
    }

    /// What comes of such a command.
    pub fn ask(&self, nkey: Option<&str>, arguments: &[&str]) -> Done {
        run(self.command(nkey, arguments), "")
    }

    fn worker(&self, name: &str, zones: &str) -> Running {
        let nkey = format!("{name}.nk");
        let arguments = ["worker", "--name", name, "--zones", zones];
        let child = self
            .command(Some(&nkey), &arguments)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Running { child }
    }

    /// Waits until the worker says that it is there.
    fn signs_on(&self, name: &str) {
        eventually("the worker signs on", || {
            let listed = self.ask(Some("operator.nk"), &["worker", "list", "--json"]);
            let listed = listed.ends(0).json();
            let items = listed["items"].as_array().unwrap();
            let is_alive =
                |item: &serde_json::Value| item["worker_id"] == name && item["state"] == "alive";
            if items.iter().any(is_alive) {
                Ok(())
            } else {
                Err(listed.to_string())
            }
        });
    }
}
