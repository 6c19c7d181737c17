//! The roles by themselves: they wait for what is not there yet, and stop in order.

use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{Fleet, Running, eventually, gatewright, run};

#[test]
fn a_worker_waits_for_its_fleet_takes_runs_and_drains() {
    let fleet = Fleet::start();
    let spawn = |arguments: &[&str]| {
        let child = fleet
            .administrator(arguments)
            .args(["--prefix", "blue", "--log", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Running { child }
    };
    let ask = |arguments: &[&str], input: &str| run(fleet.administrator(arguments), input);
    // Nothing of the fleet `blue` exists yet.
    let mut worker = spawn(&[
        "worker",
        "--name",
        "worker-blue",
        "--zones",
        "sandbox",
        "--concurrency",
        "3",
    ]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(worker.child.try_wait().unwrap().is_none(), "it waits");
    let mut dispatcher = spawn(&["dispatcher", "--name", "d-1"]);
    let listed = eventually("the worker signs on", || {
        let list = ask(&["worker", "list", "--prefix", "blue", "--json"], "");
        match list.code {
            0 if list.json()["items"][0]["state"] == "alive" => Ok(list.json()),
            _ => Err(list.err + &list.out),
        }
    });
    let found = &listed["items"][0];
    assert_eq!(found["worker_id"], "worker-blue", "{listed}");
    assert_eq!(
        (&found["slots"], &found["zones"]),
        (&3.into(), &serde_json::json!(["sandbox"]))
    );
    fleet.file("all.toml", "default = \"allow\"\n");
    ask(&["policy", "apply", "all.toml", "--prefix", "blue"], "").ends(0);
    let done = ask(
        &["run", "submit", "--wait", "--prefix", "blue", "--json"],
        "{}",
    )
    .ends(0);
    assert_eq!(done.json()["status"], "succeeded");

    worker.signal(Signal::TERM);
    assert_eq!(worker.ended(), 0);
    dispatcher.signal(Signal::INT);
    assert_eq!(dispatcher.ended(), 0);
    let mut log = String::new();
    std::io::Read::read_to_string(&mut worker.child.stderr.take().unwrap(), &mut log).unwrap();
    let first: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(first["level"], "INFO", "{log}");
    let list = ask(&["worker", "list", "--prefix", "blue", "--json"], "")
        .ends(0)
        .json();
    assert_eq!(list["items"], serde_json::json!([]), "it signed off");
}

#[test]
fn a_role_that_waits_for_its_server_stops_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Running {
        child: gatewright()
            .args(["worker", "--nats-url", "nats://127.0.0.1:1"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    };
    std::thread::sleep(std::time::Duration::from_millis(600));
    assert!(worker.child.try_wait().unwrap().is_none(), "it waits");
    worker.signal(Signal::TERM);
    assert_eq!(worker.ended(), 0);
}

#[test]
fn every_noun_has_help_and_completions_are_made() {
    for noun in [
        "dev",
        "demo",
        "dispatcher",
        "worker",
        "projector",
        "migrate",
        "provision",
        "run",
        "policy",
        "capability",
        "principal",
        "approval",
        "dlq",
        "audit",
        "doctor",
        "nats-config",
        "tool",
        "schema",
        "completions",
    ] {
        let mut command = gatewright();
        command.args([noun, "--help"]);
        let help = run(command, "").ends(0);
        assert!(help.out.contains("--nats-url"), "{noun}: {}", help.out);
    }
    let mut command = gatewright();
    command.arg("--help");
    let help = run(command, "").ends(0).out;
    assert!(help.contains("Exit codes:"), "{help}");
    for shell in ["bash", "zsh", "fish"] {
        let mut command = gatewright();
        command.args(["completions", shell]);
        assert!(run(command, "").ends(0).out.contains("gatewright"));
    }
}
