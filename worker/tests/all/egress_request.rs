use gatewright_schemas::{EventBody, ReasonCode, Stage};
use gatewright_worker::{
    egress::{HopAnswer, HopRequest, Secrets, first_hop},
    tool::{Call, TookEffect, execute_with_limits},
};
use serde_json::{Value, json};

use crate::{
    gate::{OPEN, World, assert_code, call_id, error, host, output, run, told, workspace},
    server::{Reply, Server},
};

#[tokio::test]
async fn a_request_carries_the_calls_id_and_its_own_headers() {
    let server = Server::start(|_| Reply::new(201, &[("x-a", "1"), ("x-a", "2")], "fine")).await;
    let world = World::new(OPEN);
    let execution = world
        .request(json!({
            "target_url": server.url("/path?q=1#part"), "method": "POST", "body": { "b": 1, "a": 2 },
            "headers": { "X-Thing": "yes", "Accept": "text/plain" },
        }))
        .await;
    let expected = json!({
        "status": 201, "body": "fine", "truncated": false,
        "headers": { "content-length": "4", "x-a": "1, 2" },
        "final_url": server.url("/path?q=REDACTED"),
    });
    assert_eq!(output(&execution), &expected);
    assert_eq!(told(&execution), ["allowed 0 127.0.0.1 201"]);
    let EventBody::EgressAllowed(allowed) = &execution.events[0] else {
        panic!()
    };
    assert_eq!(allowed.address, Some(server.address.to_string()));

    let received = &server.received()[0];
    assert_eq!(
        (received.method.as_str(), received.path.as_str()),
        ("POST", "/path?q=1")
    );
    assert_eq!(received.body, r#"{"a":2,"b":1}"#);
    let version = concat!("gatewright/", env!("CARGO_PKG_VERSION"));
    let authority = server.address.to_string();
    for (name, value) in [
        ("idempotency-key", call_id().as_str()),
        ("user-agent", version),
        ("host", &authority),
        ("x-thing", "yes"),
        ("accept", "text/plain"),
        ("accept-encoding", "identity"),
        ("content-type", "application/json"),
        ("content-length", "13"),
    ] {
        assert_eq!(received.header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn a_text_is_sent_as_it_is_and_bytes_come_back_as_base64() {
    let server = Server::start(|_| Reply::text([0xff, 0, 1])).await;
    let world = World::new(OPEN);
    let input = json!({ "target_url": server.url("/"), "method": "PUT", "body": "a=1", "headers": { "content-type": "text/csv" } });
    let execution = world.request(input).await;
    assert_eq!(output(&execution)["body"], "/wAB");
    assert_eq!(output(&execution)["body_encoding"], "base64");
    let received = &server.received()[0];
    assert_eq!(
        (received.body.as_str(), received.header("content-type")),
        ("a=1", Some("text/csv"))
    );
}

#[tokio::test]
async fn headers_that_could_deceive_are_refused() {
    let server = Server::start(|_| Reply::text("")).await;
    let world = World::new(OPEN);
    for (name, value) in [
        ("X-A", "1\r\nX-B: 2"),
        ("X-A", "1\n"),
        ("X-A", "\u{0}"),
        ("X-A", "ü"),
        ("X-A\r\nX-B", "1"),
        ("X A", "1"),
        ("", "1"),
        ("Host", "elsewhere"),
        ("CONTENT-LENGTH", "3"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "upgrade"),
        ("Upgrade", "h2c"),
        ("TE", "trailers"),
        ("Proxy-Authorization", "x"),
        ("Proxy-Connection", "x"),
        ("Idempotency-Key", "mine"),
        ("User-Agent", "me"),
        ("Accept-Encoding", "gzip"),
        ("Expect", "100-continue"),
    ] {
        let input = json!({ "target_url": server.url("/"), "headers": { name: value } });
        let execution = world.request(input).await;
        assert_code(&execution, ReasonCode::ToolInputInvalid);
        assert_eq!(error(&execution).stage, Stage::Input);
        assert!(
            error(&execution).violations[0]
                .pointer
                .starts_with("/headers"),
            "{name:?}"
        );
    }
    let twice = json!({ "target_url": server.url("/"), "headers": { "x-a": "1", "X-A": "2" } });
    assert_code(&world.request(twice).await, ReasonCode::ToolInputInvalid);
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn any_answer_is_a_success_but_those_that_say_not_now() {
    let server = Server::start(|request| {
        let status = request.path.trim_start_matches('/').parse().unwrap();
        Reply::new(status, &[], "why: because")
    })
    .await;
    let world = World::new(OPEN);
    for status in [204, 304, 400, 401, 404, 500, 501] {
        let execution = world
            .request(json!({ "target_url": server.url(&format!("/{status}")) }))
            .await;
        assert_eq!(output(&execution)["status"], status);
    }
    for status in [429, 502, 503, 504] {
        for (input, retry, took_effect) in [
            (json!({}), true, TookEffect::No),
            (json!({ "method": "PUT" }), true, TookEffect::Answered),
            (json!({ "method": "POST" }), false, TookEffect::Answered),
            (
                json!({ "method": "POST", "idempotent": true }),
                true,
                TookEffect::Answered,
            ),
            (json!({ "idempotent": false }), false, TookEffect::No),
        ] {
            let mut input = input;
            input["target_url"] = Value::from(server.url(&format!("/{status}")));
            let execution = world.request(input.clone()).await;
            assert_code(&execution, ReasonCode::ToolExecutionFailed);
            assert_eq!(told(&execution), [format!("allowed 0 127.0.0.1 {status}")]);
            let failure = execution.outcome.unwrap_err();
            assert_eq!(
                (failure.retry, failure.took_effect),
                (retry, took_effect),
                "{input}"
            );
            let told = format!("the server answered {status}: why: because");
            assert_eq!(failure.info.reason, told);
        }
    }
}

#[tokio::test]
async fn a_permit_for_another_request_is_refused() {
    let server = Server::start(|_| Reply::text("")).await;
    let world = World::new(OPEN);
    let input = json!({ "target_url": server.url("/a") });
    let resolved = world.registry.resolve("egress.request", &input).unwrap();
    let changes: [fn(&mut HopRequest, &Server); 4] = [
        |hop, _| hop.tool_call_id = gatewright_schemas::ToolCallId::new("acme.r1.1.2").unwrap(),
        |hop, _| hop.hop = 1,
        |hop, _| hop.method = "POST".to_owned(),
        |hop, server| {
            let other = json!({ "target_url": server.url("/b") });
            hop.target = first_hop(&call_id(), &other).unwrap().target;
        },
    ];
    for change in changes {
        let gate = |hop: &HopRequest| {
            let mut other = hop.clone();
            change(&mut other, &server);
            world.answer(&other)
        };
        let call = Call::new(
            (&workspace(), &run()),
            call_id(),
            input.clone(),
            &world.rules,
            &gate,
        );
        let permit = world.permit(&resolved, &call_id(), call.input_digest());
        let execution = execute_with_limits(&*resolved.tool, permit, &call).await;
        assert_code(&execution, ReasonCode::PolicyEvaluationError);
        assert_eq!(error(&execution).stage, Stage::Egress);
    }
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn what_the_gate_blocks_is_not_sent() {
    let server = Server::start(|_| Reply::text("")).await;
    let world = World::new("default = \"allow\"\n[domains]\nallow = [\"example.com\"]\n");
    let execution = world
        .request(json!({ "target_url": server.url("/") }))
        .await;
    assert_code(&execution, ReasonCode::DomainNotAllowlisted);
    assert!(error(&execution).blocked);
    assert_eq!(error(&execution).stage, Stage::Egress);
    assert_eq!(
        told(&execution),
        ["blocked 0 127.0.0.1 domain_not_allowlisted"]
    );
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn the_gate_may_take_its_time() {
    struct Slow<'a>(&'a World);
    impl gatewright_worker::egress::HopGate for Slow<'_> {
        fn ask<'a>(
            &'a self,
            hop: &'a HopRequest,
        ) -> gatewright_worker::tool::BoxFuture<'a, HopAnswer> {
            Box::pin(async move {
                tokio::task::yield_now().await;
                self.0.answer(hop)
            })
        }
    }
    let server = Server::start(|_| Reply::text("")).await;
    let world = World::new(OPEN);
    let input = json!({ "target_url": server.url("/") });
    let resolved = world.registry.resolve("egress.request", &input).unwrap();
    let gate = Slow(&world);
    let call = Call::new(
        (&workspace(), &run()),
        call_id(),
        input,
        &world.rules,
        &gate,
    );
    let permit = world.permit(&resolved, &call_id(), call.input_digest());
    output(&execute_with_limits(&*resolved.tool, permit, &call).await);
}

#[test]
fn the_first_hop_is_known_before_the_call_runs() {
    let input =
        json!({ "target_url": " https://EXAMPLE.com.:443/a?token=s3cr3t&x#f", "method": "POST" });
    let hop = first_hop(&call_id(), &input).unwrap();
    assert_eq!(hop.host(), &host("example.com"));
    let EventBody::EgressRequested(event) = hop.requested(&Secrets::default()) else {
        panic!()
    };
    assert_eq!(event.url, "https://example.com/a?token=REDACTED&REDACTED");
    assert_eq!((event.hop, event.method.as_str()), (0, "POST"));
    assert_eq!(
        (event.host.as_str(), event.action_type.as_str()),
        ("example.com", "external.write")
    );

    for url in [
        "ftp://x/",
        "http://",
        "http://me:s3cr3t@x/",
        "s3cr3t",
        "http://[::1",
        "file:///etc/passwd",
    ] {
        let Err(error) = first_hop(&call_id(), &json!({ "target_url": url })) else {
            panic!("{url}")
        };
        assert_eq!(
            (error.stage, error.reason_code),
            (Stage::Egress, ReasonCode::EgressUrlInvalid)
        );
        assert!(!error.reason.contains("s3cr3t"), "{}", error.reason);
    }
}

/// Run by [`proxy_variables_are_not_obeyed`] in a process that has such variables.
#[tokio::test]
#[ignore = "run by proxy_variables_are_not_obeyed"]
async fn with_proxy_variables() {
    let server = Server::start(|_| Reply::text("direct")).await;
    let execution = World::new(OPEN)
        .request(json!({ "target_url": server.url("/") }))
        .await;
    assert_eq!(output(&execution)["body"], "direct");
}

#[test]
fn proxy_variables_are_not_obeyed() {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args([
        "--ignored",
        "--exact",
        "egress_request::with_proxy_variables",
    ]);
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        command.env(name, "http://127.0.0.1:1");
    }
    command.env_remove("NO_PROXY").env_remove("no_proxy");
    let done = command.output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && text.contains("1 passed"), "{text}");
}
