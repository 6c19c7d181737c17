//! What operators change: policies, capabilities, principals, approvals, dead letters.

use serde_json::{Value, json};

use crate::support::{Fleet, eventually};

const STRICT: &str = "mode = \"enforce\"\ndefault = \"deny\"\nauto_allow = [\"runtime.noop\"]\nrequire_approval = [\"runtime.echo\"]\n";

#[test]
fn policies_are_checked_applied_and_explained() {
    let fleet = Fleet::start();
    fleet.file("bad.toml", "mode = \"odd\"\ndefalt = \"deny\"\n");
    fleet.file("strict.toml", STRICT);
    let faults = fleet
        .run(&["policy", "validate", "bad.toml", "--json"])
        .ends(1)
        .json();
    assert_eq!(faults["valid"], false);
    let lines: Vec<&Value> = faults["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| &fault["position"]["line"])
        .collect();
    assert_eq!(lines, [1, 2]);
    let told = fleet.run(&["policy", "validate", "bad.toml"]).ends(1);
    assert!(told.out.contains("bad.toml:2:"), "{told:#?}");
    fleet.run(&["policy", "apply", "bad.toml"]).ends(1);
    assert_eq!(
        fleet.run(&["policy", "show", "-o", "ids"]).ends(0).lines(),
        ["1"]
    );

    let call = ["policy", "explain", "--tool", "runtime.echo"];
    fleet.run(&call).ends(0);
    fleet
        .run(&[&call[..], &["--policy", "strict.toml", "--offline"]].concat())
        .ends(1);
    let applied = fleet
        .run(&["policy", "apply", "strict.toml", "--as", "ada", "--json"])
        .ends(0)
        .json();
    assert_eq!(
        (&applied["revision"], &applied["changed"]),
        (&json!(2), &json!(true))
    );
    let again = fleet
        .run(&["policy", "apply", "strict.toml", "--json"])
        .ends(0)
        .json();
    assert_eq!(
        (&again["revision"], &again["changed"]),
        (&json!(2), &json!(false))
    );
    assert_eq!(
        fleet.run(&["policy", "show"]).ends(0).out.trim(),
        STRICT.trim()
    );
    let explained = fleet.run(&[&call[..], &["--json"]].concat()).ends(1).json();
    assert_eq!(explained["policy_revision"], 2);
    let gate = &explained["calls"][0]["tool_gate"];
    assert_eq!(gate["decision"]["reason_code"], "tool_requires_approval");
    assert_eq!(gate["checks"].as_array().unwrap().len(), 13);
    let unknown = fleet.feed(&["policy", "explain", "-", "--json"], r#"{"input":{"runtime":{"steps":[{"tool_calls":[{"tool":"nope"},{"tool":"runtime.noop"}]}]}}}"#);
    assert_eq!(
        unknown.json()["calls"][0]["error"]["reason_code"],
        "tool_not_found"
    );
    assert_eq!(unknown.json()["calls"][1]["blocked"], false);

    fleet.projected();
    let revisions = fleet.run(&["policy", "list", "--json"]).ends(0).json();
    assert_eq!(revisions["items"][0]["activated_by"], "ada");
    let first = fleet.run(&["policy", "show", "--revision", "1"]).ends(0);
    assert!(
        first
            .out
            .contains("The policy that a fresh fleet starts with"),
        "{first:#?}"
    );
    fleet.run(&["policy", "show", "--revision", "9"]).ends(3);
}

#[test]
fn authority_is_granted_and_taken_away() {
    let fleet = Fleet::start();
    let grant = [
        "capability",
        "grant",
        "--to",
        "p1",
        "--by",
        "admin",
        "--id",
        "c1",
        "--tools",
        "runtime.echo",
        "--rooms",
        "*",
    ];
    assert_eq!(fleet.run(&grant).ends(0).lines(), ["c1"]);
    fleet.run(&grant).ends(5);
    let child = [
        "capability",
        "grant",
        "--to",
        "p2",
        "--by",
        "p1",
        "--parent",
        "c1",
        "--id",
        "c2",
        "--tools",
        "*",
        "--json",
    ];
    assert_eq!(
        fleet.run(&child).ends(0).json()["scopes"]["tools"],
        json!(["runtime.echo"])
    );
    let stranger = [
        "capability",
        "grant",
        "--to",
        "p2",
        "--by",
        "p9",
        "--parent",
        "c1",
        "--tools",
        "*",
    ];
    assert!(
        fleet
            .run(&stranger)
            .ends(5)
            .err
            .contains("delegation_refused")
    );
    fleet
        .run(&[
            "capability",
            "grant",
            "--to",
            "p",
            "--by",
            "a",
            "--domains",
            "http://x",
        ])
        .ends(2);
    fleet
        .run(&[
            "principal",
            "register",
            "p1",
            "--actor-type",
            "agent",
            "--actor-id",
            "a1",
        ])
        .ends(0);

    let act = json!({ "input": { "runtime": {
        "policy": { "principal_id": "p1", "capability_token_id": "c1", "actor_type": "agent", "actor_id": "a1" },
        "steps": [ { "tool_calls": [ { "tool": "runtime.echo" } ] } ] } } })
    .to_string();
    let submit = || fleet.feed(&["run", "submit", "--wait", "--json"], &act);
    let reason_of = |done: &Value| {
        let run = format!("default/{}", done["run_id"].as_str().unwrap());
        let events = fleet.run(&["run", "events", &run, "--json"]).json_lines();
        events.last().unwrap()["event"]["data"]["error"]["reason_code"].clone()
    };
    submit().ends(0);
    fleet
        .run(&["principal", "quarantine", "p1", "--reason", "odd"])
        .ends(0);
    assert_eq!(reason_of(&submit().ends(1).json()), "agent_quarantined");
    fleet.run(&["principal", "release", "p1"]).ends(0);
    submit().ends(0);
    fleet
        .run(&["capability", "revoke", "c1", "--reason", "over"])
        .ends(0);
    assert_eq!(
        reason_of(&submit().ends(1).json()),
        "capability_token_revoked"
    );

    fleet.projected();
    let tokens = fleet.run(&["capability", "list", "--json"]).ends(0).json();
    let states: Vec<&Value> = tokens["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| &token["state"])
        .collect();
    assert_eq!(
        states,
        ["revoked", "revoked"],
        "a child of a revoked token is revoked: {tokens}"
    );
    let principals = fleet.run(&["principal", "list", "-o", "ids"]).ends(0);
    assert_eq!(principals.lines(), ["p1"]);
    fleet.run(&["capability", "show", "c9"]).ends(3);
    fleet
        .run(&["principal", "quarantine", "p9", "--reason", "x"])
        .ends(3);
    assert!(
        fleet
            .run(&["tool", "list", "-o", "ids"])
            .ends(0)
            .lines()
            .contains(&"egress.request")
    );
}

#[test]
fn approvals_are_decided_and_dead_letters_sent_again() {
    let fleet = Fleet::start();
    fleet.file("strict.toml", STRICT);
    fleet.run(&["policy", "apply", "strict.toml"]).ends(0);
    let asks = |id: &str| {
        let run = json!({ "run_id": id, "input": { "runtime": { "steps": [ { "tool_calls": [ { "tool": "runtime.echo", "input": { "n": 1 } } ] } ] } } });
        fleet
            .feed(&["run", "submit", "-w", "acme"], &run.to_string())
            .ends(0);
    };
    asks("yes");
    asks("no");
    let waiting = eventually("both wait", || {
        let list = fleet.run(&["approval", "list", "--json"]).ends(0).json();
        if list["items"].as_array().unwrap().len() == 2 {
            Ok(list)
        } else {
            Err(list.to_string())
        }
    });
    assert_eq!(waiting["items"][0]["reason_code"], "tool_requires_approval");
    let shown = fleet.run(&["approval", "show", "acme.yes.1.1.a1"]).ends(0);
    assert!(shown.out.contains("\"n\": 1"), "{shown:#?}");
    fleet
        .run(&["approval", "approve", "acme.yes.1.1.a1", "--as", "ada"])
        .ends(0);
    fleet.run(&["run", "watch", "acme/yes"]).ends(0);
    let denied = fleet
        .run(&[
            "approval",
            "deny",
            "acme.no.1.1.a1",
            "--reason",
            "never",
            "--json",
        ])
        .ends(0)
        .json();
    assert_eq!(denied["status"], "failed");
    fleet
        .run(&["approval", "approve", "acme.no.1.1.a1"])
        .ends(5);
    fleet
        .run(&["approval", "approve", "acme.nobody.1.1.a1"])
        .ends(3);

    // A submission that only the policy's workspace name makes invalid cannot be mended by itself: it is refused again.
    fleet
        .feed(&["run", "submit", "-w", "acme"], r#"{"lane":"x"}"#)
        .ends(5);
    fleet
        .feed(&["run", "submit", "-w", "other"], "not json")
        .ends(5);
    let dead = eventually("both are kept", || {
        let dead = fleet.run(&["dlq", "list", "--json"]).ends(0).json();
        if dead["items"].as_array().unwrap().len() == 2 {
            Ok(dead)
        } else {
            Err(dead.to_string())
        }
    });
    assert_eq!(dead["items"][0]["violations"][0]["pointer"], "/lane");
    assert_eq!(
        fleet
            .run(&["dlq", "list", "-w", "other", "-o", "ids"])
            .ends(0)
            .lines(),
        ["2"]
    );
    assert_eq!(
        fleet.run(&["dlq", "show", "1", "--message"]).ends(0).json(),
        json!({ "lane": "x" })
    );
    let refused = fleet.run(&["dlq", "replay", "1"]).ends(5);
    assert!(refused.err.contains("/lane: "), "{refused:#?}");
    // Mended, it runs.
    let mended = fleet
        .run(&["dlq", "show", "1", "--message"])
        .out
        .replace("\"x\"", "\"interactive\"");
    fleet
        .feed(&["run", "submit", "-w", "acme", "--wait"], &mended)
        .ends(0);
    fleet.run(&["dlq", "replay", "99"]).ends(3);
}

#[test]
fn quotas_are_listed_explained_and_looked_over() {
    let fleet = Fleet::start();
    let none = fleet.run(&["quota", "list", "--json"]).ends(0).json();
    assert_eq!(none["items"], json!([]));
    let limited = "mode = \"enforce\"\nauto_allow = [\"runtime.echo\"]\n[limits]\ntools_daily = { \"runtime.echo\" = 2 }\n";
    fleet.file("limited.toml", limited);
    fleet.run(&["policy", "apply", "limited.toml"]).ends(0);
    let run = r#"{ "input": { "runtime": { "steps": [{ "tool_calls": [
        { "tool": "runtime.echo", "input": { "say": "it" } }] }] } } }"#;
    // The workers hear of the new policy within a second.
    eventually("the limit is used up", || {
        let ended = fleet.feed(&["run", "submit", "-", "--wait", "--json"], run);
        let id = ended.json()["run_id"].as_str().unwrap().to_owned();
        let told = fleet.run(&["run", "events", &id]).out;
        if told.contains("tool_quota_exceeded") {
            Ok(())
        } else {
            Err(told)
        }
    });
    let listed = fleet.run(&["quota", "list", "--json"]).ends(0).json();
    let item = &listed["items"][0];
    assert_eq!(
        (&item["counter"], &item["limit"], &item["leased"]),
        (&json!("tool.runtime.echo"), &json!(2), &json!(2))
    );
    let resets_at = item["resets_at"].as_str().unwrap();
    assert!(resets_at.ends_with("T00:00:00.000000Z"), "{resets_at}");
    let told = fleet.run(&["quota", "list", "-o", "ids"]).ends(0);
    let ids = told.lines();
    assert_eq!(ids, [item["id"].as_str().unwrap()]);
    let after = fleet.run(&["quota", "list", "--json", "--after", ids[0]]);
    assert_eq!(after.ends(0).json()["items"], json!([]));
    let table = fleet.run(&["quota", "list"]).ends(0).out;
    assert!(
        table.contains("tool.runtime.echo") && table.contains("OPEN LEASES"),
        "{table}"
    );

    let call = ["policy", "explain", "--tool", "runtime.echo"];
    let told = &fleet.run(&call).ends(0).out;
    let line = format!(
        "one of 2 of `tool.runtime.echo`, of which 2 are leased; it starts anew at {resets_at}"
    );
    assert!(told.contains(&line), "{told}");
    let told = fleet.run(&[&call[..], &["--json"]].concat()).ends(0).json();
    assert_eq!(told["calls"][0]["counters"][0]["leased"], 2);

    let looked = fleet.run(&["doctor", "--json"]).ends(0).json();
    let checks = looked["checks"].as_array().unwrap();
    let quotas = checks
        .iter()
        .find(|check| check["check"] == "quotas")
        .unwrap();
    assert_eq!(quotas["state"], "warning", "{quotas}");
    assert!(
        quotas["found"].as_str().unwrap().contains(resets_at),
        "{quotas}"
    );
}
