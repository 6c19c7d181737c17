//! Tools of the user's own: what their file may say, and what a program among them may do.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use gatewright_schemas::{Effect, ReasonCode, Stage};
use gatewright_worker::{
    declared::DeclaredTools,
    sandbox::{Sandbox, Settings},
    tool::TookEffect,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::gate::{OPEN, World, assert_code, error, output};

fn read(text: &str, beside: &Path) -> Result<DeclaredTools, Vec<String>> {
    DeclaredTools::read(text, beside, &["runtime.noop"], "fleet")
        .map_err(|faults| faults.0.iter().map(ToString::to_string).collect())
}

fn faults(text: &str) -> Vec<String> {
    read(text, Path::new("/nowhere")).unwrap_err()
}

/// A place with programs, and a world with the tools that are declared there.
struct Shop {
    folder: TempDir,
}

impl Shop {
    fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("gatewright-test-")
            .tempdir_in("/var/tmp")
            .unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        Self { folder }
    }

    fn program(&self, script: &str) -> String {
        let path = self.folder.path().join("program");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        path.display().to_string()
    }

    fn tools(&self, text: &str) -> DeclaredTools {
        read(text, self.folder.path()).unwrap_or_else(|faults| panic!("{}", faults.join("\n")))
    }

    fn world(&self, text: &str) -> World {
        let sandbox = Arc::new(Sandbox::new(Settings {
            dir: Some(self.folder.path().join("sandbox")),
            ..Settings::default()
        }));
        let mut world = World::new(OPEN);
        for tool in self.tools(text).tools(&sandbox, None) {
            world.registry.add(tool).unwrap();
        }
        world
    }
}

fn own(program: &str, more: &str) -> String {
    format!(
        "[[tools]]\nname = 'own'\ndescription = 'mine'\nkind = 'command'\nargv = ['{program}', 'first']\ninput_schema = {{ type = 'object', required = ['a'] }}\n{more}\n"
    )
}

fn digest(tools: &DeclaredTools) -> String {
    tools.definitions().next().unwrap().digest().to_string()
}

#[test]
fn the_example_is_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tools");
    let text = fs::read_to_string(folder.join("tools.toml")).unwrap();
    let tools = read(&text, &folder).unwrap_or_else(|faults| panic!("{}", faults.join("\n")));
    let told: Vec<_> = tools
        .definitions()
        .map(|d| (d.name.as_str(), d.effect, d.idempotent, d.sandboxed))
        .collect();
    let expected = [
        ("text.count", Effect::None, true, true),
        ("tickets.open", Effect::Write, true, false),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn the_examples_program_counts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tools");
    let text = fs::read_to_string(folder.join("tools.toml")).unwrap();
    let shop = Shop::new();
    fs::copy(
        folder.join("ticket.schema.json"),
        shop.folder.path().join("ticket.schema.json"),
    )
    .unwrap();
    let world = shop.world(&text);
    let counted = world.call("text.count", json!({ "text": "höchst" })).await;
    assert_eq!(output(&counted), &json!({ "characters": 6 }));
    let refused = world.call("text.count", json!({ "txt": "" })).await;
    assert_code(&refused, ReasonCode::ToolInputInvalid);
}

