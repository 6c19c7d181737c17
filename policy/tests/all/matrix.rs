//! The golden matrix: who acts × zone × action × token, and what the gate answers, in `tests/golden/matrix.txt`.
//!
//! A change of semantics shows there as a difference that a reviewer reads.
//! `GATEWRIGHT_BLESS=1 cargo test -p gatewright-policy matrix` writes the file anew.

use std::{fmt::Write as _, fs, path::Path};

use gatewright_policy::{Snapshot, ToolCallRequest};
use gatewright_schemas::{Scopes, Zone};
use serde_json::{Value, json};

use crate::world::{self, agent, all_scopes, ask, at, child, quarantined, token};

const POLICY: &str = r#"
default = "deny"
auto_allow = ["tool"]
domains = { allow = ["*.example.com"], allow_writes = ["tickets.example.com"] }
tokens = { required_in_zones = ["high_stakes"] }
actions = [
    { type = "internal.read", reversible = true },
    { type = "ticket.write", reversible = true, zone = "supervised" },
    { type = "record.delete", reversible = false },
    { type = "payment.send", reversible = false, zone = "high_stakes", pre_approval = true },
]
"#;

const ACTORS: [&str; 5] = [
    "service",
    "on-behalf",
    "agent",
    "agent-unnamed",
    "quarantined",
];
const ACTIONS: [&str; 6] = [
    "-",
    "internal.read",
    "ticket.write",
    "record.delete",
    "payment.send",
    "external.write",
];
const TOKENS: [&str; 7] = [
    "-",
    "all",
    "reader",
    "nothing",
    "other",
    "revoked",
    "child-of-revoked",
];

fn fleet() -> Snapshot {
    let mut snapshot = world::snapshot(POLICY);
    snapshot.upsert_principal(agent("p1", "bot"));
    snapshot.upsert_principal(quarantined(agent("p2", "bad")));
    let reader = Scopes {
        action_types: vec!["internal.read".into()],
        ..all_scopes()
    };
    for holder in ["p1", "p2"] {
        let id = |kind: &str| format!("{kind}-{holder}");
        snapshot.upsert_token(token(&id("all"), holder, all_scopes()));
        snapshot.upsert_token(token(&id("reader"), holder, reader.clone()));
        snapshot.upsert_token(token(&id("nothing"), holder, Scopes::default()));
        snapshot.upsert_token(token(&id("other"), "p3", all_scopes()));
        let mut revoked = token(&id("revoked"), holder, all_scopes());
        revoked.revoked_at = Some(at("2026-03-04T11:00:00Z"));
        snapshot.upsert_token(revoked);
        snapshot.upsert_token(child(
            &id("child-of-revoked"),
            &id("revoked"),
            holder,
            all_scopes(),
        ));
    }
    snapshot
}

fn call(actor: &str, zone: Zone, action: &str, token: &str) -> ToolCallRequest {
    let (mut context, holder) = match actor {
        "service" => (json!({}), "p1"),
        "on-behalf" => (json!({ "principal_id": "p1" }), "p1"),
        "agent" => (
            json!({ "actor_type": "agent", "actor_id": "bot", "principal_id": "p1" }),
            "p1",
        ),
        "agent-unnamed" => (json!({ "actor_type": "agent", "actor_id": "bot" }), "p1"),
        _ => (
            json!({ "actor_type": "agent", "actor_id": "bad", "principal_id": "p2" }),
            "p2",
        ),
    };
    context["zone"] = json!(zone);
    context["capability_token_id"] = if token == "-" {
        Value::Null
    } else {
        json!(format!("{token}-{holder}"))
    };
    let mut call = world::call("tool", &context);
    call.tool.action_type = Some(action.to_owned()).filter(|action| action != "-");
    call
}

#[test]
fn the_matrix_is_as_it_was_reviewed() {
    let fleet = fleet();
    let mut table = String::new();
    for actor in ACTORS {
        for zone in Zone::ALL {
            for action in ACTIONS {
                for token in TOKENS {
                    let answer = ask(&call(actor, *zone, action, token), &fleet, None);
                    let record = answer.record();
                    assert_eq!(answer.is_blocked(), record.blocked);
                    writeln!(
                        table,
                        "{actor:<14} {zone:<11} {action:<14} {token:<17} {:<17} {}",
                        record.decision, record.reason_code
                    )
                    .unwrap();
                }
            }
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/matrix.txt");
    if std::env::var_os("GATEWRIGHT_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &table).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let differs: Vec<String> = table
        .lines()
        .zip(golden.lines().chain(std::iter::repeat("")))
        .filter(|(found, expected)| found != expected)
        .map(|(found, expected)| format!("  was {expected}\n  is  {found}"))
        .collect();
    assert!(
        differs.is_empty() && table.lines().count() == golden.lines().count(),
        "{} rows differ from tests/golden/matrix.txt (GATEWRIGHT_BLESS=1 accepts them):\n{}",
        differs.len(),
        differs.join("\n")
    );
}
