//! `audit verify`: what was changed is found and named.

use std::process::Command;

use gatewright_local::Binaries;

use crate::support::Fleet;

/// Does something to the database behind everybody's back, as its superuser.
fn tamper(fleet: &Fleet, sql: &str) {
    let psql = Binaries::find().unwrap().postgres_bin.join("psql");
    let done = Command::new(psql)
        .args([
            "--no-psqlrc",
            "--quiet",
            "--set",
            "ON_ERROR_STOP=1",
            "--command",
            sql,
        ])
        .arg(fleet.dev.url("database_url"))
        .output()
        .expect("psql comes with Postgres; run `make setup`");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[test]
fn a_row_that_was_changed_added_or_removed_is_found_and_named() {
    let fleet = Fleet::start();
    for run in ["a", "b", "c"] {
        let text = format!("{{\"run_id\":\"{run}\"}}");
        fleet.feed(&["run", "submit", "--wait"], &text).ends(0);
    }
    fleet.projected();
    let whole = fleet.run(&["audit", "verify", "--json"]).ends(0).json();
    assert_eq!(whole["broken"], serde_json::json!([]));
    assert_eq!(whole["from"], "both");
    assert_eq!(whole["runs"], 4, "three runs and the fleet's authority");

    // Nobody may, not even the owner, unless the trigger is switched off.
    tamper(
        &fleet,
        "alter table events disable trigger events_append_only;
         update events set actor_id = 'mallory' where run_id = 'b' and seq = 2;
         delete from events where run_id = 'c' and seq = 7;
         insert into events select 999999999, place, event_version, attempt, 99, occurred_at, stored_at, workspace_id, run_id,
            event_id, event_type, step_id, zone, writer, actor_type, actor_id, actor_principal_id, room_id, thread_id,
            correlation_id, causation_id, prev_hash, hash, data, exact from events where run_id = 'a' and seq = 7;
         alter table events enable trigger events_append_only;",
    );
    let broken = fleet.run(&["audit", "verify", "--json"]).ends(1).json();
    let told: Vec<(&str, u64, &str)> = broken["broken"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let text = |name: &str| one[name].as_str().unwrap();
            (text("run_id"), one["seq"].as_u64().unwrap(), text("what"))
        })
        .collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told.contains(&(
            "b",
            2,
            "the row is not what was written: its hash does not match its content"
        )),
        "{told:?}"
    );
    assert!(told.contains(&("c", 7, "the row is missing")), "{told:?}");
    assert!(
        told.iter().any(|(run, seq, _)| (*run, *seq) == ("a", 99)),
        "{told:?}"
    );

    let table = fleet
        .run(&["audit", "verify", "--from", "postgres"])
        .ends(1);
    assert!(table.out.contains("default/b"), "{table:#?}");
    let one = fleet.run(&["audit", "verify", "--run", "b"]).ends(1);
    assert!(one.out.contains("default/b"), "{one:#?}");
    fleet.run(&["audit", "verify", "--from", "stream"]).ends(0);
    fleet.run(&["audit", "verify", "--run", "nobody"]).ends(3);
    // The tables are a copy: folded anew, they are right again.
    fleet.run(&["projector", "rebuild"]).ends(1);
}
