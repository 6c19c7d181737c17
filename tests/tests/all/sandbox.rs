//! Commands and tools of the user's own, from a submission to the tables: the gate, the approval, the sandbox, the service.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use gatewright_schemas::{ApprovalId, Command, EventType, Reply, RunId, RunStatus};
use gatewright_tests::{Fleetlet, eventually, outside::Outsider, policy, role::RoleOptions};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_fleet_role");

fn exec(id: &str, script: &str, more: &Value) -> Value {
    let mut call = json!({ "tool": "exec_command", "input": { "argv": ["sh", "-c", script] } });
    call.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!({ "run_id": id, "input": { "runtime": { "steps": [{ "tool_calls": [call] }] } } })
}

fn escalated() -> Value {
    json!({ "sandbox_permissions": "require_escalated" })
}

/// [`policy::OPEN`], in which commands may be executed.
fn with_commands(more: &str) -> String {
    let open = policy::OPEN.replace("\"runtime.noop\",", "\"runtime.noop\", \"exec_command\",");
    format!("{open}\n{more}")
}

async fn output(fleet: &Fleetlet, run: &RunId) -> Value {
    fleet.the_event(run, EventType::ToolSucceeded).await.data["output"].clone()
}

async fn code(fleet: &Fleetlet, run: &RunId) -> String {
    let error = fleet.row(run).await.error.unwrap();
    error["reason_code"].as_str().unwrap().to_owned()
}

