//! The roles by themselves: they wait for what is not there yet, and stop in order.

use std::{
    io::{Read as _, Write as _},
    process::Stdio,
};

use rustix::process::Signal;

use crate::support::{Fleet, Running, eventually, free_address, gatewright, run};

/// The whole answer to an HTTP request.
fn get(address: &str, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

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
    let (at_worker, at_dispatcher) = (free_address(), free_address());
    // Nothing of the fleet `blue` exists yet.
    let mut worker = spawn(&[
        "worker",
        "--metrics",
        &at_worker,
        "--name",
        "worker-blue",
        "--zones",
        "sandbox",
        "--concurrency",
        "3",
    ]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(worker.child.try_wait().unwrap().is_none(), "it waits");
    let mut dispatcher = spawn(&["dispatcher", "--name", "d-1", "--metrics", &at_dispatcher]);
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

    let told = get(&at_worker, "/metrics");
    for line in [
        r#"gatewright_decisions_total{category="tool",decision="allow",reason="default_allow",blocked="false"} 1"#,
        r#"gatewright_gate_seconds_count{category="tool"} 1"#,
        r#"gatewright_events_total{type="run.completed"} 1"#,
        "gatewright_runs_held 0",
        "gatewright_alive 1",
    ] {
        assert!(told.lines().any(|found| found == line), "{line}\n{told}");
    }
    assert!(get(&at_worker, "/health").starts_with("HTTP/1.1 200 OK"));
    let told = get(&at_dispatcher, "/metrics");
    let lane = r#"gatewright_queue_waiting{zone="high_stakes",lane="interactive"} 0"#;
    assert!(told.contains(lane), "{told}");

    worker.signal(Signal::TERM);
    assert_eq!(worker.ended(), 0);
    dispatcher.signal(Signal::INT);
    assert_eq!(dispatcher.ended(), 0);
    let mut log = String::new();
    let stderr = worker.child.stderr.as_mut().unwrap();
    stderr.read_to_string(&mut log).unwrap();
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
