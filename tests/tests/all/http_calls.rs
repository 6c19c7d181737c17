//! The route of TASK-217: calls of outside agents over HTTP go the way that the calls of planned runs go.

use std::{path::Path, process::Stdio, time::Duration};

use gatewright_schemas::{
    Command, DataAccess, EventType, KeyRole, RunId, RunStatus, Scopes, ToolCallId,
};
use gatewright_tests::{
    Fleetlet, eventually, holds_for,
    http::{Answer, Client},
    policy, run,
    upstream::Upstream,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

const SOON: Duration = Duration::from_secs(30);

/// A key for these roles.
async fn client(fleet: &Fleetlet, to: std::net::SocketAddr, roles: &[KeyRole]) -> Client {
    let key = fleet.key("support-bot", roles).await;
    Client { to, key }
}

/// A run whose calls come from outside, and its first step.
async fn begin(fleet: &Fleetlet, agent: &Client, id: &str, context: &Value) -> String {
    let submission = json!({ "run_id": id, "input": { "runtime": {
        "actor": "external", "policy": context } } });
    fleet.accepted(&submission).await;
    let opened = agent
        .post(&format!("/v1/runs/{id}/steps"), &json!({}))
        .await;
    assert_eq!(opened.status, 201, "{opened:?}");
    opened.body["step_id"].as_str().unwrap().to_owned()
}

fn path(step: &str) -> String {
    format!("/v1/steps/{step}/toolcalls")
}

fn decide(answer: &Answer, approve: bool) -> Command {
    Command::DecideApproval {
        approval_id: answer.body["approval_id"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap(),
        approve,
        reason: None,
        remember_s: None,
    }
}

/// What a run's events say of its calls, without what differs from run to run.
async fn told_of_calls(fleet: &Fleetlet, run: &RunId) -> Vec<Value> {
    let families = ["policy.", "tool.", "approval.", "egress.", "quota."];
    let events = fleet.events(run).await.into_iter();
    let of_calls = events.filter(|event| {
        let kind = event.event_type.as_str();
        event.event_type != EventType::ToolRequested && families.iter().any(|f| kind.starts_with(f))
    });
    of_calls
        .map(|event| {
            // Either dispatcher may have carried a decision out.
            let actor = event.actor.actor_id.replace("http-1", "dispatcher-1");
            let data = event.data.to_string().replace(run.as_str(), "RUN");
            let mut data: Value = serde_json::from_str(&data).unwrap();
            strip(&mut data);
            json!([
                event.event_type,
                event
                    .step_id
                    .map(|s| s.as_str().replace(run.as_str(), "RUN")),
                event.zone,
                event.actor.actor_type,
                actor,
                event.actor_principal_id,
                data
            ])
        })
        .collect()
}

/// Takes out times, and digests over what holds the run's id.
fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for field in [
                "duration_us",
                "expires_at",
                "resets_at",
                "decided_at",
                "received_at",
            ] {
                fields.remove(field);
            }
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// One line of the table that both paths are put through.
struct Case {
    name: &'static str,
    context: Value,
    tool: &'static str,
    input: Value,
    sandbox: Option<&'static str>,
    /// The decision on its approval, where it needs one.
    verdict: Option<bool>,
    /// The status of the HTTP answer, and the reason code of a refusal.
    expected: (u16, Option<&'static str>),
}

fn case(name: &'static str, tool: &'static str, expected: (u16, Option<&'static str>)) -> Case {
    Case {
        name,
        context: Value::Null,
        tool,
        input: json!({}),
        sandbox: None,
        verdict: None,
        expected,
    }
}

impl Case {
    fn under(self, context: Value) -> Self {
        Self { context, ..self }
    }

    fn with(self, input: Value) -> Self {
        Self { input, ..self }
    }

    fn decided(self, approve: bool) -> Self {
        let verdict = Some(approve);
        Self { verdict, ..self }
    }

    /// As a run of steps of its own; answers with its id once it has ended.
    async fn planned(&self, fleet: &Fleetlet) -> RunId {
        let mut call = json!({ "tool": self.tool, "input": self.input });
        if let Some(word) = self.sandbox {
            call["sandbox_permissions"] = json!(word);
        }
        let id = format!("planned-{}", self.name);
        let submission = json!({ "run_id": id, "input": { "runtime": {
            "policy": self.context, "steps": [{ "tool_calls": [call] }] } } });
        let run = fleet.accepted(&submission).await;
        if let Some(approve) = self.verdict {
            let command = Command::DecideApproval {
                approval_id: fleet.parked(&run).await,
                approve,
                reason: None,
                remember_s: None,
            };
            fleet.command_as("ann", &run, command).await;
        }
        fleet.ended(&run).await;
        run
    }

    /// As the call of an outside agent; answers with its run's id and the last answer.
    async fn over_http(&self, fleet: &Fleetlet, agent: &Client) -> (RunId, Answer) {
        let id = format!("http-{}", self.name);
        let step = begin(fleet, agent, &id, &self.context).await;
        let mut body = json!({ "tool": self.tool, "input": self.input });
        if let Some(word) = self.sandbox {
            body["sandbox_permissions"] = json!(word);
        }
        let mut answer = agent.post(&path(&step), &body).await;
        if let Some(approve) = self.verdict {
            assert_eq!(answer.status, 202, "{}: {answer:?}", self.name);
            fleet
                .command_as("ann", &run(&id), decide(&answer, approve))
                .await;
            body["approval_id"] = answer.body["approval_id"].clone();
            answer = agent.post(&path(&step), &body).await;
        }
        (run(&id), answer)
    }

    async fn holds(&self, fleet: &Fleetlet, agent: &Client) {
        let planned = self.planned(fleet).await;
        let (over_http, answer) = self.over_http(fleet, agent).await;
        let name = self.name;
        let (status, code) = self.expected;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        assert_eq!(
            answer.body["reason_code"].as_str(),
            code,
            "{name}: {answer:?}"
        );
        let (expected, found) = tokio::join!(
            told_of_calls(fleet, &planned),
            told_of_calls(fleet, &over_http)
        );
        assert!(!expected.is_empty(), "{name}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{name}: the same events, to the letter");
        }
        assert_eq!(found.len(), expected.len(), "{name}");
        let (expected, found) = (
            fleet.call_rows(&planned).await,
            fleet.call_rows(&over_http).await,
        );
        assert_eq!((expected.len(), found.len()), (1, 1), "{name}");
        let (expected, found) = (&expected[0], &found[0]);
        assert_eq!(found.status, expected.status, "{name}");
        assert_eq!(found.error, expected.error, "{name}");
        assert_eq!(found.output, expected.output, "{name}");
        assert_eq!(found.executions, expected.executions, "{name}");
        let error = found.error.as_ref().map(|error| &error["reason_code"]);
        assert_eq!(error, code.map(|code| json!(code)).as_ref(), "{name}");
        // What is a denial for a run of steps of its own leaves an agent with its run.
        assert_eq!(
            fleet.stands(&over_http, RunStatus::is_parked).await,
            RunStatus::WaitingActor,
            "{name}"
        );
    }
}

fn scopes(tools: &[&str], domains: &[&str]) -> Scopes {
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    let any = || vec!["*".to_owned()];
    Scopes {
        tools: words(tools),
        rooms: any(),
        action_types: any(),
        egress_domains: words(domains),
        data_access: DataAccess {
            read: any(),
            write: any(),
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_decides_and_records_alike_for_planned_runs_and_for_calls_over_http() {
    // One worker: its name is in the events.
    let (fleet, upstream) = tokio::join!(Fleetlet::start(1), Upstream::start());
    let (to, _serving) = fleet.start_http("http-1").await;
    let agent = client(&fleet, to, &[KeyRole::Actor]).await;
    for principal in ["agent-1", "agent-2"] {
        fleet.register(principal).await;
    }
    fleet
        .grant("narrow", "agent-1", scopes(&["runtime.echo"], &["*"]))
        .await;
    fleet
        .grant("elsewhere", "agent-1", scopes(&["*"], &["*.example.com"]))
        .await;
    fleet.grant("wide", "agent-1", scopes(&["*"], &["*"])).await;
    fleet
        .grant("revoked", "agent-1", scopes(&["*"], &["*"]))
        .await;
    let revoke = Command::RevokeCapability {
        token_id: "revoked".parse().unwrap(),
        reason: None,
    };
    fleet.authority(&fleet.acme, revoke).await;
    let quarantine = Command::QuarantinePrincipal {
        principal_id: "agent-2".parse().unwrap(),
        reason: "table".into(),
    };
    fleet.authority(&fleet.acme, quarantine).await;
    let token = |token: &str| json!({ "principal_id": "agent-1", "capability_token_id": token });
    let write = |path: &str| json!({ "target_url": upstream.url(path), "method": "POST" });
    let plain = policy::OPEN.to_owned();
    let documents = [
        (plain.clone(), vec![
            case("noop", "runtime.noop", (200, None)),
            case("echo", "runtime.echo", (200, None)).with(json!({ "say": ["a", 1] })),
            case("token", "runtime.noop", (200, None)).under(token("wide")),
            case("egress", "egress.request", (200, None)).with(write("/both")),
            case("unknown", "fs.format", (422, Some("tool_not_found"))),
            case("input", "egress.request", (422, Some("tool_input_invalid"))).with(json!({ "target_url": 7 })),
            case("scope", "runtime.noop", (403, Some("capability_scope_tool_not_allowed"))).under(token("narrow")),
            case("domain", "egress.request", (403, Some("capability_scope_egress_domain_not_allowed")))
                .under(token("elsewhere")).with(write("/denied")),
            case("no-token", "runtime.noop", (403, Some("capability_token_not_found"))).under(token("none")),
            case("revoked", "runtime.noop", (403, Some("capability_token_revoked"))).under(token("revoked")),
            case("quarantined", "runtime.noop", (403, Some("agent_quarantined")))
                .under(json!({ "principal_id": "agent-2", "actor_type": "agent", "actor_id": "agent-2" })),
            case("malformed", "runtime.noop", (403, Some("policy_context_invalid"))).under(json!({ "principal_id": 7 })),
            case("zone", "runtime.noop", (403, Some("policy_context_invalid"))).under(json!({ "zone": "moon" })),
            Case { sandbox: Some("odd"), ..case("sandbox", "runtime.noop", (403, Some("sandbox_permissions_unknown"))) },
            case("refused", "egress.request", (502, Some("egress_connection_failed")))
                .with(json!({ "target_url": "http://127.0.0.1:1/", "method": "GET" })),
        ]),
        (policy::shadow(), vec![
            case("shadow", "runtime.noop", (200, None)).under(token("narrow")),
        ]),
        (policy::open_with("require_approval = [\"egress.request\"]\n"), vec![
            case("approved", "egress.request", (200, None)).with(write("/approved")).decided(true),
            case("turned-down", "egress.request", (403, Some("approval_denied"))).with(write("/no")).decided(false),
        ]),
        (plain.replace("[domains]", "[kill_switches]\nzones = [\"supervised\"]\n\n[domains]"), vec![
            case("switch", "runtime.noop", (403, Some("kill_switch_active"))).under(json!({ "zone": "supervised" })),
        ]),
    ];
    let used_up = policy::open_with("[limits]\neach_tool_daily = 1\n");
    let denied = (403, Some("tool_quota_exceeded"));
    let documents = documents
        .into_iter()
        .chain([(used_up.clone(), vec![case("quota", "runtime.noop", denied)])]);
    let mut names = std::collections::BTreeSet::new();
    for (document, cases) in documents {
        fleet.apply_policy(&document).await;
        // Workers take a document on within a second.
        tokio::time::sleep(Duration::from_secs(1)).await;
        if document == used_up {
            fleet.ended_run(&json!({ "run_id": "uses-up" })).await;
        }
        for case in cases {
            case.holds(&fleet, &agent).await;
            names.insert(case.name);
        }
    }
    assert_eq!(names.len(), 20, "every line was tried: {names:?}");
    let both = |path: &str| upstream.seen_at(path).len();
    assert_eq!(
        [
            both("/both"),
            both("/approved"),
            both("/no"),
            both("/denied")
        ],
        [2, 2, 0, 0]
    );
    fleet.audit().await;
}

/// The approval that `retry` names holds for the very same call, and for no other; and there is no other.
async fn holds_for_no_other_call(agent: &Client, step: &str, retry: &Value) {
    for (field, other) in [
        (
            "input",
            json!({ "target_url": "http://127.0.0.1:1/other", "method": "POST" }),
        ),
        ("tool", json!("runtime.echo")),
        ("sandbox_permissions", json!("require_escalated")),
        ("policy", json!({ "principal_id": "another" })),
    ] {
        let mut body = retry.clone();
        body[field] = other;
        let refused = agent.post(&path(step), &body).await;
        refused.is_problem(403, Some("approval_input_mismatch"));
    }
    for unknown in [
        "acme.asks.1.1.a2",
        "acme.other.1.1.a1",
        "x",
        "acme.asks.1.9.a1",
    ] {
        let mut body = retry.clone();
        body["approval_id"] = json!(unknown);
        let refused = agent.post(&path(step), &body).await;
        refused.is_problem(404, Some("approval_not_found"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_needs_approval_is_retried_with_its_id_and_made_once() {
    let (fleet, upstream) = tokio::join!(Fleetlet::start(1), Upstream::start());
    let (to, _serving) = fleet.start_http("http-1").await;
    fleet
        .apply_policy(&policy::open_with(
            "require_approval = [\"egress.request\"]\n",
        ))
        .await;
    let agent = client(&fleet, to, &[KeyRole::Actor]).await;
    let step = begin(&fleet, &agent, "asks", &Value::Null).await;
    let write = json!({ "tool": "egress.request", "input": {
        "target_url": upstream.url("/order"), "method": "POST" } });
    let asked = agent.post(&path(&step), &write).await;
    assert_eq!(asked.status, 202, "{asked:?}");
    assert_eq!(asked.body["status"], "waiting_approval", "{asked:?}");
    let id = asked.body["approval_id"].as_str().unwrap().to_owned();
    assert!(asked.body["approval_expires_at"].is_string());
    let place = asked.header("location").unwrap().to_owned();
    assert_eq!(place, "/v1/toolcalls/acme.asks.1.1");
    assert_eq!(agent.get(&place).await.body["status"], "waiting_approval");

    let with = |more: Value| {
        let mut body = write.clone();
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let retry = with(json!({ "approval_id": id }));
    let early = agent
        .post_with(&path(&step), &["Prefer: wait=0"], &retry)
        .await;
    assert_eq!(
        (early.status, &early.body["approval_id"]),
        (202, &json!(id))
    );
    holds_for_no_other_call(&agent, &step, &retry).await;
    // Whoever comes with the approval waits for the decision.
    let waiting = tokio::spawn({
        let (agent, path, retry) = (agent.clone(), path(&step), retry.clone());
        async move { agent.post_with(&path, &["Prefer: wait=30"], &retry).await }
    });
    let span = Duration::from_millis(300);
    holds_for("nothing is sent before a yes", span, async || {
        let is_quiet = upstream.seen().is_empty() && !waiting.is_finished();
        is_quiet
            .then_some(())
            .ok_or(format!("{:?}", upstream.seen()))
    })
    .await;
    fleet
        .command_as("ann", &run("asks"), decide(&asked, true))
        .await;
    let made = waiting.await.unwrap();
    assert_eq!(
        (made.status, &made.body["status"]),
        (200, &json!("succeeded")),
        "{made:?}"
    );
    assert_eq!(made.header("preference-applied"), Some("wait=30"));
    let again = agent.post(&path(&step), &retry).await;
    assert_eq!(again.body["output"], made.body["output"]);
    assert_eq!(
        upstream.seen_at("/order").len(),
        1,
        "the approval is spent once"
    );
    // Without it, the same call is another, which needs another approval.
    let anew = agent.post(&path(&step), &write).await;
    assert_eq!(anew.status, 202, "{anew:?}");
    assert_eq!(anew.body["approval_id"], "acme.asks.1.2.a2");
    let busy = agent
        .post(&path(&step), &json!({ "tool": "runtime.noop" }))
        .await;
    busy.is_problem(409, Some("run_busy"));
    fleet
        .command_as("ann", &run("asks"), decide(&anew, false))
        .await;
    let denied = agent
        .post(
            &path(&step),
            &with(json!({ "approval_id": anew.body["approval_id"] })),
        )
        .await;
    denied.is_problem(403, Some("approval_denied"));
    assert_eq!(denied.body["tool_call_id"], "acme.asks.1.2");
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_twice_under_one_key_is_one_and_slow_calls_are_looked_at_later() {
    let fleet = Fleetlet::start(1).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    let agent = client(&fleet, to, &[KeyRole::Actor]).await;
    let submission = json!({ "run_id": "keys", "input": { "runtime": { "actor": "external" } } });
    fleet.accepted(&submission).await;
    let steps = "/v1/runs/keys/steps";
    let key = ["Idempotency-Key: \"s1\""];
    let titled = json!({ "title": "look" });
    let first = agent.post_with(steps, &key, &titled).await;
    let second = agent.post_with(steps, &key, &titled).await;
    assert_eq!(first.body["step_id"], "acme.keys.1", "{first:?}");
    assert_eq!(second.body["step_id"], first.body["step_id"]);
    let other = agent
        .post_with(steps, &key, &json!({ "title": "leap" }))
        .await;
    other.is_problem(422, Some("request_key_conflict"));

    let slow = json!({ "tool": "runtime.echo", "input": { "delay_ms": 700, "say": "late" } });
    let lines = ["Idempotency-Key: k1", "Prefer: respond-async"];
    let calls = path("acme.keys.1");
    for _ in 0..2 {
        let asked = agent.post_with(&calls, &lines, &slow).await;
        assert_eq!(asked.status, 202, "{asked:?}");
        assert_eq!(
            asked.header("location"),
            Some("/v1/toolcalls/acme.keys.1.1")
        );
    }
    let conflict = agent
        .post_with(&calls, &lines, &json!({ "tool": "runtime.noop" }))
        .await;
    conflict.is_problem(422, Some("request_key_conflict"));
    let looked = agent.get("/v1/toolcalls/acme.keys.1.1").await;
    assert_eq!(looked.status, 200);
    let patient = vec![agent.key.clone(), "Prefer: wait=20".into()];
    let ended =
        gatewright_tests::http::send(to, "GET", "/v1/toolcalls/acme.keys.1.1", &patient, "").await;
    assert_eq!(ended.body["output"]["say"], "late", "{ended:?}");
    let calls_made = fleet.call_rows(&run("keys")).await;
    assert_eq!(calls_made.len(), 1);

    for bad in ["Idempotency-Key: ", "Idempotency-Key: \"\""] {
        agent
            .post_with(&calls, &[bad], &slow)
            .await
            .is_problem(400, None);
    }
    agent
        .post(&calls, &json!({ "input": {} }))
        .await
        .is_problem(422, None);
    agent
        .post(&calls, &json!({ "tool": "x", "extra": 1 }))
        .await
        .is_problem(422, None);
    agent
        .post(&calls, &json!({ "tool": "" }))
        .await
        .is_problem(422, Some("submission_invalid"));
    let reference = json!({ "tool": "runtime.echo", "input": { "a": { "$secret": "1" } } });
    let refused = agent.post(&calls, &reference).await;
    refused.is_problem(422, Some("submission_invalid"));
    assert_eq!(refused.body["violations"][0]["pointer"], "/input/a");

    let done = json!({ "succeeded": false, "reason": "enough" });
    let ended = agent.post("/v1/runs/keys/complete", &done).await;
    assert_eq!(
        (ended.status, &ended.body["status"]),
        (200, &json!("failed")),
        "{ended:?}"
    );
    agent
        .post("/v1/runs/keys/complete", &json!({}))
        .await
        .is_problem(409, None);
    agent.post(&calls, &slow).await.is_problem(409, None);
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_over_http_need_an_actors_key_of_their_workspace_and_a_run_of_an_agent() {
    let fleet = Fleetlet::start(1).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    let agent = client(&fleet, to, &[KeyRole::Actor]).await;
    let step = begin(&fleet, &agent, "mine", &Value::Null).await;
    let noop = json!({ "tool": "runtime.noop" });
    for role in [KeyRole::Viewer, KeyRole::Submitter, KeyRole::Approver] {
        let other = client(&fleet, to, &[role]).await;
        for path in [
            path(&step),
            "/v1/runs/mine/steps".into(),
            "/v1/runs/mine/complete".into(),
        ] {
            other.post(&path, &noop).await.is_problem(403, None);
        }
    }
    let elsewhere = Client {
        to,
        key: fleet
            .key_of_workspace("elsewhere", "spy", &[KeyRole::Admin])
            .await,
    };
    // Whether it is there or not: another workspace's is forbidden.
    for path in [path(&step), path("acme.missing.1")] {
        elsewhere.post(&path, &noop).await.is_problem(403, None);
    }
    elsewhere
        .get("/v1/toolcalls/acme.mine.1.1")
        .await
        .is_problem(403, None);
    for path in ["/v1/runs/mine/steps", "/v1/runs/mine/complete"] {
        elsewhere.post(path, &json!({})).await.is_problem(404, None);
        let named = format!("{path}?workspace=acme");
        elsewhere
            .post(&named, &json!({}))
            .await
            .is_problem(403, None);
    }
    for missing in [
        "acme.missing.1",
        "x",
        "acme.mine",
        "acme.mine.1.1",
        "acme._authority.1",
        "acme.mine.one",
    ] {
        agent
            .post(&path(missing), &noop)
            .await
            .is_problem(404, None);
    }
    for missing in ["acme.mine.1.7", "acme.mine.1", "x", "acme.mine.1.1.a1"] {
        agent
            .get(&format!("/v1/toolcalls/{missing}"))
            .await
            .is_problem(404, None);
    }
    agent
        .post(&path("acme.mine.2"), &noop)
        .await
        .is_problem(409, Some("step_not_open"));
    let planned = fleet.accepted(&json!({ "run_id": "planned" })).await;
    fleet.ended(&planned).await;
    // A planned run's calls can be looked at, not asked for.
    let looked = agent.get("/v1/toolcalls/acme.planned.1.1").await;
    assert_eq!(
        (looked.status, &looked.body["status"]),
        (200, &json!("succeeded"))
    );
    let slow = json!({ "run_id": "slow", "input": { "runtime": { "steps": [
        { "tool_calls": [{ "tool": "runtime.echo", "input": { "delay_ms": 2_000 } }] } ] } } });
    fleet.accepted(&slow).await;
    agent
        .post(&path("acme.slow.1"), &noop)
        .await
        .is_problem(409, Some("run_not_external"));
    agent
        .post("/v1/runs/slow/steps", &json!({}))
        .await
        .is_problem(409, Some("run_not_external"));
    fleet.ended(&run("slow")).await;
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_agent_calls_waits_for_a_yes_and_says_what_was_denied() {
    let (fleet, upstream) = tokio::join!(Fleetlet::start(1), Upstream::start());
    let (to, _serving) = fleet.start_http("http-1").await;
    fleet
        .apply_policy(&policy::open_with(
            "require_approval = [\"egress.request\"]\n",
        ))
        .await;
    let key = fleet
        .key("support-bot", &[KeyRole::Submitter, KeyRole::Actor])
        .await;
    let key = key.strip_prefix("Authorization: Bearer ").unwrap();
    let write = json!({ "target_url": upstream.url("/order"), "method": "POST" });
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/agent.py");
    let mut agent = tokio::process::Command::new("python3")
        .arg(program)
        .arg(format!("http://{to}"))
        .args(["runtime.echo", r#"{"say": "hello"}"#, "fs.format", "{}"])
        .args(["egress.request", &write.to_string()])
        .env("GATEWRIGHT_KEY", key)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut says = BufReader::new(agent.stderr.take().unwrap()).lines();
    let waits = tokio::time::timeout(SOON, says.next_line()).await.unwrap();
    let waits = waits.unwrap().unwrap();
    assert!(
        waits.starts_with("egress.request waits for approval"),
        "{waits}"
    );
    assert!(upstream.seen().is_empty());
    let approval = waits.rsplit(' ').next().unwrap();
    let call: ToolCallId = approval.rsplit_once('.').unwrap().0.parse().unwrap();
    let id = run(call.as_str().split('.').nth(1).unwrap());
    let yes = Command::DecideApproval {
        approval_id: approval.parse().unwrap(),
        approve: true,
        reason: None,
        remember_s: None,
    };
    // Whoever submitted it does not approve it.
    let own = fleet.command_as("support-bot", &id, yes.clone()).await;
    assert!(
        matches!(own, gatewright_schemas::Reply::Refused { .. }),
        "{own:?}"
    );
    fleet.command_as("ann", &id, yes).await;
    let ended = tokio::time::timeout(SOON, agent.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    let lines: Vec<Value> = String::from_utf8(ended.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(ended.status.code(), Some(1), "one call was denied");
    assert_eq!(lines[0]["output"]["say"], "hello");
    assert_eq!(lines[1]["reason_code"], "tool_not_found");
    assert_eq!(lines[2]["output"]["status"], 200, "{lines:?}");
    assert_eq!(upstream.seen_at("/order").len(), 1);
    assert_eq!(fleet.ended(&id).await, RunStatus::Failed);
    eventually("it says that it gave up", SOON, async || {
        let error = fleet.row(&id).await.error.unwrap_or_default();
        (error["reason_code"] == "actor_gave_up")
            .then_some(())
            .ok_or(error.to_string())
    })
    .await;
    fleet.audit().await;
}
