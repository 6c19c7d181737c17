//! Requests to the outside, where the fleet has a part in them: redirects, addresses, limits, secrets.

use gatewright_schemas::{Command, DataAccess, EventType, RunStatus, Scopes};
use gatewright_tests::{Fleetlet, outside::Outsider, policy, upstream::Upstream};
use serde_json::{Value, json};

fn request(id: &str, input: &Value, policy: &Value) -> Value {
    json!({ "run_id": id, "input": { "runtime": {
        "policy": policy,
        "steps": [{ "tool_calls": [{ "tool": "egress.request", "input": input }] }],
    } } })
}

/// Submits a run that must fail; answers with the stage and reason code.
async fn fails(fleet: &Fleetlet, submission: &Value) -> (String, String) {
    let (id, status) = fleet.ended_run(submission).await;
    assert_eq!(status, RunStatus::Failed, "{}", fleet.told(&id).await);
    let error = fleet.row(&id).await.error.unwrap();
    let word = |key: &str| error[key].as_str().unwrap().to_owned();
    (word("stage"), word("reason_code"))
}

fn is(found: &(String, String), stage: &str, code: &str) {
    assert_eq!((found.0.as_str(), found.1.as_str()), (stage, code));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_out_of_the_tokens_domains_is_not_followed() {
    let (fleet, upstream) = tokio::join!(Fleetlet::start(1), Upstream::start());
    fleet.register("agent-1").await;
    let any = || vec!["*".to_owned()];
    let scopes = Scopes {
        tools: any(),
        rooms: any(),
        action_types: any(),
        egress_domains: vec!["127.0.0.1".into()],
        data_access: DataAccess::default(),
    };
    fleet.grant("narrow", "agent-1", scopes).await;
    let context = json!({ "principal_id": "agent-1", "capability_token_id": "narrow" });
    // The same server under a name that the token does not cover.
    let elsewhere = upstream.url("/elsewhere").replace("127.0.0.1", "127.0.0.2");
    let to = upstream.redirecting_to(&elsewhere);
    let found = fails(
        &fleet,
        &request("out", &json!({ "target_url": to }), &context),
    )
    .await;
    is(
        &found,
        "egress",
        "capability_scope_egress_domain_not_allowed",
    );
    assert!(upstream.seen_at("/elsewhere").is_empty());
    let blocked = fleet
        .the_event(&gatewright_tests::run("out"), EventType::EgressBlocked)
        .await
        .data;
    assert_eq!(
        (&blocked["hop"], &blocked["host"]),
        (&json!(1), &json!("127.0.0.2"))
    );

    // The gate's answers: to the call, to its own request, to the redirect.
    let answers = async |run: &str| -> Vec<String> {
        fleet.projected().await;
        let run = gatewright_tests::run(run);
        let rows = gatewright_store::decision::of_run(&fleet.store, &fleet.acme, &run, 0, 10).await;
        let told = rows.unwrap().into_iter();
        told.map(|row| format!("{} {} {}", row.category, row.decision, row.reason_code))
            .collect()
    };
    let mut recorded = answers("out").await;
    recorded.sort();
    assert_eq!(
        recorded,
        [
            "egress allow tool_auto_allowed",
            "egress deny capability_scope_egress_domain_not_allowed",
            "tool allow tool_auto_allowed",
        ]
    );
    // A URL within the URL is seen before anything is sent.
    let carried = upstream.url(&format!("/redirect?{elsewhere}"));
    let submission = request("carried", &json!({ "target_url": carried }), &context);
    let found = fails(&fleet, &submission).await;
    is(
        &found,
        "tool_policy",
        "capability_scope_egress_domain_not_allowed",
    );

    let within = upstream.redirecting_to(&upstream.url("/within"));
    let submission = request("in", &json!({ "target_url": within }), &context);
    let (id, status) = fleet.ended_run(&submission).await;
    assert_eq!(status, RunStatus::Succeeded, "{}", fleet.told(&id).await);
    let seen = upstream.seen_at("/within");
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].idempotency_key(), Some("acme.in.1.1"));
    assert_eq!(answers("in").await.len(), 3);
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_public_is_connected_to_only_where_the_policy_says_so() {
    let (fleet, upstream) = tokio::join!(Fleetlet::start(1), Upstream::start());
    fleet
        .apply_policy(&policy::OPEN.replace("127.0.0.0/8", "127.0.0.9"))
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let mut urls = vec![upstream.url("/direct")];
    // Other ways to write the same address, or to say this machine.
    for host in [
        "localhost",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "[::ffff:127.0.0.1]",
        "127.0.0.1.",
    ] {
        urls.push(upstream.url("/spelt").replace("127.0.0.1", host));
    }
    for (n, url) in urls.iter().enumerate() {
        let found = fails(
            &fleet,
            &request(
                &format!("r{n}"),
                &json!({ "target_url": url }),
                &json!(null),
            ),
        )
        .await;
        is(&found, "egress", "egress_address_not_allowed");
    }
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_a_limit_counts_is_denied_while_nothing_can_count_it() {
    let (fleet, upstream) = tokio::join!(Fleetlet::start(1), Upstream::start());
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    let gone = outsider.jetstream.delete_stream("KV_quota").await.unwrap();
    assert!(gone.success, "the counters are gone");
    let limits = "[limits.tools_daily]\n\"egress.request\" = 1000\n\n[domains]";
    fleet
        .apply_policy(&policy::OPEN.replace("[domains]", limits))
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let submission = request(
        "limited",
        &json!({ "target_url": upstream.url("/") }),
        &json!(null),
    );
    let found = fails(&fleet, &submission).await;
    is(&found, "tool_policy", "policy_evaluation_error");
    assert!(upstream.seen().is_empty());
    let (_, status) = fleet.ended_run(&json!({ "run_id": "noop" })).await;
    assert_eq!(status, RunStatus::Succeeded, "what no limit counts goes on");
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_a_request_appear_in_no_event_of_its_call() {
    let (fleet, upstream) = tokio::join!(Fleetlet::start(1), Upstream::start());
    let needs_approval = policy::open_with("require_approval = [\"egress.request\"]\n");
    fleet.apply_policy(&needs_approval).await;
    let secrets = [
        "hunter2-bearer",
        "hunter2-key",
        "hunter2-query",
        "hunter2-body",
    ];
    let input = json!({
        "method": "POST",
        "target_url": upstream.url(&format!("/{}?api_key={}", secrets[0], secrets[2])),
        "headers": { "Authorization": format!("Bearer {}", secrets[0]), "X-Api-Key": secrets[1] },
        "body": { "password": secrets[3], "harmless": "visible" },
    });
    let id = fleet
        .accepted(&request("secret", &input, &json!(null)))
        .await;
    let approval_id = fleet.parked(&id).await;
    fleet
        .command_as(
            "ann",
            &id,
            Command::DecideApproval {
                approval_id,
                approve: true,
                reason: None,
                remember_s: None,
            },
        )
        .await;
    assert_eq!(
        fleet.ended(&id).await,
        RunStatus::Succeeded,
        "{}",
        fleet.told(&id).await
    );
    let seen = upstream.seen();
    assert_eq!(
        seen[0].headers["authorization"],
        format!("Bearer {}", secrets[0]),
        "it is sent all the same"
    );
    let outsider = Outsider::connect(&fleet.nats.url()).await;
    for stored in outsider
        .stored("EVENTS", "fleet.events.acme.secret.>")
        .await
    {
        for event in stored.body["events"].as_array().unwrap() {
            // What the submission itself says is looked after elsewhere.
            if event["event_type"] == "run.created" {
                continue;
            }
            let text = event.to_string();
            for secret in secrets {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
        }
    }
    assert!(
        fleet.told(&id).await.contains("visible"),
        "what is no secret is shown"
    );
    fleet.audit().await;
}
