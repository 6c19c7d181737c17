//! `exec_command`: what it takes, and what it answers. What a command can do is in `sandbox`.

use std::sync::Arc;

use gatewright_schemas::{Effect, ReasonCode};
use gatewright_worker::{
    sandbox::{Sandbox, Settings},
    tool::{ExecCommand, Registry, TookEffect},
};
use serde_json::{Value, json};

use crate::gate::{OPEN, World, assert_code, error, output};

#[tokio::test]
async fn a_command_answers_with_what_came_of_it() {
    let world = World::new(OPEN);
    let argv = json!(["sh", "-c", "cat; echo out; echo err >&2; exit 3"]);
    let told = world
        .call("exec_command", json!({ "argv": argv, "stdin": "in " }))
        .await;
    let mut answer = output(&told).clone();
    assert!(answer["duration_ms"].take().is_u64());
    let expected = json!({
        "exit_code": 3, "signal": null, "duration_ms": null, "new_directory": true,
        "stdout": "in out\n", "stdout_bytes": 7, "stdout_truncated": false,
        "stderr": "err\n", "stderr_bytes": 4, "stderr_truncated": false,
    });
    assert_eq!(answer, expected);
    // As large as it gets, it still is an answer.
    let large = "head -c 99999 /dev/zero; head -c 99999 /dev/zero >&2";
    let told = world
        .call("exec_command", json!({ "argv": ["sh", "-c", large] }))
        .await;
    assert_eq!(output(&told)["stdout_truncated"], true);
    assert_eq!(output(&told)["stderr_bytes"], 99999);
}

/// A secret of the input is nowhere in what is recorded, neither whole nor where an output is cut.
#[tokio::test]
async fn a_secret_is_told_neither_whole_nor_in_part() {
    let world = World::new(OPEN);
    let url = "https://u:hunter22-and-more@example.com/";
    for before in [0, 32_760, 32_765, 32_767, 32_790] {
        let script = format!(
            "head -c {before} /dev/zero | tr '\\0' x; for i in 1 2 3 4 5 6 7; do printf '%s' \"$0\"; done; printf '%s' \"$0\" >&2"
        );
        let input = json!({ "argv": ["sh", "-c", script, "hunter22-and-more"], "stdin": url });
        let told = world.call("exec_command", input).await;
        let shown = output(&told).to_string();
        assert!(
            shown.contains("REDACTED"),
            "{before}: {}",
            &shown[shown.len() - 300..]
        );
        assert!(
            !shown.contains("hunt"),
            "{before}: {}",
            &shown[shown.len() - 300..]
        );
    }
}

#[tokio::test]
async fn out_of_time_is_a_failure_of_which_nothing_is_open() {
    let world = World::new(OPEN);
    let argv = json!(["sh", "-c", "echo so far >&2; sleep 600"]);
    let told = world
        .call("exec_command", json!({ "argv": argv, "timeout_ms": 500 }))
        .await;
    assert_code(&told, ReasonCode::ToolTimeout);
    assert!(error(&told).reason.contains("so far"), "{:?}", error(&told));
    let failure = told.outcome.unwrap_err();
    assert_eq!(
        (failure.retry, failure.took_effect),
        (false, TookEffect::Answered)
    );
}

#[tokio::test]
async fn there_is_nothing_to_choose_but_the_command() {
    let world = World::new(OPEN);
    let refused: &[(Value, &str)] = &[
        (json!({}), ""),
        (json!({ "argv": "ls" }), "/argv"),
        (json!({ "argv": [] }), "/argv"),
        (json!({ "argv": [""] }), "/argv/0"),
        (json!({ "argv": ["ls", "a\u{0}b"] }), "/argv/1"),
        (json!({ "argv": ["ls"], "cwd": "/" }), ""),
        (json!({ "argv": ["ls"], "directory": "/" }), ""),
        (json!({ "argv": ["ls"], "env": {} }), ""),
        (
            json!({ "argv": ["ls"], "sandbox_permissions": "require_escalated" }),
            "",
        ),
        (
            json!({ "argv": ["ls"], "timeout_ms": 300_001 }),
            "/timeout_ms",
        ),
    ];
    for (input, pointer) in refused {
        let told = world.call("exec_command", input.clone()).await;
        assert_code(&told, ReasonCode::ToolInputInvalid);
        assert_eq!(error(&told).violations[0].pointer, *pointer, "{input}");
    }
    let resolved = world
        .registry
        .resolve("exec_command", &json!({ "argv": ["ls"] }))
        .unwrap();
    assert_eq!(resolved.facts.effect, Effect::Write);
    assert!(!resolved.facts.idempotent && resolved.definition().sandboxed);
    assert_eq!(resolved.facts.action_type.as_deref(), Some("sandbox.exec"));
}

#[tokio::test]
async fn without_a_sandbox_the_tool_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let sandbox = Arc::new(Sandbox::new(Settings {
        dir: Some(file),
        ..Settings::default()
    }));
    let mut world = World::new(OPEN);
    world.registry = Registry::new(vec![Arc::new(ExecCommand::new(sandbox))]).unwrap();
    let told = world
        .call("exec_command", json!({ "argv": ["true"] }))
        .await;
    assert_code(&told, ReasonCode::SandboxUnavailable);
    let failure = told.outcome.unwrap_err();
    assert_eq!(
        (failure.retry, failure.took_effect),
        (false, TookEffect::No)
    );
}