#[test]
fn every_fault_of_a_file_is_told_with_its_place() {
    let text = "\
[[tools]]
name = 'runtime.noop'
description = 'x'
kind = 'command'
argv = ['program']
subject = 'a.b'
input_schema = { type = 'strange' }

[[tools]]
name = 'b'
description = 'x'
kind = 'nats'
subject = 'fleet.events.x'
argv = ['/bin/true']
input_schema = 'missing.json'
timeout = '11m'
max_executions = 2

[[tools]]
name = 'b'
description = 'x'
kind = 'command'
argv = ['/usr/bin/no-such-program']
files = ['/var/no-such-file']
input_schema = { '$ref' = 'http://127.0.0.1:1/schema.json' }
output_schema = { '$ref' = 'file:///etc/passwd' }
";
    let told = faults(text);
    let expected = [
        "line 2, column 8: /tools/0/name: `runtime.noop` is the name of one of",
        "line 5, column 9: /tools/0/argv/0: `program` is not a plain absolute path",
        "line 6, column 11: /tools/0/subject: belongs to kind `nats`",
        "line 7, column 1: /tools/0/input_schema: is no JSON Schema that can be used",
        "line 13, column 11: /tools/1/subject: is the fleet's own",
        "line 14, column 8: /tools/1/argv: belongs to kind `command`",
        "line 15, column 16: /tools/1/input_schema: cannot read `/nowhere/missing.json`",
        "line 16, column 11: /tools/1/timeout: must be more than nothing and at most 10m",
        "line 17, column 18: /tools/1/max_executions: a tool that is not idempotent",
        "line 20, column 8: /tools/2/name: `b` is declared already, in /tools/1",
        "line 23, column 9: /tools/2/argv/0: there is no program `/usr/bin/no-such-program`",
        "line 25, column 1: /tools/2/input_schema: is no JSON Schema",
        "line 26, column 1: /tools/2/output_schema: is no JSON Schema",
    ];
    let is_told = |part: &&str| told.iter().any(|fault| fault.starts_with(*part));
    let missing: Vec<_> = expected.iter().filter(|part| !is_told(part)).collect();
    assert!(missing.is_empty(), "{missing:#?} in {told:#?}");
    assert_eq!(told.len(), expected.len(), "{told:#?}");

    let told = faults(
        "tools = [{ name = 'a b', kind = 'shell', secrets = 1, files = ['/etc/shadow'] }]\nmore = 1\n",
    );
    for part in [
        "`more` is not known",
        "`secrets` is not known",
        "is not a tool name",
        "the system's or the sandbox's own (`/etc`)",
        "input_schema",
        "description",
    ] {
        assert!(
            told.iter().any(|fault| fault.contains(part)),
            "{part}: {told:#?}"
        );
    }
    assert!(faults("[[tools]\n")[0].contains("not TOML"));
}

#[test]
fn a_subject_is_one_place_outside_of_the_fleet() {
    let with = |subject: &str| {
        format!(
            "[[tools]]\nname = 'a'\ndescription = 'x'\nkind = 'nats'\ninput_schema = {{}}\nsubject = '{subject}'\n"
        )
    };
    for good in ["tickets", "tickets.open.v1", "fleetwide.x", "a-b_c.D"] {
        assert!(read(&with(good), Path::new("/")).is_ok(), "{good}");
    }
    for bad in [
        "",
        ".",
        "a..b",
        "a.",
        "*",
        "a.*",
        "a.>",
        ">",
        "a b",
        "a\tb",
        "ü",
        "fleet",
        "fleet.submit.acme",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$SYS.x",
        "$KV.authority.x",
        "_INBOX.x.y",
    ] {
        let told = faults(&with(bad));
        assert!(told[0].contains("/tools/0/subject"), "{bad}: {told:?}");
    }
}

#[test]
fn whatever_decides_what_runs_is_in_the_digest() {
    let shop = Shop::new();
    let program = shop.program("cat");
    let first = digest(&shop.tools(&own(&program, "")));
    assert_eq!(digest(&shop.tools(&own(&program, ""))), first);
    let differing = [
        own(&program, "").replace("'first'", "'second'"),
        own(&program, "output_schema = { type = 'object' }"),
        own(&program, "timeout = '31s'"),
        own(&program, "max_output = 100"),
        own(&program, "effect = 'read'"),
        own(&program, "action_type = 'a.b'"),
        own(&program, "data = { read = ['crm'] }"),
        own(&program, "requires_token = true"),
        own(&program, "").replace("'a'", "'b'"),
    ];
    for text in differing {
        assert_ne!(digest(&shop.tools(&text)), first, "{text}");
    }
    shop.program("cat; true");
    assert_ne!(
        digest(&shop.tools(&own(&program, ""))),
        first,
        "the program was swapped"
    );
    let on = |subject: &str| {
        let text = format!(
            "[[tools]]\nname = 'own'\ndescription = 'mine'\nkind = 'nats'\nsubject = '{subject}'\ninput_schema = {{}}\n"
        );
        digest(&shop.tools(&text))
    };
    assert_ne!(on("a"), on("b"));
}

