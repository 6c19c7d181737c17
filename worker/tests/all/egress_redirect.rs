use std::net::IpAddr;

use gatewright_schemas::{EventBody, ReasonCode, Stage};
use gatewright_worker::{
    egress::{Resolver, Settings},
    tool::TookEffect,
};
use serde_json::json;

use crate::{
    gate::{OPEN, PUBLIC_ONLY, World, assert_code, error, output, told},
    server::{Reply, Server},
};

async fn redirecting(status: u16, to: &str) -> Server {
    let to = to.to_owned();
    Server::start(move |_| Reply::redirect(status, &to)).await
}

#[tokio::test]
async fn every_hop_passes_the_gate_and_is_told() {
    let end = Server::start(|_| Reply::text("the end")).await;
    let end_url = end.url("/end?key=s3cr3t");
    let server = Server::start(move |request| match request.path.as_str() {
        "/a" => Reply::redirect(302, "b?x=1"),
        "/b?x=1" => Reply::redirect(307, "/c"),
        _ => Reply::redirect(301, &end_url),
    })
    .await;
    let world = World::new(OPEN);
    let execution = world
        .request(json!({ "target_url": server.url("/a") }))
        .await;
    assert_eq!(output(&execution)["body"], "the end");
    assert_eq!(
        output(&execution)["final_url"],
        end.url("/end?key=REDACTED")
    );
    let urls = [
        server.url("/a"),
        server.url("/b?x=1"),
        server.url("/c"),
        end.url("/end?key=s3cr3t"),
    ];
    let asked: Vec<String> = urls
        .iter()
        .enumerate()
        .map(|(hop, url)| format!("{hop} GET {url}"))
        .collect();
    assert_eq!(world.asked(), asked);
    let expected = [
        "allowed 0 127.0.0.1 302",
        "requested 1 127.0.0.1",
        "allowed 1 127.0.0.1 307",
        "requested 2 127.0.0.1",
        "allowed 2 127.0.0.1 301",
        "requested 3 127.0.0.1",
        "allowed 3 127.0.0.1 200",
    ];
    assert_eq!(told(&execution), expected);
    let EventBody::EgressRequested(last) = &execution.events[5] else {
        panic!()
    };
    assert_eq!(last.url, end.url("/end?key=REDACTED"));
}