async fn approve(fleet: &Fleetlet, run: &RunId, approval: ApprovalId) {
    let decision = Command::DecideApproval {
        approval_id: approval,
        approve: true,
        reason: None,
        remember_s: None,
    };
    let reply = fleet.command_as("ann", run, decision).await;
    assert!(matches!(reply, Reply::Accepted { .. }), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_when_the_policy_says_so_and_only_then() {
    let fleet = Fleetlet::start(1).await;
    let (denied, status) = fleet
        .ended_run(&exec("denied", "echo hello", &json!({})))
        .await;
    assert_eq!(status, RunStatus::Failed);
    assert_eq!(code(&fleet, &denied).await, "default_deny");
    assert!(!fleet.types(&denied).await.contains(&"tool.invoked"));

    fleet.apply_policy(&with_commands("")).await;
    let (allowed, status) = fleet
        .ended_run(&exec("allowed", "echo hello; pwd; exit 2", &json!({})))
        .await;
    assert_eq!(
        status,
        RunStatus::Succeeded,
        "{}",
        fleet.told(&allowed).await
    );
    let told = output(&fleet, &allowed).await;
    assert_eq!(
        (told["exit_code"].as_i64(), told["stdout"].as_str()),
        (Some(2), Some("hello\n/work\n"))
    );

    // Two calls of one run share a directory; the next run has its own.
    let call =
        |script: &str| json!({ "tool": "exec_command", "input": { "argv": ["sh", "-c", script] } });
    let two = json!({ "run_id": "two", "input": { "runtime": { "steps": [
        { "tool_calls": [call("echo mine > file")] }, { "tool_calls": [call("cat file")] } ] } } });
    let (two, _) = fleet.ended_run(&two).await;
    assert_eq!(
        fleet.call_rows(&two).await[1].output.as_ref().unwrap()["stdout"],
        "mine\n"
    );
    let (other, _) = fleet.ended_run(&exec("other", "ls -A", &json!({}))).await;
    assert_eq!(output(&fleet, &other).await["stdout"], "");
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn escalation_is_approved_and_then_is_the_policys_profile_and_nothing_else() {
    let fleet = Fleetlet::start(1).await;
    let folder = tempfile::Builder::new()
        .prefix("gatewright-test-")
        .tempdir_in("/var/tmp")
        .unwrap();
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(folder.path(), open.clone()).unwrap();
    let (out, more) = (folder.path().join("out"), folder.path().join("more"));
    for folder in [&out, &more] {
        fs::create_dir(folder).unwrap();
        fs::set_permissions(folder, open.clone()).unwrap();
    }
    let script = format!(
        "echo new > {}/a; echo new > {}/b; cat /etc/shadow; ls /root",
        out.display(),
        more.display()
    );

    // Nothing is named: refused, whoever would approve.
    fleet.apply_policy(&with_commands("")).await;
    let (refused, _) = fleet
        .ended_run(&exec("unnamed", &script, &escalated()))
        .await;
    assert_eq!(code(&fleet, &refused).await, "sandbox_profile_missing");

    let profile = |paths: &str| {
        with_commands(&format!(
            "[sandbox]\nescalated = 'out'\n[sandbox.profiles.out]\nwritable = [{paths}]\n"
        ))
    };
    let narrow = profile(&format!("'{}'", out.display()));
    fleet.apply_policy(&narrow).await;
    let run = fleet
        .accepted(&exec("escalated", &script, &escalated()))
        .await;
    let approval = fleet.parked(&run).await;
    assert!(!out.join("a").exists());
    let asked = fleet
        .the_event(&run, EventType::ApprovalRequested)
        .await
        .data;
    assert_eq!(asked["sandbox_profile"]["name"], "out");
    assert_eq!(asked["sandbox_profile"]["writable"], json!([out]));
    approve(&fleet, &run, approval).await;
    assert_eq!(
        fleet.ended(&run).await,
        RunStatus::Succeeded,
        "{}",
        fleet.told(&run).await
    );
    assert!(out.join("a").exists() & !more.join("b").exists());
    let told = output(&fleet, &run).await;
    assert_eq!(told["stdout"], "");
    fs::remove_file(out.join("a")).unwrap();

    // The profile is given more between the approval's request and its use: nobody approved that.
    let run = fleet
        .accepted(&exec("widened", &script, &escalated()))
        .await;
    let approval = fleet.parked(&run).await;
    fleet
        .apply_policy(&profile(&format!(
            "'{}', '{}'",
            out.display(),
            more.display()
        )))
        .await;
    approve(&fleet, &run, approval).await;
    assert_eq!(fleet.ended(&run).await, RunStatus::Failed);
    assert_eq!(code(&fleet, &run).await, "approval_input_mismatch");

    // In shadow mode a call runs that nobody approved, in its ordinary sandbox.
    fleet
        .apply_policy(&narrow.replace("\"enforce\"", "\"shadow\""))
        .await;
    let (shadow, status) = fleet
        .ended_run(&exec("shadow", &script, &escalated()))
        .await;
    assert_eq!(
        status,
        RunStatus::Succeeded,
        "{}",
        fleet.told(&shadow).await
    );
    assert!(!out.join("a").exists() & !more.join("b").exists());
    fleet.audit().await;
}

fn processes_with(marker: &str) -> usize {
    let lines = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("cmdline")).ok());
    // The sleeping command itself; bubblewrap and the shell have more to say.
    lines
        .filter(|line| line.starts_with("sleep\0") & line.contains(marker))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_and_an_ended_run_leave_no_process() {
    let fleet = Fleetlet::start(0).await;
    fleet.apply_policy(&with_commands("")).await;
    let worker = RoleOptions::new(PROGRAM, "worker", "worker-1", &fleet)
        .start()
        .await;
    let marker = format!("600.{}1", std::process::id());
    let sleeping =
        |n: usize| {
            let marker = marker.clone();
            async move {
                eventually("the command sleeps", Duration::from_secs(30), async || {
                    match processes_with(&marker) {
                        found if found == n => Ok(()),
                        found => Err(format!("{found} of {n}")),
                    }
                })
                .await;
            }
        };
    let script = format!("setsid sleep {marker} & sleep {marker}");
    let cancelled = fleet
        .accepted(&exec("cancelled", &script, &json!({})))
        .await;
    sleeping(2).await;
    fleet
        .command(&cancelled, Command::Cancel { reason: None })
        .await;
    sleeping(0).await;

    let killed = fleet.accepted(&exec("killed", &script, &json!({}))).await;
    sleeping(2).await;
    worker.kill().await;
    sleeping(0).await;
    // Nobody knows what it did: it is not made again.
    fleet.start_worker("worker-2").await;
    assert_eq!(fleet.ended(&killed).await, RunStatus::Failed);
    assert_eq!(code(&fleet, &killed).await, "outcome_unknown");
    fleet.audit().await;
}

const OWN: &str = r#"
[[tools]]
name = "count"
description = "Counts"
kind = "command"
argv = ["/usr/bin/perl", "-ne", "print length($_)"]
input_schema = { type = "object" }
effect = "none"
action_type = "text.read"

[[tools]]
name = "ask"
description = "Asks a service"
kind = "nats"
subject = "services.ask"
input_schema = { type = "object", required = ["question"] }
output_schema = { type = "object", required = ["answer"] }
timeout = "2s"
"#;

fn own(id: &str, tool: &str, input: &Value) -> Value {
    json!({ "run_id": id, "input": { "runtime": { "steps": [{ "tool_calls": [{ "tool": tool, "input": input }] }] } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_of_the_users_own_go_the_same_way() {
    let fleet = Fleetlet::start(0).await;
    fleet.start_worker_with_tools("worker-1", OWN).await;
    let (denied, _) = fleet.ended_run(&own("denied", "count", &json!({}))).await;
    assert_eq!(code(&fleet, &denied).await, "default_deny");
    let open = policy::OPEN.replace("\"runtime.noop\",", "\"count\", \"ask\",");
    fleet.apply_policy(&open).await;

    let (counted, status) = fleet
        .ended_run(&own("counted", "count", &json!({ "a": 1 })))
        .await;
    assert_eq!(
        status,
        RunStatus::Succeeded,
        "{}",
        fleet.told(&counted).await
    );
    assert_eq!(output(&fleet, &counted).await, json!(7));
    let invoked = fleet.the_event(&counted, EventType::ToolInvoked).await.data;
    assert_eq!(
        (&invoked["effect"], &invoked["idempotent"]),
        (&json!("none"), &json!(false))
    );

    // Nobody listens, so nothing happened.
    let (alone, _) = fleet
        .ended_run(&own("alone", "ask", &json!({ "question": 1 })))
        .await;
    let error = fleet.row(&alone).await.error.unwrap();
    assert_eq!(error["reason_code"], "tool_execution_failed");
    assert!(
        error["reason"].as_str().unwrap().contains("nobody listens"),
        "{error}"
    );

    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let asked = outsider
        .serve("services.ask", |question| {
            match question["question"].as_str() {
                Some("fail") => Err("sorry".into()),
                Some("silence") => Ok(None),
                Some("nonsense") => Ok(Some("no json".into())),
                Some("shape") => Ok(Some("[]".into())),
                _ => Ok(Some(json!({ "answer": question["question"] }).to_string())),
            }
        })
        .await;
    let (answered, status) = fleet
        .ended_run(&own("answered", "ask", &json!({ "question": "ü" })))
        .await;
    assert_eq!(
        status,
        RunStatus::Succeeded,
        "{}",
        fleet.told(&answered).await
    );
    assert_eq!(output(&fleet, &answered).await, json!({ "answer": "ü" }));
    let headers = asked.last();
    for (name, value) in [
        ("Idempotency-Key", "acme.answered.1.1"),
        ("Nats-Msg-Id", "acme.answered.1.1"),
        ("Gatewright-Workspace-Id", "acme"),
        ("Gatewright-Run-Id", "answered"),
    ] {
        assert_eq!(
            headers.get(name).map(async_nats::HeaderValue::as_str),
            Some(value),
            "{name}"
        );
    }
    for (question, code, part) in [
        ("fail", "tool_execution_failed", "error 500: sorry"),
        ("nonsense", "tool_execution_failed", "is not JSON"),
        ("shape", "tool_execution_failed", "output schema"),
        ("silence", "tool_timeout", "no answer came"),
    ] {
        let (run, _) = fleet
            .ended_run(&own(question, "ask", &json!({ "question": question })))
            .await;
        let error = fleet.row(&run).await.error.unwrap();
        assert_eq!(error["reason_code"], code, "{error}");
        assert!(error["reason"].as_str().unwrap().contains(part), "{error}");
    }
    // A write that was not answered may have happened: a run that asks is asked about.
    let mut asks = own("asks", "ask", &json!({ "question": "silence" }));
    asks["input"]["runtime"]["on_unknown_outcome"] = json!("ask_human");
    let asks = fleet.accepted(&asks).await;
    fleet.parked(&asks).await;
    fleet.audit().await;
}
