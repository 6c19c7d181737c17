use std::time::{Duration, Instant};

use gatewright_schemas::{EventBody, ReasonCode, Stage};
use gatewright_worker::tool::TookEffect;
use serde_json::json;

use crate::{
    gate::{OPEN, World, assert_code, error, told},
    server::{Reply, Server},
};

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let server = Server::start(|_| Reply::Silence).await;
    let world = World::new(OPEN);
    for (method, retry, took_effect) in [
        ("GET", true, TookEffect::No),
        ("PUT", true, TookEffect::Unknown),
        ("POST", false, TookEffect::Unknown),
    ] {
        let begun = Instant::now();
        let input = json!({ "target_url": server.url("/"), "method": method, "timeout_ms": 100 });
        let execution = world.request(input).await;
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert_code(&execution, ReasonCode::ToolTimeout);
        assert_eq!(error(&execution).stage, Stage::Execution);
        assert_eq!(told(&execution), ["allowed 0 127.0.0.1 -"]);
        let EventBody::EgressAllowed(allowed) = &execution.events[0] else {
            panic!()
        };
        assert_eq!(allowed.address, Some(server.address.to_string()));
        let failure = execution.outcome.unwrap_err();
        assert_eq!(
            (failure.retry, failure.took_effect),
            (retry, took_effect),
            "{method}"
        );
    }
}

#[tokio::test]
async fn the_policy_limits_the_time_that_an_input_asks_for() {
    let server = Server::start(|_| Reply::Silence).await;
    let world = World::new(&format!(
        "{OPEN}timeout = \"100ms\"\nconnect_timeout = \"50ms\"\n"
    ));
    let input = json!({ "target_url": server.url("/"), "timeout_ms": 120_000 });
    assert_code(&world.request(input).await, ReasonCode::ToolTimeout);
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let server = Server::start(|_| Reply::Endless).await;
    let execution = World::new(OPEN)
        .request(json!({ "target_url": server.url("/") }))
        .await;
    assert_code(&execution, ReasonCode::ToolOutputTooLarge);
    assert_eq!(error(&execution).stage, Stage::Execution);
    assert_eq!(told(&execution), ["allowed 0 127.0.0.1 200"]);
    assert!(!execution.outcome.unwrap_err().retry);

    let small = World::new(&format!("{OPEN}max_response_bytes = 10\n"));
    let server = Server::start(|request| Reply::text("x".repeat(request.path.len()))).await;
    let fits = small
        .request(json!({ "target_url": server.url("/23456789a") }))
        .await;
    assert!(fits.outcome.is_ok());
    let exceeds = small
        .request(json!({ "target_url": server.url("/23456789ab") }))
        .await;
    assert_code(&exceeds, ReasonCode::ToolOutputTooLarge);
}

#[tokio::test]
async fn an_output_that_grows_beyond_the_limit_as_json_is_refused() {
    // 200 kB of bytes that JSON spells with six characters each.
    let server = Server::start(|_| Reply::text(vec![1_u8; 200_000])).await;
    let execution = World::new(OPEN)
        .request(json!({ "target_url": server.url("/") }))
        .await;
    assert_code(&execution, ReasonCode::ToolOutputTooLarge);
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let world = World::new(OPEN);
    let large = Server::start(|_| Reply::new(200, &[("x", &"y".repeat(100_000))], "")).await;
    let execution = world.request(json!({ "target_url": large.url("/") })).await;
    assert_code(&execution, ReasonCode::ToolOutputTooLarge);
    let many = Server::start(|_| Reply::new(200, &vec![("x", "y"); 1000], "")).await;
    let execution = world.request(json!({ "target_url": many.url("/") })).await;
    assert_code(&execution, ReasonCode::ToolOutputTooLarge);
}

#[tokio::test]
async fn connections_that_fail_are_told() {
    let world = World::new(OPEN);
    let no_http = Server::start(|_| Reply::Bytes(b"SSH-2.0-OpenSSH\r\n".to_vec())).await;
    let cut = Server::start(|_| {
        Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc".to_vec())
    })
    .await;
    let hung_up = Server::start(|_| Reply::Bytes(Vec::new())).await;
    for (url, told_status) in [
        (no_http.url("/"), "-"),
        (cut.url("/"), "200"),
        (hung_up.url("/"), "-"),
        ("http://127.0.0.1:1/".to_owned(), "-"),
    ] {
        let execution = world.request(json!({ "target_url": url })).await;
        assert_code(&execution, ReasonCode::EgressConnectionFailed);
        assert_eq!(error(&execution).stage, Stage::Execution);
        assert_eq!(
            told(&execution),
            [format!("allowed 0 127.0.0.1 {told_status}")]
        );
        assert!(execution.outcome.unwrap_err().retry);
    }
    for (url, took_effect) in [
        (hung_up.url("/"), TookEffect::Unknown),
        (cut.url("/"), TookEffect::Answered),
        ("http://127.0.0.1:1/".to_owned(), TookEffect::No),
    ] {
        let execution = world
            .request(json!({ "target_url": url, "method": "POST" }))
            .await;
        let failure = execution.outcome.unwrap_err();
        assert_eq!(
            (failure.retry, failure.took_effect),
            (false, took_effect),
            "{url}"
        );
    }
}
