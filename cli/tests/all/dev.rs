//! `gatewright dev`: one command, and all of it is gone again with it.

use std::time::Instant;

use rustix::process::Signal;

use crate::support::{Dev, gatewright, kill, run};

#[test]
fn a_fleet_starts_stops_and_goes_on_with_its_data() {
    let folder = tempfile::Builder::new()
        .prefix("gatewright-cli-")
        .tempdir()
        .unwrap();
    let here = |arguments: &[&str], input: &str| {
        let mut command = gatewright();
        command.args(arguments).current_dir(folder.path());
        run(command, input)
    };
    let mut dev = Dev::start_in(folder.path(), &["--workers", "1"]);
    assert_eq!(dev.ready["is_new"], true);
    // In its directory it is found without being named.
    let done = here(
        &["run", "submit", "--wait", "--json"],
        r#"{"run_id":"first"}"#,
    )
    .ends(0);
    assert_eq!(done.json()["status"], "succeeded");
    let second = gatewright()
        .args(["dev"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&second.stderr).contains("in use"),
        "{second:?}"
    );

    dev.running.signal(Signal::INT);
    assert_eq!(dev.running.ended(), 0, "{}", dev.log());
    let data = folder.path().join(".gatewright/dev");
    assert!(!data.join("connection.toml").exists());
    for role in ["dispatcher", "projector", "worker-1"] {
        let process = format!("/proc/{}", dev.pid_of(role));
        assert!(
            !std::path::Path::new(&process).exists(),
            "{role} is still there"
        );
    }

    let mut again = Dev::start_in(folder.path(), &["--workers", "1"]);
    assert_eq!(again.ready["is_new"], false);
    assert_eq!(again.ready["nats_url"], dev.ready["nats_url"]);
    assert_eq!(again.ready["database_url"], dev.ready["database_url"]);
    let runs = here(&["run", "list", "-o", "ids"], "").ends(0);
    assert_eq!(runs.lines(), ["default/first"]);
    again.running.signal(Signal::TERM);
    assert_eq!(again.running.ended(), 0, "{}", again.log());

    // As a version without accounts left it.
    let streams = data.join("nats/jetstream/jetstream");
    std::fs::rename(streams.join("gatewright"), streams.join("$G")).unwrap();
    let mut third = Dev::start_in(folder.path(), &["--workers", "1"]);
    assert_eq!(third.ready["is_new"], false);
    third.running.signal(Signal::TERM);
    assert_eq!(third.running.ended(), 0, "{}", third.log());
}

#[test]
fn a_part_that_dies_is_named_and_the_rest_ends() {
    let folder = tempfile::Builder::new()
        .prefix("gatewright-cli-")
        .tempdir()
        .unwrap();
    let mut dev = Dev::start_in(folder.path(), &["--ephemeral"]);
    kill(dev.pid_of("worker-2"));
    let began = Instant::now();
    assert_eq!(dev.running.ended(), 1);
    let log = dev.log();
    assert!(log.contains("worker-2 ended (signal: 9"), "{log}");
    assert!(
        log.contains("joining the fleet"),
        "the end of its log is quoted: {log}"
    );
    assert!(began.elapsed().as_secs() < 20, "took {:?}", began.elapsed());
    let process = format!("/proc/{}", dev.pid_of("dispatcher"));
    assert!(!std::path::Path::new(&process).exists());
    let data = dev.ready["data"].as_str().unwrap();
    assert!(
        !std::path::Path::new(data).exists(),
        "an ephemeral fleet leaves nothing"
    );
}

#[test]
fn a_directory_that_holds_other_things_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.tex"), "years of work").unwrap();
    for verb in ["dev", "demo"] {
        let mut command = gatewright();
        command
            .args([verb, "--data"])
            .arg(folder.path())
            .current_dir(folder.path());
        let done = run(command, "").ends(2);
        assert!(done.err.contains("holds other things"), "{done:#?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