#[tokio::test]
async fn a_program_reads_and_answers_json_in_the_sandbox() {
    let shop = Shop::new();
    let script = r#"printf '{"input": %s, "argument": "%s", "call": "%s", "at": "%s", "shadow": "%s"}' "$(cat)" "$1" "$GATEWRIGHT_TOOL_CALL_ID $GATEWRIGHT_RUN_ID $GATEWRIGHT_WORKSPACE_ID" "$(pwd)" "$(cat /etc/shadow 2>&1 >/dev/null | wc -l)""#;
    let program = shop.program(script);
    let world = shop.world(&own(&program, ""));
    // It is the one that was read when the worker started.
    shop.program("echo swapped");
    let input = json!({ "a": ["ü", { "b": null }] });
    let answered = world.call("own", input.clone()).await;
    let expected = json!({
        "input": input, "argument": "first", "call": "acme.r1.1.1 r1 acme", "at": "/work", "shadow": "1",
    });
    assert_eq!(output(&answered), &expected);
}

#[tokio::test]
async fn whatever_is_no_answer_is_a_failure() {
    let shop = Shop::new();
    let more = "max_output = 200\ntimeout = '1s'\noutput_schema = { type = 'object', required = ['n'], properties = { n = { type = 'integer' } } }";
    let cases = [
        ("echo '{\"n\": 1}'", None, ""),
        (
            "echo '{\"n\": 1} more'",
            Some(ReasonCode::ToolExecutionFailed),
            "is not JSON",
        ),
        ("true", Some(ReasonCode::ToolExecutionFailed), "is not JSON"),
        (
            "echo '{\"n\": \"s3cr3t\"}'",
            Some(ReasonCode::ToolExecutionFailed),
            "output schema",
        ),
        (
            "echo '{\"n\": 1}'; echo sorry >&2; exit 3",
            Some(ReasonCode::ToolExecutionFailed),
            "exit code 3; the end of its stderr: sorry",
        ),
        (
            "head -c 1000 /dev/zero",
            Some(ReasonCode::ToolOutputTooLarge),
            "1000 bytes",
        ),
        (
            "sleep 600",
            Some(ReasonCode::ToolTimeout),
            "longer than 1000 ms",
        ),
        // What a secret's value was stays unknown, also when the program tells it.
        (
            "cat >&2; exit 1",
            Some(ReasonCode::ToolExecutionFailed),
            "***",
        ),
    ];
    for (script, code, part) in cases {
        let program = shop.program(script);
        let world = shop.world(&own(&program, more));
        let execution = world
            .call("own", json!({ "a": 1, "password": "hunter22" }))
            .await;
        let Some(code) = code else {
            assert_eq!(output(&execution), &json!({ "n": 1 }));
            continue;
        };
        assert_code(&execution, code);
        let info = error(&execution);
        assert_eq!(info.stage, Stage::Execution);
        let told = format!("{info:?}");
        assert!(
            !told.contains("s3cr3t") && !told.contains("hunter22"),
            "{told}"
        );
        assert!(
            part == "***" || info.reason.contains(part),
            "{script}: {told}"
        );
        let failure = execution.outcome.unwrap_err();
        assert_eq!(
            (failure.retry, failure.took_effect),
            (false, TookEffect::Answered)
        );
    }
}

#[tokio::test]
async fn only_what_may_be_repeated_is_repeated_when_it_says_not_now() {
    let shop = Shop::new();
    let program = shop.program("exit 75");
    for (more, retry) in [("idempotent = true\nmax_executions = 3", true), ("", false)] {
        let world = shop.world(&own(&program, more));
        let execution = world.call("own", json!({ "a": 1 })).await;
        assert_eq!(execution.outcome.unwrap_err().retry, retry, "{more}");
    }
}

#[tokio::test]
async fn without_a_sandbox_nothing_runs() {
    let shop = Shop::new();
    let mark = shop.folder.path().join("mark");
    let program = shop.program(&format!("touch {}", mark.display()));
    // A file stands where the sandbox's folder is to be.
    fs::write(shop.folder.path().join("sandbox"), "").unwrap();
    let world = shop.world(&own(&program, ""));
    let execution = world.call("own", json!({ "a": 1 })).await;
    assert_code(&execution, ReasonCode::SandboxUnavailable);
    assert_eq!(execution.outcome.unwrap_err().took_effect, TookEffect::No);
    assert!(!mark.exists());
}

#[tokio::test]
async fn a_service_is_not_called_without_a_fleet() {
    let shop = Shop::new();
    let world = shop.world("[[tools]]\nname = 'own'\ndescription = 'x'\nkind = 'nats'\nsubject = 'a'\ninput_schema = {}\n");
    let execution = world.call("own", Value::Null).await;
    assert_code(&execution, ReasonCode::ToolExecutionFailed);
    assert_eq!(execution.outcome.unwrap_err().took_effect, TookEffect::No);
}
