use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use gatewright_schemas::{EventBody, ReasonCode, Stage};
use gatewright_worker::egress::{Resolver, Settings};
use serde_json::json;

use crate::{
    gate::{OPEN, PUBLIC_ONLY, World, assert_code, error, output, told},
    server::{Reply, Server},
};

/// A resolver that gives one answer after the other, the last one for ever, and counts.
fn answers(lists: &[&[&str]]) -> (Settings, Arc<AtomicUsize>) {
    let lists: Vec<Vec<IpAddr>> = lists
        .iter()
        .map(|list| list.iter().map(|ip| ip.parse().unwrap()).collect())
        .collect();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let resolver = Resolver::Custom(Arc::new(move |_| {
        let place = count.fetch_add(1, Ordering::SeqCst).min(lists.len() - 1);
        Ok(lists[place].clone())
    }));
    (
        Settings {
            resolver,
            ..Settings::default()
        },
        asked,
    )
}

#[tokio::test]
async fn no_spelling_of_an_internal_address_is_reached() {
    let server = Server::start(|_| Reply::text("inside")).await;
    let port = server.address.port();
    let (settings, _) = answers(&[&["127.0.0.1"]]);
    let world = World::with(PUBLIC_ONLY, settings);
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "0",
        "0.0.0.0",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "0177.0.0.1",
        "%31%32%37.0.0.1",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "0xa9fea9fe",
        "224.0.0.1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "ⓛocalhost",
        "metadata.google.internal",
        "anything.example",
    ] {
        let url = format!("http://{host}:{port}/");
        let execution = world.request(json!({ "target_url": url })).await;
        assert_eq!(
            error(&execution).reason_code,
            ReasonCode::EgressAddressNotAllowed,
            "{host}: {:?}",
            error(&execution)
        );
        assert_eq!(error(&execution).stage, Stage::Egress);
        assert!(
            matches!(execution.events.as_slice(), [EventBody::EgressBlocked(_)]),
            "{host}"
        );
        assert!(!execution.outcome.unwrap_err().retry);
    }
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn urls_that_hide_their_host_are_refused() {
    let world = World::new(OPEN);
    for url in [
        "http://example.com@127.0.0.1/",
        "http://me:pw@127.0.0.1/",
        "http://127.0.0.1:99999/",
        "http://[::1",
        "http:///",
        "//127.0.0.1/",
        "127.0.0.1",
        "ftp://127.0.0.1/",
        "gopher://127.0.0.1/",
        "file:///etc/passwd",
        "data:text/plain,x",
        "http://a b/",
        "http://exa%00mple.com/",
        "http://1.2.3.4.5/",
        "http://[::1%25eth0]/",
        "http://a..b/",
    ] {
        let execution = world.request(json!({ "target_url": url })).await;
        assert_eq!(
            error(&execution).reason_code,
            ReasonCode::EgressUrlInvalid,
            "{url}"
        );
        assert_eq!(error(&execution).stage, Stage::Egress);
    }
}

#[tokio::test]
async fn an_exception_means_its_own_addresses_alone() {
    let server = Server::start(|_| Reply::text("")).await;
    let port = server.address.port();
    let world = World::new(OPEN);
    for host in ["127.0.0.1", "127.1", "0x7f000001"] {
        output(
            &world
                .request(json!({ "target_url": format!("http://{host}:{port}/") }))
                .await,
        );
    }
    for host in [
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "10.0.0.1",
        "0.0.0.0",
    ] {
        let execution = world
            .request(json!({ "target_url": format!("http://{host}:{port}/") }))
            .await;
        assert_code(&execution, ReasonCode::EgressAddressNotAllowed);
    }
}

#[tokio::test]
async fn a_name_is_resolved_once_and_the_answer_that_was_checked_is_connected_to() {
    let server = Server::start(|_| Reply::text("the first")).await;
    let port = server.address.port();
    let (settings, asked) = answers(&[&["127.0.0.1"], &["169.254.169.254"]]);
    let world = World::with(OPEN, settings);
    let url = format!("http://rebind.example:{port}/");
    let execution = world.request(json!({ "target_url": url })).await;
    assert_eq!(output(&execution)["body"], "the first");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let EventBody::EgressAllowed(allowed) = &execution.events[0] else {
        panic!()
    };
    assert_eq!(allowed.address, Some(server.address.to_string()));
    let authority = format!("rebind.example:{port}");
    assert_eq!(
        server.received()[0].header("host"),
        Some(authority.as_str())
    );

    // The second request asks anew, and is told what is not allowed.
    let execution = world.request(json!({ "target_url": url })).await;
    assert_code(&execution, ReasonCode::EgressAddressNotAllowed);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn one_forbidden_address_among_several_refuses_them_all() {
    let server = Server::start(|_| Reply::text("")).await;
    for list in [&["127.0.0.1", "10.0.0.1"], &["10.0.0.1", "127.0.0.1"]] {
        let (settings, _) = answers(&[list.as_slice()]);
        let url = format!("http://mixed.example:{}/", server.address.port());
        let execution = World::with(OPEN, settings)
            .request(json!({ "target_url": url }))
            .await;
        assert_code(&execution, ReasonCode::EgressAddressNotAllowed);
    }
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn the_next_checked_address_is_tried_when_one_does_not_answer() {
    let server = Server::start(|_| Reply::text("here")).await;
    let (settings, asked) = answers(&[&["::1", "127.0.0.2", "127.0.0.1"]]);
    let url = format!("http://several.example:{}/", server.address.port());
    let execution = World::with(OPEN, settings)
        .request(json!({ "target_url": url }))
        .await;
    assert_eq!(output(&execution)["body"], "here");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_name_without_address_is_told() {
    let (settings, _) = answers(&[&[]]);
    let world = World::with(OPEN, settings);
    let execution = world
        .request(json!({ "target_url": "http://nowhere.example/" }))
        .await;
    assert_code(&execution, ReasonCode::EgressHostNotFound);
    assert_eq!(error(&execution).stage, Stage::Execution);
    assert_eq!(told(&execution), ["allowed 0 nowhere.example -"]);
    assert!(execution.outcome.unwrap_err().retry);
}
