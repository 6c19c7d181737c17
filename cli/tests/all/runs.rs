//! Runs: submitted, listed, shown, followed, ended, repeated; and the shapes that programs rely on.

use serde_json::{Value, json};

use crate::support::{Fleet, eventually};

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn runs_from_the_submission_to_the_record() {
    let fleet = Fleet::start();

    // One, over many lines; and again, which changes nothing; and other content, which is refused.
    let run = "{\n  \"run_id\": \"one\",\n  \"title\": \"evil \\u001b[31m\\u202e\"\n}";
    let done = fleet
        .feed(&["run", "submit", "--wait", "--json"], run)
        .ends(0);
    assert_eq!(
        done.json(),
        json!({ "answer": "accepted", "workspace_id": "default", "run_id": "one", "status": "succeeded" })
    );
    fleet.feed(&["run", "submit", "-"], run).ends(0);
    let conflict = fleet
        .feed(&["run", "submit", "--json"], r#"{"run_id":"one"}"#)
        .ends(5);
    assert_eq!(conflict.json()["reason_code"], "run_id_conflict");

    // Many, one of which is not valid: the others run.
    let many = "{\"run_id\":\"m1\"}\n\n{\"run_id\":\"m2\"}\n{\"lane\":\"x\",\"y\":1}\n{\"run_id\":\"m3\"}\n";
    fleet.file("many.jsonl", many);
    let done = fleet
        .run(&[
            "run",
            "submit",
            "many.jsonl",
            "-w",
            "acme",
            "--wait",
            "-o",
            "ids",
        ])
        .ends(5);
    assert_eq!(done.lines(), ["acme/m1", "acme/m2", "acme/m3"]);
    assert!(done.err.contains("/lane: "), "{done:#?}");
    fleet.feed(&["run", "submit"], " \n ").ends(2);
    fleet.run(&["run", "submit", "missing.json"]).ends(2);

    // The list: by workspace, by state, in pages whose cursors lead on.
    fleet.projected();
    let page = |arguments: &[&str]| {
        fleet
            .run(&[&["run", "list", "--json"], arguments].concat())
            .ends(0)
            .json()
    };
    let first = page(&["-w", "acme", "-n", "2"]);
    assert_eq!(keys(&first), ["items", "next"]);
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    let rest = page(&[
        "-w",
        "acme",
        "-n",
        "9",
        "--after",
        first["next"].as_str().unwrap(),
    ]);
    assert_eq!(rest["items"].as_array().unwrap().len(), 2);
    assert_eq!(rest["next"], Value::Null);
    let rejected = page(&["--status", "rejected,failed"]);
    assert_eq!(rejected["items"].as_array().unwrap().len(), 2);
    assert_eq!(
        page(&["--since", "2099-01-01T00:00:00Z"])["items"],
        json!([])
    );
    let table = fleet.run(&["run", "list"]).ends(0).out;
    assert!(table.starts_with("RUN "), "{table}");
    assert!(
        table.contains("evil \\u{1b}[31m\\u{202e}"),
        "what somebody wrote is shown escaped: {table}"
    );
    assert!(
        !table.contains('\u{1b}'),
        "no colours into a pipe: {table:?}"
    );

    // One run, whole.
    let shown = fleet.run(&["run", "show", "one", "--json"]).ends(0).json();
    assert_eq!(shown["status"], "succeeded");
    assert_eq!(shown["tool_calls"][0]["tool_name"], "runtime.noop");
    assert_eq!(shown["decisions"][0]["reason_code"], "tool_auto_allowed");
    let raw = fleet.run(&["run", "show", "one", "--json"]).out;
    assert!(
        !raw.contains('\u{202e}') && raw.contains("\\u202e"),
        "{raw}"
    );
    fleet.run(&["run", "show", "acme/nobody"]).ends(3);
    fleet.run(&["run", "show", "a.b"]).ends(2);

    // Its events, and watching it to its end.
    let events = fleet
        .run(&["run", "events", "default/one", "--json"])
        .ends(0)
        .json_lines();
    let types: Vec<&str> = events
        .iter()
        .map(|line| line["event"]["event_type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "run.created",
            "run.started",
            "step.created",
            "tool.invoked",
            "tool.succeeded",
            "step.completed",
            "run.completed"
        ]
    );
    assert_eq!(
        keys(&events[0]),
        ["attempt", "event", "stored_at", "stream_sequence", "writer"]
    );
    assert_eq!(
        fleet
            .run(&["run", "watch", "one", "--json"])
            .ends(0)
            .json_lines(),
        events
    );
    fleet.run(&["run", "events", "nobody"]).ends(3);
}

#[test]
fn runs_are_ended_and_begun_anew() {
    let fleet = Fleet::start();
    let slow = |id: &str| {
        let call = json!({ "tool": "runtime.echo", "input": { "delay_ms": 60_000 } });
        json!({ "run_id": id, "input": { "runtime": { "steps": [ { "tool_calls": [ call ] } ] } } })
            .to_string()
    };
    let lines = format!("{}\n{}\n", slow("s1"), slow("s2"));
    let ids = fleet.feed(&["run", "submit", "-o", "ids"], &lines).ends(0);
    fleet
        .run(&["run", "watch", "s1", "--timeout", "100ms"])
        .ends(6);
    eventually("both run", || {
        let running = fleet
            .run(&["run", "list", "--status", "running", "-o", "ids"])
            .lines()
            .len();
        if running == 2 {
            Ok(())
        } else {
            Err(format!("{running} run"))
        }
    });
    // What one command prints, another takes.
    let cancelled = fleet
        .feed(
            &[
                "run", "cancel", "-", "--reason", "enough", "--as", "ada", "--json",
            ],
            &ids.out,
        )
        .ends(0);
    for line in cancelled.json_lines() {
        assert_eq!(line["status"], "cancelled");
    }
    fleet.run(&["run", "watch", "s1"]).ends(1);
    fleet.run(&["run", "cancel", "s1"]).ends(5);
    fleet.run(&["run", "cancel", "nobody"]).ends(3);

    let retried = fleet
        .run(&["run", "retry", "s1", "--new-id", "s3", "--json"])
        .ends(0)
        .json();
    assert_eq!(retried["run_id"], "s3");
    let first = &fleet
        .run(&["run", "events", "s3", "--json"])
        .ends(0)
        .json_lines()[0];
    assert_eq!(first["event"]["data"]["retry_of"], "s1");
    fleet.run(&["run", "cancel", "s3"]).ends(0);
    let last = fleet
        .run(&["run", "events", "s2", "--json"])
        .json_lines()
        .pop()
        .unwrap();
    assert_eq!(
        last["event"]["data"],
        json!({ "by": "ada", "reason": "enough" })
    );
}
