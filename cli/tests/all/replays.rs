//! `policy replay`: what a candidate would have answered.

use serde_json::{Value, json};

use crate::support::{Done, Fleet};

const SHADOW: &str = r#"
mode = "shadow"
default = "deny"
auto_allow = ["runtime.noop", "egress.request"]

[domains]
allow = ["old.test"]
"#;

/// Lets echo run and noop not, and knows another domain.
const CANDIDATE: &str = r#"
mode = "enforce"
default = "deny"
auto_allow = ["runtime.echo", "egress.request"]

[domains]
allow = ["new.test"]
"#;

fn submit(fleet: &Fleet, run: &Value) -> Done {
    fleet.feed(&["run", "submit", "--wait", "--json"], &run.to_string())
}

/// A run of one call.
fn calls(id: &str, tool: &str, input: &Value, policy: &Value) -> Value {
    json!({ "run_id": id, "input": { "runtime": {
        "policy": policy, "steps": [{ "tool_calls": [{ "tool": tool, "input": input }] }] } } })
}

fn counts(report: &Value) -> Value {
    let totals = report["totals"].as_object().unwrap();
    let some = totals.iter().filter(|(_, count)| **count != 0);
    some.map(|(name, count)| (name.clone(), count.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn a_candidate_is_asked_about_all_that_shadow_mode_recorded() {
    let fleet = Fleet::start();
    fleet.file("shadow.toml", SHADOW);
    fleet.file("candidate.toml", CANDIDATE);
    fleet.run(&["policy", "apply", "shadow.toml"]).ends(0);
    let none = json!(null);
    for n in 1..=3 {
        let run = calls(&format!("plain-{n}"), "runtime.echo", &json!({}), &none);
        submit(&fleet, &run).ends(0);
    }
    for n in 1..=2 {
        let run = calls(&format!("noop-{n}"), "runtime.noop", &json!({}), &none);
        submit(&fleet, &run).ends(0);
        let input = json!({ "text": "see https://NEW.test/x" });
        let run = calls(&format!("listed-{n}"), "runtime.echo", &input, &none);
        submit(&fleet, &run).ends(0);
    }
    let supervised = json!({ "zone": "supervised", "principal_id": "p1" });
    let input = json!({ "text": "https://old.test" });
    let run = calls("unlisted", "runtime.echo", &input, &supervised);
    submit(&fleet, &run).ends(0);
    // The gateway refuses the address; what counts here is what the gate said of the call and of its request.
    let input = json!({ "target_url": "http://127.0.0.1:9/" });
    let run = calls("outside", "egress.request", &input, &none);
    submit(&fleet, &run).ends(1);
    fleet.projected();

    let replay = ["policy", "replay", "candidate.toml", "--json"];
    let report = fleet.run(&replay).ends(0).json();
    assert_eq!(
        counts(&report),
        json!({
            "decisions": 10,
            "newly_allowed": 5,
            "newly_denied": 2,
            "newly_needing_approval": 1,
            "other_mode": 2,
        }),
        "{report:#}"
    );
    // Then: six of echo by the default, two about the host of the request. Now: noop, the unlisted, and the host again.
    assert_eq!(
        report["shadow"],
        json!({ "decisions": 10, "would_stop_then": 8, "would_stop_now": 5 })
    );
    let by = |list: &str| -> Vec<(Value, Value, Value)> {
        let groups = report[list].as_array().unwrap().iter();
        groups
            .map(|one| {
                let total = one["decisions"].clone();
                (one["name"].clone(), total, one["same"].clone())
            })
            .collect()
    };
    assert_eq!(
        by("tools"),
        [
            (json!("runtime.echo"), json!(6), json!(0)),
            (json!("egress.request"), json!(2), json!(0)),
            (json!("runtime.noop"), json!(2), json!(0)),
        ]
    );
    assert_eq!(
        by("principals"),
        [
            (json!(null), json!(9), json!(0)),
            (json!("p1"), json!(1), json!(0)),
        ]
    );
    assert_eq!(
        by("zones"),
        [
            (json!("sandbox"), json!(9), json!(0)),
            (json!("supervised"), json!(1), json!(0)),
        ]
    );
    let reasons: Vec<String> = report["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            format!(
                "{} {} -> {} {}",
                one["decisions"],
                one["then"]["reason_code"],
                one["now"]["reason_code"],
                one["examples"][0]
            )
            .replace('"', "")
        })
        .collect();
    assert_eq!(
        reasons,
        [
            "5 default_deny -> tool_auto_allowed default/plain-1",
            "2 tool_auto_allowed -> default_deny default/noop-1",
            "2 domain_not_allowlisted -> domain_not_allowlisted default/outside",
            "1 default_deny -> domain_not_allowlisted default/unlisted",
        ]
    );

    // A person is told the same.
    let told = fleet.run(&replay[..3]).ends(0);
    for line in [
        "10 decisions since",
        "newly allowed                    5",
        "enforcing would have stopped 8 by the recorded answers, and 5 by the candidate's",
        "default/plain-1 default/plain-2 default/plain-3",
    ] {
        assert!(told.out.contains(line), "{line:?} in {told:#?}");
    }

    // For a build that must not pass.
    let failing = [&replay[..], &["--fail-on-change"]].concat();
    assert_eq!(
        fleet.run(&failing).ends(1).json()["totals"],
        report["totals"]
    );

    // A part of it.
    let none = fleet.run(&[&replay[..], &["-w", "other"]].concat()).ends(0);
    assert_eq!(counts(&none.json()), json!({}));
    let some = fleet
        .run(&[&replay[..], &["--limit", "3"]].concat())
        .ends(0);
    assert_eq!(some.json()["totals"]["decisions"], 3);
    assert_eq!(some.json()["candidate"]["limited"], true);

    // Taken elsewhere, where there is no database, it comes to the same.
    let export = [&replay[..], &["--export", "decisions.jsonl"]].concat();
    let exported = fleet.run(&export).ends(0).json();
    let from = [&replay[..], &["--from", "decisions.jsonl"]].concat();
    let mut elsewhere = fleet.command(&from);
    elsewhere
        .env_remove("DATABASE_URL")
        .env_remove("NATS_URL")
        .env_remove("NATS_NKEY");
    let again = crate::support::run(elsewhere, "").ends(0).json();
    assert_eq!(again, exported);

    // A file that is not whole is refused, not half replayed.
    let whole = fleet.read("decisions.jsonl");
    let without_end = whole.trim_end().rsplit_once('\n').unwrap().0;
    fleet.file("decisions.jsonl", &format!("{without_end}\n"));
    let refused = fleet.run(&from).ends(2);
    assert!(refused.err.contains("cut off"), "{refused:#?}");
    let mut lines: Vec<&str> = whole.lines().collect();
    lines.remove(2);
    fleet.file("decisions.jsonl", &lines.join("\n"));
    fleet.run(&from).ends(2);
}

const ENFORCED: &str = r#"
mode = "enforce"
default = "deny"
auto_allow = ["runtime.noop", "egress.request"]
require_approval = ["runtime.echo"]

[domains]
allow = ["listed.test", "127.0.0.1"]
"#;

/// Each decision meets the world of its own time, so the policy that was asked answers as it did.
#[test]
fn the_policy_that_was_active_changes_nothing() {
    let fleet = Fleet::start();
    fleet.file("policy.toml", ENFORCED);
    fleet.run(&["policy", "apply", "policy.toml"]).ends(0);
    for token in ["narrow", "wide"] {
        let tools = if token == "wide" { "*" } else { "runtime.echo" };
        let grant = [
            "capability",
            "grant",
            "--to",
            "p1",
            "--by",
            "admin",
            "--id",
            token,
            "--tools",
            tools,
            "--rooms",
            "*",
            "--domains",
            "*",
            "--actions",
            "*",
        ];
        fleet.run(&grant).ends(0);
    }
    let agent = ["--actor-type", "agent", "--actor-id", "a1"];
    fleet
        .run(&[&["principal", "register", "p1"][..], &agent].concat())
        .ends(0);
    let under = |token: &str| json!({ "principal_id": "p1", "capability_token_id": token, "actor_type": "agent", "actor_id": "a1" });
    let noop =
        |id: &str, policy: &Value| submit(&fleet, &calls(id, "runtime.noop", &json!({}), policy));

    // Allowed, denied by a token's scope, by a context that cannot be read, and by the default.
    noop("allowed", &under("wide")).ends(0);
    noop("nobody", &json!(null)).ends(0);
    noop("narrow", &under("narrow")).ends(1);
    noop("odd", &json!({ "zone": "moon" })).ends(1);
    // Blocked on the way out, by the address; allowed by the gate both times.
    let input = json!({ "target_url": "http://127.0.0.1:9/" });
    let run = calls("egress", "egress.request", &input, &under("wide"));
    submit(&fleet, &run).ends(1);
    // A host that no list has, which the run does not wait for.
    let input = json!({ "target_url": "https://foreign.test/", "method": "POST" });
    let mut policy = under("wide");
    policy["on_approval"] = json!("fail");
    submit(&fleet, &calls("foreign", "egress.request", &input, &policy)).ends(1);
    // Asked for and approved, then made.
    let run = calls("approved", "runtime.echo", &json!({ "n": 1 }), &json!(null));
    fleet
        .feed(&["run", "submit", "--json"], &run.to_string())
        .ends(0);
    crate::support::eventually("it waits", || {
        let waiting = fleet.run(&["approval", "list", "-o", "ids"]).ends(0);
        if waiting.lines().is_empty() {
            Err(waiting.out)
        } else {
            Ok(())
        }
    });
    let approval = "default.approved.1.1.a1";
    fleet
        .run(&["approval", "approve", approval, "--as", "ada"])
        .ends(0);
    fleet.run(&["run", "watch", "default/approved"]).ends(0);
    // What is taken away now was there then.
    fleet
        .run(&["principal", "quarantine", "p1", "--reason", "odd"])
        .ends(0);
    noop("quarantined", &under("wide")).ends(1);
    fleet.run(&["principal", "release", "p1"]).ends(0);
    noop("released", &under("wide")).ends(0);
    fleet
        .run(&["capability", "revoke", "wide", "--reason", "over"])
        .ends(0);
    noop("revoked", &under("wide")).ends(1);
    fleet.projected();

    let replay = [
        "policy",
        "replay",
        "policy.toml",
        "--json",
        "--fail-on-change",
    ];
    let report = fleet.run(&replay).ends(0).json();
    let totals = &report["totals"];
    // One for each noop (7), two for each request, two for the approved call.
    assert_eq!(
        (&totals["decisions"], &totals["same"]),
        (&json!(13), &json!(13)),
        "{report:#}"
    );

    // A limit that nobody counted then is counted over what is replayed.
    let limited = format!("{ENFORCED}\n[limits.tools_daily]\n\"runtime.noop\" = 1\n");
    fleet.file("limited.toml", &limited);
    let report = fleet
        .run(&["policy", "replay", "limited.toml", "--json"])
        .ends(0)
        .json();
    let reason = &report["reasons"][0];
    assert_eq!(
        reason["now"]["reason_code"], "tool_quota_exceeded",
        "{report:#}"
    );
    assert_eq!(reason["decisions"], 2, "{report:#}");
}
