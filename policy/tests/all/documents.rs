//! Policy documents: every fault with its place, and rules that can never match.

use gatewright_policy::{PolicyDocument, document::Position};
use gatewright_schemas::{Decision, EnforcementMode, ReasonCode};
use serde_json::json;

use crate::world::{ask_egress, call, code, request_of, snapshot};

fn faults(text: &str) -> Vec<String> {
    let faults = PolicyDocument::parse(text)
        .expect_err("the document must be refused")
        .0;
    faults
        .into_iter()
        .map(|fault| {
            format!(
                "{}:{} {}",
                fault.position.line, fault.position.column, fault.pointer
            )
        })
        .collect()
}

fn warnings(text: &str) -> Vec<String> {
    let document = PolicyDocument::parse(text).unwrap_or_else(|faults| panic!("{faults}"));
    document
        .warnings()
        .into_iter()
        .map(|warning| warning.pointer)
        .collect()
}

#[test]
fn an_empty_document_enforces_and_denies() {
    let document = PolicyDocument::parse("").unwrap();
    assert_eq!(document, PolicyDocument::default());
    assert_eq!(
        (document.mode, document.default),
        (EnforcementMode::Enforce, Decision::Deny)
    );
    assert!(document.approvals.requester_may_not_approve);
}

#[test]
fn all_faults_are_told_with_line_and_column() {
    let text = r#"mode = "strict"
auto_alow = ["echo"]
require_approval = ["a b", "*", 3]
max_snapshot_age = "30 seconds"

[tool_modes]
"a b" = "shadow"

[domains]
allow = ["*.example.com", "https://example.com/"]

[kill_switches]
zones = ["moon"]
workspaces = ["a.b"]

[approvals]
approvers = 0

[egress]
address_exceptions = ["10.0.0.1/8", "nowhere"]

[[actions]]
type = "x"

[[actions]]
type = "y"
reversible = true
zone = "sandbox"
surprise = 1
"#;
    assert_eq!(
        faults(text),
        [
            "1:8 /mode",
            "2:13 /auto_alow",
            "3:21 /require_approval/0",
            "3:28 /require_approval/1",
            "3:33 /require_approval/2",
            "4:20 /max_snapshot_age",
            "7:9 /tool_modes/a b",
            "10:27 /domains/allow/1",
            "13:10 /kill_switches/zones/0",
            "14:15 /kill_switches/workspaces/0",
            "17:13 /approvals/approvers",
            "20:23 /egress/address_exceptions/0",
            "20:37 /egress/address_exceptions/1",
            "22:1 /actions/0",
            "29:12 /actions/1/surprise",
        ]
    );
}

#[test]
fn faults_of_the_toml_itself_have_places_too() {
    let faults = PolicyDocument::parse("mode = \"enforce\"\ndefault = \nmode = 'x'\n").unwrap_err();
    assert!(faults.0.len() >= 2, "{faults}");
    assert_eq!(
        faults.0[0].position,
        Position {
            line: 2,
            column: 11
        },
        "{faults}"
    );
    assert!(
        faults
            .to_string()
            .starts_with("line 2, column 11: not TOML"),
        "{faults}"
    );
}

#[test]
fn columns_are_characters() {
    let faults = PolicyDocument::parse("auto_allow = [\"äöü\", 3]").unwrap_err();
    assert_eq!(
        faults.0[0].position,
        Position {
            line: 1,
            column: 22
        }
    );
}

#[test]
fn messages_say_what_to_write_instead() {
    let text = "auto_allow = ['*']\nmax_snapshot_age = '1w'\negress = { address_exceptions = ['10.0.0.1/8'] }\ndomains = { allow = ['http://x/'] }";
    let faults = PolicyDocument::parse(text).unwrap_err().to_string();
    for part in [
        "use `default` for all others",
        "`30s`",
        "`10.0.0.0/8`",
        "without scheme, port or path",
    ] {
        assert!(faults.contains(part), "{part} is missing in:\n{faults}");
    }
}