#[tokio::test]
async fn a_redirect_to_an_internal_address_is_refused() {
    for to in [
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://[::ffff:127.0.0.1]/",
        "//0xa9fea9fe/",
    ] {
        let server = redirecting(302, to).await;
        let execution = World::new(OPEN)
            .request(json!({ "target_url": server.url("/") }))
            .await;
        assert_code(&execution, ReasonCode::EgressAddressNotAllowed);
        let kinds: Vec<String> = told(&execution)
            .iter()
            .map(|t| t.split(' ').take(2).collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(kinds, ["allowed 0", "requested 1", "blocked 1"], "{to}");
    }
}

#[tokio::test]
async fn an_exception_for_one_host_is_none_for_where_it_redirects_to() {
    // The policy excepts one address of loopback; the redirect leads to another, where somebody listens.
    let inside = Server::start(|_| Reply::text("inside")).await;
    let server = redirecting(302, &inside.url("/").replace("127.0.0.1", "127.0.0.3")).await;
    let policy = format!("{PUBLIC_ONLY}\n[egress]\naddress_exceptions = [\"127.0.0.1\"]\n");
    let execution = World::new(&policy)
        .request(json!({ "target_url": server.url("/") }))
        .await;
    assert_code(&execution, ReasonCode::EgressAddressNotAllowed);
    assert!(inside.received().is_empty());
}

#[tokio::test]
async fn a_redirect_to_a_host_that_the_gate_blocks_is_not_followed() {
    let resolver = Resolver::Custom(std::sync::Arc::new(|_| {
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }));
    let elsewhere = Server::start(|_| Reply::text("")).await;
    let server = redirecting(
        307,
        &elsewhere.url("/").replace("127.0.0.1", "evil.example"),
    )
    .await;
    let policy = "default = \"allow\"\n[domains]\nallow = [\"good.example\"]\n[egress]\naddress_exceptions = [\"127.0.0.1\"]\n";
    let world = World::with(
        policy,
        Settings {
            resolver,
            ..Settings::default()
        },
    );
    let url = server.url("/").replace("127.0.0.1", "good.example");
    let execution = world.request(json!({ "target_url": url })).await;
    assert_code(&execution, ReasonCode::DomainNotAllowlisted);
    assert!(error(&execution).blocked);
    assert_eq!(
        told(&execution),
        [
            "allowed 0 good.example 307",
            "requested 1 evil.example",
            "blocked 1 evil.example domain_not_allowlisted"
        ]
    );
    assert!(elsewhere.received().is_empty());
}

#[tokio::test]
async fn redirects_that_lead_nowhere_are_refused() {
    for to in [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "http://me:s3cr3t@127.0.0.1/",
        "http://[::1",
        "javascript:alert(1)",
    ] {
        let server = redirecting(302, to).await;
        let execution = World::new(OPEN)
            .request(json!({ "target_url": server.url("/") }))
            .await;
        assert_code(&execution, ReasonCode::EgressUrlInvalid);
        assert_eq!(error(&execution).stage, Stage::Egress);
        assert_eq!(
            told(&execution),
            ["allowed 0 127.0.0.1 302", "blocked 1  egress_url_invalid"],
            "{to}"
        );
        assert!(!format!("{execution:?}").contains("s3cr3t"));
    }
}

#[tokio::test]
async fn a_circle_ends_at_the_limit() {
    let server = redirecting(302, "/again").await;
    let world = World::new(OPEN);
    let execution = world
        .request(json!({ "target_url": server.url("/") }))
        .await;
    assert_code(&execution, ReasonCode::EgressTooManyRedirects);
    assert_eq!(error(&execution).stage, Stage::Egress);
    assert_eq!(server.received().len(), 6);
    assert_eq!(
        told(&execution).last().unwrap(),
        "blocked 6 127.0.0.1 egress_too_many_redirects"
    );
}

#[tokio::test]
async fn a_caller_may_take_the_redirect_as_the_answer() {
    let server = redirecting(302, "/next?access_token=s3cr3t-value&page=2").await;
    let input = json!({ "target_url": server.url("/"), "follow_redirects": false });
    let execution = World::new(OPEN).request(input).await;
    assert_eq!(output(&execution)["status"], 302);
    assert_eq!(
        output(&execution)["headers"]["location"],
        "/next?access_token=REDACTED&page=2"
    );
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn methods_and_bodies_follow_the_rules() {
    for (status, method, expected, keeps_body) in [
        (301, "POST", "GET", false),
        (302, "POST", "GET", false),
        (303, "PUT", "GET", false),
        (302, "PUT", "PUT", true),
        (307, "POST", "POST", true),
        (308, "PATCH", "PATCH", true),
    ] {
        let server = Server::start(move |request| match request.path.as_str() {
            "/" => Reply::redirect(status, "/next"),
            _ => Reply::text(""),
        })
        .await;
        let world = World::new(OPEN);
        output(
            &world
                .request(
                    json!({ "target_url": server.url("/"), "method": method, "body": { "a": 1 } }),
                )
                .await,
        );
        let last = &server.received()[1];
        assert_eq!(last.method, expected, "{status} {method}");
        assert_eq!(last.body, if keeps_body { r#"{"a":1}"# } else { "" });
        assert_eq!(last.header("content-type").is_some(), keeps_body);
        assert!(last.header("idempotency-key").is_some());
        assert!(world.asked()[1].starts_with(&format!("1 {expected} ")));
    }
}

#[tokio::test]
async fn what_is_meant_for_one_origin_does_not_reach_another() {
    let other = Server::start(|_| Reply::text("")).await;
    let other_url = other.url("/");
    let server = Server::start(move |request| match request.path.as_str() {
        "/" => Reply::redirect(307, "/same"),
        _ => Reply::redirect(307, &other_url),
    })
    .await;
    let policy = format!("{OPEN}redact_headers = [\"x-tenant\"]\n");
    let headers = json!({
        "Authorization": "Bearer s3cr3t-1", "Cookie": "a=s3cr3t-2", "X-Api-Key": "s3cr3t-3",
        "X-Tenant": "s3cr3t-4", "X-Harmless": "h",
    });
    let execution = World::new(&policy)
        .request(json!({ "target_url": server.url("/"), "method": "POST", "headers": headers }))
        .await;
    output(&execution);
    let same = &server.received()[1];
    let there = &other.received()[0];
    for name in ["authorization", "cookie", "x-api-key", "x-tenant"] {
        assert!(same.header(name).is_some(), "{name}");
        assert_eq!(there.header(name), None, "{name}");
    }
    assert_eq!(there.header("x-harmless"), Some("h"));
}

#[tokio::test]
async fn a_write_that_was_redirected_has_been_answered() {
    let server = redirecting(303, "http://127.0.0.1:1/").await;
    let execution = World::new(OPEN)
        .request(json!({ "target_url": server.url("/"), "method": "POST" }))
        .await;
    assert_code(&execution, ReasonCode::EgressConnectionFailed);
    let failure = execution.outcome.unwrap_err();
    assert_eq!(
        (failure.retry, failure.took_effect),
        (false, TookEffect::Answered)
    );
}
