//! `gatewright nats-config`: files that the real server takes, and that stay when they are made again.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::{Done, Running, eventually, gatewright, run};

fn configure(dir: &Path, more: &[&str]) -> Done {
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
    // Port -1: the server takes a free one, and writes down which.
    configure(dir, &["--worker", "w1=sandbox"]).ends(0);
    let path = dir.join("nats-server.conf");
    let config = fs::read_to_string(&path)
        .unwrap()
        .replace("127.0.0.1:4222", "127.0.0.1:-1")
        .replace("127.0.0.1:8222", "127.0.0.1:-1");
    fs::write(&path, format!("{config}\nports_file_dir: \".\"\n")).unwrap();
    let server = std::env::var("GATEWRIGHT_NATS_SERVER").unwrap_or("nats-server".into());
    let child = Command::new(server)
        .arg("--config")
        .arg(&path)
        .current_dir(dir)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ports = dir.join(format!("nats-server_{}.ports", child.id()));
    let _server = Running { child };
    let url = eventually("the server listens", || {
        let text = fs::read_to_string(&ports).map_err(|error| error.to_string())?;
        let ports: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let url = ports["nats"][0].as_str().ok_or("no port")?;
        Ok(url.to_owned())
    });
    let as_user = |nkey: Option<&str>, arguments: &[&str]| {
        let mut command = gatewright();
        command
            .args(arguments)
            .current_dir(dir)
            .env("NATS_URL", &url);
        if let Some(nkey) = nkey {
            command.env("NATS_NKEY", nkey);
        }
        run(command, "")
    };
    as_user(None, &["provision"]).ends(4);
    as_user(Some("provisioner.nk"), &["provision"]).ends(0);
    let listed = as_user(Some("operator.nk"), &["worker", "list", "--json"]).ends(0);
    assert_eq!(listed.json()["items"], serde_json::json!([]));
    let mistaken = as_user(Some("nats-server.conf"), &["worker", "list"]).ends(2);
    assert!(mistaken.err.contains("no seed"), "{mistaken:#?}");
}