#[test]
fn what_a_schema_cannot_say_is_checked_too() {
    let text =
        "[[actions]]\ntype = 'x'\nreversible = true\n[[actions]]\ntype = 'x'\nreversible = false\n";
    assert_eq!(faults(text), ["5:8 /actions/1/type"]);
    assert_eq!(
        faults("[egress]\nconnect_timeout = '9s'\ntimeout = '8s'"),
        ["2:19 /egress/connect_timeout"]
    );
}

#[test]
fn numbers_beyond_their_field_are_faults() {
    for text in [
        "limits = { each_tool_daily = -1 }",
        "limits = { each_tool_daily = 1.5 }",
        "limits = { each_tool_daily = 99999999999999999999999 }",
        "limits = { tools_daily = { echo = 'many' } }",
        "approvals = { approvers = 300 }",
        "egress = { max_redirects = 4294967296 }",
        "max_snapshot_age = 30",
        "mode = 2026-01-01",
        "egress = { max_response_bytes = inf }",
    ] {
        assert_eq!(faults(text).len(), 1, "{text}");
    }
}

#[test]
fn the_digest_is_of_what_is_said() {
    let digest = |text: &str| PolicyDocument::parse(text).unwrap().digest();
    assert_eq!(
        digest(""),
        digest("# nothing\nmode = 'enforce'\nmax_snapshot_age = '30000ms'")
    );
    assert_ne!(digest(""), digest("mode = 'shadow'"));
}

#[test]
fn a_document_survives_being_written_and_read() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/strict.toml"))
            .unwrap();
    let document = PolicyDocument::parse(&text).unwrap();
    let written = toml::to_string(&document).unwrap();
    assert_eq!(PolicyDocument::parse(&written).unwrap(), document);
}

#[test]
fn rules_that_can_never_match_are_told() {
    let text = r#"
auto_allow = ["a", "b", "a", "dead"]
require_approval = ["b"]
tool_modes = { a = "enforce", b = "shadow" }

[domains]
allow = ["*.example.com", "www.example.com", "*.a.example.com", "evil.org"]
allow_writes = ["api.example.com", "other.org"]

[kill_switches]
tools = ["dead"]
zones = ["sandbox"]

[tokens]
required_in_zones = ["sandbox", "supervised"]
required_for_tools = ["dead"]

[limits.tools_daily]
a = 1
dead = 2
unknown = 3
b = 0

[egress]
address_exceptions = ["10.0.0.0/8", "10.1.0.0/16", "8.8.8.8", "10.0.0.0/8"]

[[actions]]
type = "a"
reversible = true
zone = "sandbox"

[[actions]]
type = "b"
reversible = false
zone = "supervised"
"#;
    assert_eq!(
        warnings(text),
        [
            "/tokens/required_in_zones/0",
            "/tokens/required_for_tools/0",
            "/auto_allow/2",
            "/auto_allow/1",
            "/auto_allow/3",
            "/tool_modes/a",
            "/limits/tools_daily/b",
            "/limits/tools_daily/dead",
            "/limits/tools_daily/unknown",
            "/domains/allow/1",
            "/domains/allow/2",
            "/domains/allow_writes/1",
            "/actions/0/zone",
            "/actions/1/zone",
            "/egress/address_exceptions/1",
            "/egress/address_exceptions/2",
            "/egress/address_exceptions/3",
        ]
    );
    assert_eq!(Position::of(text, "/limits/tools_daily/dead").line, 20);
    assert_eq!(
        Position::of(text, "/domains/allow/2"),
        Position {
            line: 7,
            column: 46
        }
    );
}

#[test]
fn switches_that_make_everything_moot_are_told() {
    assert_eq!(
        warnings("kill_switches = { fleet = true }"),
        ["/kill_switches/fleet"]
    );
    let zones = "kill_switches = { zones = ['sandbox', 'supervised', 'high_stakes'] }";
    assert_eq!(warnings(zones), ["/kill_switches/zones"]);
    assert_eq!(
        warnings("default = 'allow'\nauto_allow = ['a']"),
        ["/auto_allow/0"]
    );
}

