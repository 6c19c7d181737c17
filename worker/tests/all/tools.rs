use std::{sync::Arc, time::Duration};

use gatewright_policy::Permit;
use gatewright_schemas::{Digest, Effect, ReasonCode, Stage, ToolCallId};
use gatewright_worker::tool::{
    BoxFuture, Call, Definition, Execution, Registry, TookEffect, Tool, UnusableTool,
    execute_with_limits,
};
use serde_json::{Value, json};

use crate::gate::{OPEN, World, assert_code, call_id, error, output, run, workspace};

#[tokio::test]
async fn noop_answers_with_nothing_and_echo_with_its_input() {
    let world = World::new(OPEN);
    let noop = world.call("runtime.noop", json!({ "anything": 1 })).await;
    assert_eq!(output(&noop), &json!({}));
    let input = json!({ "a": [1, { "b": null }], "delay_ms": 5 });
    let echo = world.call(" runtime.echo\n", input.clone()).await;
    assert_eq!(output(&echo), &input);
}

#[tokio::test]
async fn an_unknown_tool_is_told_with_the_known_ones() {
    let world = World::new(OPEN);
    for name in ["runtime.Noop", "runtime noop", "", "x\u{1b}[2J"] {
        let execution = world.call(name, json!({})).await;
        assert_code(&execution, ReasonCode::ToolNotFound);
        assert_eq!(error(&execution).stage, Stage::Registry);
        assert!(
            error(&execution)
                .reason
                .contains("runtime.echo, runtime.noop")
        );
        assert!(!error(&execution).reason.contains('\u{1b}'));
    }
}

#[tokio::test]
async fn every_violation_of_an_input_is_told_and_none_quotes_it() {
    let world = World::new(OPEN);
    let input = json!({
        "method": "BREW s3cr3t-method", "headers": { "Authorization": 7, "x": ["s3cr3t"] },
        "timeout_ms": 0, "surprise": "s3cr3t",
    });
    let execution = world.call("egress.request", input).await;
    let info = error(&execution);
    assert_eq!(
        (info.stage, info.reason_code),
        (Stage::Input, ReasonCode::ToolInputInvalid)
    );
    let mut pointers: Vec<&str> = info.violations.iter().map(|v| v.pointer.as_str()).collect();
    pointers.sort_unstable();
    let expected = [
        "",
        "",
        "/headers/Authorization",
        "/headers/x",
        "/method",
        "/timeout_ms",
    ];
    assert_eq!(pointers, expected, "{:?}", info.violations);
    assert!(!format!("{info:?}").contains("s3cr3t"), "{info:?}");
}

#[tokio::test]
async fn a_permit_is_good_for_its_own_call_alone() {
    let world = World::new(OPEN);
    let input = json!({ "a": 1 });
    let noop = world.registry.resolve("runtime.noop", &input).unwrap();
    let echo = world.registry.resolve("runtime.echo", &input).unwrap();
    let gate = |hop: &_| world.answer(hop);
    let call = Call::new(
        (&workspace(), &run()),
        call_id(),
        input.clone(),
        &world.rules,
        &gate,
    );
    let other_call = ToolCallId::new("acme.r1.1.2").unwrap();
    let other_input = Digest::of(&json!({ "a": 2 }));
    let digest = call.input_digest();
    let wrong = [
        world.permit(&echo, &other_call, digest),
        world.permit(&echo, &call_id(), &other_input),
        world.permit(&noop, &call_id(), digest),
    ];
    for permit in wrong {
        let shown = format!("{permit:?}");
        let execution = echo.tool.execute(permit, &call).await;
        assert_code(&execution, ReasonCode::PolicyEvaluationError);
        assert_eq!(
            execution.outcome.unwrap_err().took_effect,
            TookEffect::No,
            "{shown}"
        );
    }
    let right = world.permit(&echo, &call_id(), digest);
    assert_eq!(
        output(&execute_with_limits(&*echo.tool, right, &call).await),
        &input
    );
}

/// A tool that forgets to look at its permit, takes its time and talks a lot.
struct Careless(Definition);

impl Careless {
    fn new(effect: Effect) -> Self {
        let mut definition = Definition::new("careless", "", json!({}));
        definition.effect = effect;
        definition.idempotent = effect != Effect::Write;
        definition.timeout = Duration::from_millis(50);
        definition.max_output = 100;
        Self(definition)
    }
}

impl Tool for Careless {
    fn definition(&self) -> &Definition {
        &self.0
    }

    fn execute<'a>(&'a self, _permit: Permit, call: &'a Call<'_>) -> BoxFuture<'a, Execution> {
        Box::pin(async move {
            if call.input().get("slow").is_some() {
                tokio::time::sleep(Duration::from_mins(1)).await;
            }
            Execution::quiet(Ok("x".repeat(200).into()))
        })
    }
}

