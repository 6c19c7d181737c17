use serde_json::json;

use crate::{
    gate::{OPEN, World, output, recorded},
    server::{Reply, Server},
};

#[tokio::test]
async fn no_secret_of_a_call_comes_back_in_events_or_output() {
    // A server that gives back all it was told, in body, headers and redirects.
    let server = Server::start(|request| {
        let told = ["authorization", "x-api-key", "cookie"]
            .map(|name| request.header(name).unwrap_or("").to_owned());
        let [authorization, key, cookie] = told;
        if request.path.starts_with("/start") {
            return Reply::redirect(307, &format!("/path/{key}?key={key}"));
        }
        let quoted = serde_json::Value::from(cookie.as_str()).to_string();
        let body = format!(
            "{authorization} {key} {quoted} {} {} new: ",
            request.path, request.body
        );
        Reply::new(
            200,
            &[
                ("x-echo", &authorization),
                ("set-cookie", "id=s3cr3t-new"),
                ("x-auth-token", "s3cr3t-too"),
            ],
            body,
        )
    })
    .await;
    let input = json!({
        "target_url": server.url("/start?access_token=s3cr3t-query"), "method": "POST",
        "headers": { "Authorization": "Bearer s3cr3t-bearer", "X-Api-Key": "s3cr3t/+key", "Cookie": "sid=s3cr3t\"cookie" },
        "body": { "user": "ann", "password": "s3cr3t-body" },
    });
    let execution = World::new(OPEN).request(input).await;
    assert!(output(&execution)["body"].as_str().unwrap().contains("ann"));
    let recorded = recorded(&execution);
    assert!(!recorded.contains("s3cr3t"), "{recorded}");
    // It did go out.
    let last = server.received().pop().unwrap();
    assert_eq!(last.header("authorization"), Some("Bearer s3cr3t-bearer"));
    assert!(last.body.contains("s3cr3t-body") && last.path.contains("s3cr3t/+key"));
}

#[tokio::test]
async fn secrets_in_binary_answers_and_in_errors_are_removed() {
    let server = Server::start(|request| {
        let mut body = vec![0xff];
        body.extend_from_slice(request.header("authorization").unwrap().as_bytes());
        match request.path.as_str() {
            "/binary" => Reply::text(body),
            _ => Reply::new(503, &[], &body[1..]),
        }
    })
    .await;
    let world = World::new(OPEN);
    let headers = json!({ "Authorization": "Basic YW5uOnMzY3IzdC1wYXNz" });
    let input = |path: &str| json!({ "target_url": server.url(path), "headers": headers });
    let binary = world.request(input("/binary")).await;
    let decoded = data_encoding::BASE64
        .decode(output(&binary)["body"].as_str().unwrap().as_bytes())
        .unwrap();
    assert_eq!(decoded, b"\xffREDACTED");
    let failed = world.request(input("/error")).await;
    assert!(
        !recorded(&failed).contains("YW5uOnMzY3IzdC1wYXNz"),
        "{}",
        recorded(&failed)
    );
}

#[tokio::test]
async fn what_an_answer_itself_shows_to_be_secret_is_not_recorded() {
    let server =
        Server::start(|_| Reply::text(r#"{"access_token": "s3cr3t-new", "expires_in": 3600}"#))
            .await;
    let execution = World::new(OPEN)
        .request(json!({ "target_url": server.url("/") }))
        .await;
    assert_eq!(
        output(&execution)["body"],
        r#"{"access_token":"REDACTED","expires_in":3600}"#
    );
}

#[tokio::test]
async fn echo_does_not_repeat_secrets() {
    let input = json!({ "password": "s3cr3t-one", "text": "it is s3cr3t-one, really" });
    let execution = World::new(OPEN).call("runtime.echo", input).await;
    assert_eq!(
        output(&execution),
        &json!({ "password": "REDACTED", "text": "it is REDACTED, really" })
    );
}