#[test]
fn a_fresh_fleet_may_do_little_and_says_what_it_would_take() {
    let fleet = snapshot(gatewright_policy::document::DEFAULT);
    for tool in ["runtime.noop", "runtime.echo"] {
        assert_eq!(
            code(&call(tool, &json!({})), &fleet),
            ReasonCode::ToolAutoAllowed,
            "{tool}"
        );
    }
    assert_eq!(
        code(&call("rm", &json!({})), &fleet),
        ReasonCode::DefaultDeny
    );
    let high = call("runtime.echo", &json!({ "zone": "high_stakes" }));
    assert_eq!(code(&high, &fleet), ReasonCode::CapabilityTokenRequired);
    let egress = call("egress.request", &json!({}));
    for (method, url, action, expected) in [
        (
            "GET",
            "https://www.example.com",
            "external.read",
            ReasonCode::ToolAutoAllowed,
        ),
        (
            "GET",
            "https://example.org",
            "external.read",
            ReasonCode::DomainNotAllowlisted,
        ),
        (
            "POST",
            "https://www.example.com",
            "external.write",
            ReasonCode::ExternalWriteRequiresApproval,
        ),
    ] {
        let answer = ask_egress(&request_of(&egress, method, url, action), &fleet, None);
        assert_eq!(answer.record().reason_code, expected, "{method} {url}");
    }
}

#[test]
fn ten_thousand_patterns_are_checked_in_a_moment() {
    let patterns: Vec<String> = (0..10_000).map(|n| format!("'a{n}.example.com'")).collect();
    let text = format!(
        "domains = {{ allow = [{}, '*.example.com'] }}",
        patterns.join(", ")
    );
    assert_eq!(warnings(&text).len(), 10_000);
}

/// The faults as a person reads them.
fn spoken(text: &str) -> Vec<String> {
    let faults = PolicyDocument::parse(text).unwrap_err();
    faults.0.iter().map(ToString::to_string).collect()
}

#[test]
fn a_sandbox_profile_opens_single_paths_and_nothing_else() {
    let text = "\
[sandbox]
escalated = 'unconfined'
[sandbox.profiles.a]
writable = ['/', '/srv/../etc', '/proc/1/root', '/etc/cron.d', '/srv/out']
readable = ['/root/.ssh', 'relative', '/home']
network = 'host'
";
    let found = spoken(text);
    for part in [
        "line 4, column 13: /sandbox/profiles/a/writable/0: `/` is too much at once",
        "/sandbox/profiles/a/writable/1: `/srv/../etc` is not a plain absolute path",
        "/sandbox/profiles/a/writable/2: `/proc/1/root` is the system's",
        "/sandbox/profiles/a/writable/3: `/etc/cron.d` is the system's",
        "line 5, column 13: /sandbox/profiles/a/readable/0: `/root/.ssh` is the system's",
        "/sandbox/profiles/a/readable/1: `relative` is not a plain absolute path",
        "/sandbox/profiles/a/readable/2: `/home` is too much",
        "line 6, column 11: /sandbox/profiles/a/network: `network` is not known here",
    ] {
        assert!(
            found.iter().any(|fault| fault.contains(part)),
            "{part}: {found:#?}"
        );
    }
    assert_eq!(found.len(), 8, "{found:#?}");
    let nested = "[sandbox]\nescalated = 'b'\n[sandbox.profiles.a]\nwritable = ['/srv/out']\nreadable = ['/srv/out/in', '/srv/outer']\n";
    let found = spoken(nested);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].contains(
            "line 2, column 13: /sandbox/escalated: there is no profile `b`; known are: a"
        )
    );
    assert!(
        found[1]
            .contains("/sandbox/profiles/a/readable/0: `/srv/out/in` is at or below `/srv/out`")
    );
}

#[test]
fn a_profile_that_no_call_gets_is_warned_of_and_none_changes_no_digest() {
    let document =
        PolicyDocument::parse("sandbox = { profiles = { a = { readable = ['/srv/in'] } } }")
            .unwrap();
    let warnings = document.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].pointer, "/sandbox/profiles/a");
    let empty = PolicyDocument::parse("").unwrap();
    assert_eq!(
        PolicyDocument::parse("[sandbox]").unwrap().digest(),
        empty.digest()
    );
    assert_ne!(document.digest(), empty.digest());
}