async fn careless(effect: Effect, input: Value, for_input: &Value) -> Execution {
    let world = World::new(OPEN);
    let registry = Registry::new(vec![Arc::new(Careless::new(effect))]).unwrap();
    let resolved = registry.resolve("careless", &input).unwrap();
    let gate = |hop: &_| world.answer(hop);
    let call = Call::new(
        (&workspace(), &run()),
        call_id(),
        input,
        &world.rules,
        &gate,
    );
    let permit = world.permit(&resolved, &call_id(), &Digest::of(for_input));
    execute_with_limits(&*resolved.tool, permit, &call).await
}

#[tokio::test]
async fn limits_hold_for_every_tool() {
    let slow = json!({ "slow": true });
    for (effect, retry, took_effect) in [
        (Effect::Read, true, TookEffect::No),
        (Effect::Write, false, TookEffect::Unknown),
    ] {
        let execution = careless(effect, slow.clone(), &slow).await;
        assert_code(&execution, ReasonCode::ToolTimeout);
        let failure = execution.outcome.unwrap_err();
        assert_eq!((failure.retry, failure.took_effect), (retry, took_effect));
    }
    let large = careless(Effect::Read, json!({}), &json!({})).await;
    assert_code(&large, ReasonCode::ToolOutputTooLarge);
    assert!(!large.outcome.unwrap_err().retry);
    let refused = careless(Effect::Read, json!({}), &slow).await;
    assert_code(&refused, ReasonCode::PolicyEvaluationError);
}

#[test]
fn a_registry_refuses_what_it_could_not_serve() {
    struct Named(Definition);
    impl Tool for Named {
        fn definition(&self) -> &Definition {
            &self.0
        }
        fn execute<'a>(&'a self, _: Permit, _: &'a Call<'_>) -> BoxFuture<'a, Execution> {
            unreachable!()
        }
    }
    let named = |name: &str, schema: Value| -> Arc<dyn Tool> {
        Arc::new(Named(Definition::new(name, "", schema)))
    };
    let twice = Registry::new(vec![named("a", json!({})), named("a", json!({}))]);
    assert!(matches!(twice.err(), Some(UnusableTool::Twice(_))));
    let blank = Registry::new(vec![named(" a", json!({}))]);
    assert!(matches!(blank.err(), Some(UnusableTool::Name(_))));
    let fetching = json!({ "$ref": "http://127.0.0.1:1/schema.json" });
    let remote = Registry::new(vec![named("a", fetching)]);
    assert!(matches!(remote.err(), Some(UnusableTool::Schema { .. })));
}

#[test]
fn definitions_can_be_listed() {
    let world = World::new(OPEN);
    let listed: Vec<Value> = world
        .registry
        .definitions()
        .map(|d| serde_json::to_value(d).unwrap())
        .collect();
    let names: Vec<&str> = listed.iter().filter_map(|d| d["name"].as_str()).collect();
    let expected = [
        "egress.request",
        "exec_command",
        "runtime.echo",
        "runtime.noop",
    ];
    assert_eq!(names, expected);
    assert_eq!(listed[0]["timeout_ms"], 125_000);
    assert_eq!(listed[0]["effect"], "write");
}

#[test]
fn what_a_request_does_to_the_world_depends_on_its_method() {
    let world = World::new(OPEN);
    let facts = |input: Value| {
        world
            .registry
            .resolve("egress.request", &input)
            .unwrap()
            .facts
    };
    let with = |method: &str| facts(json!({ "target_url": "http://x", "method": method }));
    for method in ["GET", "HEAD", "OPTIONS"] {
        let facts = with(method);
        assert_eq!((facts.effect, facts.idempotent), (Effect::Read, true));
        assert_eq!(facts.action_type.as_deref(), Some("internal.read"));
    }
    for (method, idempotent) in [
        ("PUT", true),
        ("DELETE", true),
        ("POST", false),
        ("PATCH", false),
    ] {
        let facts = with(method);
        assert_eq!(
            (facts.effect, facts.idempotent),
            (Effect::Write, idempotent),
            "{method}"
        );
        assert_eq!(facts.action_type.as_deref(), Some("external.write"));
    }
    let stated = facts(
        json!({ "target_url": "http://x", "method": "POST", "idempotent": true, "action": "crm.update" }),
    );
    assert!(stated.idempotent);
    assert_eq!(stated.action_type.as_deref(), Some("crm.update"));
    assert_eq!(facts(json!({ "target_url": "http://x" })), with("GET"));
}

#[test]
fn a_write_cannot_pass_for_a_read() {
    let world = World::new(OPEN);
    let input = json!({ "target_url": "http://x", "method": "POST", "action": "internal.read" });
    let refused = world
        .registry
        .resolve("egress.request", &input)
        .err()
        .unwrap();
    assert_eq!(refused.violations[0].pointer, "/action");
}
