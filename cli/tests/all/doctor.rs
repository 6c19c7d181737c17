//! `doctor`: nothing to find in a healthy fleet, and for each fault what to do.

use serde_json::Value;

use crate::support::{Fleet, eventually};

fn state<'a>(report: &'a Value, check: &str) -> (&'a str, &'a str) {
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|one| one["check"] == check);
    let found = found.unwrap_or_else(|| panic!("no check `{check}` in {report}"));
    (
        found["state"].as_str().unwrap(),
        found["remedy"].as_str().unwrap_or_default(),
    )
}

#[test]
fn faults_are_found_and_each_has_a_remedy() {
    let fleet = Fleet::start();
    let healthy = fleet.run(&["doctor", "--json"]);
    assert_eq!(healthy.code, 0, "{healthy:#?}");
    for check in [
        "nats",
        "streams",
        "server clock",
        "dispatcher",
        "policy",
        "quotas",
        "workers",
        "postgres",
        "migrations",
        "projector",
        "sandbox",
    ] {
        assert_eq!(state(&healthy.json(), check).0, "ok", "{check}");
    }

    // A fleet of which there is nothing.
    let other = |arguments: &[&str]| crate::support::run(fleet.administrator(arguments), "");
    let report = other(&["doctor", "--json", "--prefix", "blue"])
        .ends(1)
        .json();
    assert_eq!(state(&report, "streams").0, "fault");
    assert!(state(&report, "streams").1.contains("gatewright provision"));
    assert_eq!(state(&report, "policy").0, "skipped");
    // Provisioned, and nobody is at work.
    other(&["provision", "--prefix", "blue"]).ends(0);
    let report = other(&["doctor", "--json", "--prefix", "blue"])
        .ends(1)
        .json();
    assert_eq!(state(&report, "streams").0, "ok");
    for (check, remedy) in [
        ("dispatcher", "gatewright dispatcher"),
        ("policy", "gatewright policy apply"),
        ("workers", "gatewright worker"),
    ] {
        let (state, told) = state(&report, check);
        assert_eq!(state, "fault", "{check}");
        assert!(told.contains(remedy), "{told}");
    }

    // Servers that are not there, and a database that was never migrated.
    let mut away = fleet.command(&["doctor", "--json"]);
    away.env("NATS_URL", "nats://127.0.0.1:1")
        .env("DATABASE_URL", "postgres://127.0.0.1:1/none");
    let report = crate::support::run(away, "").ends(1).json();
    assert_eq!(state(&report, "nats").0, "fault");
    assert_eq!(state(&report, "postgres").0, "fault");
    let url = fleet.dev.url("database_url");
    let other = format!("{}postgres", url.strip_suffix("gatewright").unwrap());
    let mut empty = fleet.command(&["doctor", "--json"]);
    empty.env("DATABASE_URL", other);
    let report = crate::support::run(empty, "").ends(1).json();
    assert!(
        state(&report, "migrations")
            .1
            .contains("gatewright migrate")
    );

    let projector = eventually("the projector is at work", || {
        let status = fleet.run(&["projector", "status", "--json"]);
        if status.code == 0 {
            Ok(status.json())
        } else {
            Err(status.out)
        }
    });
    assert_eq!(projector["messages"], 0);
}
