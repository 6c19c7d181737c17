//! The dashboard in a real browser, on a real fleet. Skipped, and said so, where there is no browser.

use std::{net::SocketAddr, time::Duration};

use gatewright_schemas::{Command, EventType, KeyRole, RunStatus};
use gatewright_store::run::Filter;
use gatewright_tests::{Fleetlet, browser::Browser, eventually, http, http::Client, policy, run};
use serde_json::{Value, json};

/// What would be markup, or turn the text around, or not be seen at all.
const HOSTILE: &str =
    "<img src=x onerror=document.title='owned'> \u{202e}gnp.exe\u{2066} \u{200b}zero";
/// What of it is to be read.
const SHOWN: &str =
    "<img src=x onerror=document.title='owned'> ⟨U+202E⟩gnp.exe⟨U+2066⟩ ⟨U+200B⟩zero";

/// How long anything that should happen soon may take.
const SOON: Duration = Duration::from_secs(30);

struct Stage {
    fleet: Fleetlet,
    browser: Browser,
    to: SocketAddr,
    _serving: gatewright_tests::Inside,
}

impl Stage {
    async fn set() -> Option<Self> {
        let browser = Browser::start().await?;
        let fleet = Fleetlet::start(1).await;
        let (to, serving) = fleet.start_http("http-1").await;
        Some(Self {
            fleet,
            browser,
            to,
            _serving: serving,
        })
    }

    async fn client(&self, name: &str, role: KeyRole) -> Client {
        let key = self.fleet.key(name, &[role]).await;
        Client { to: self.to, key }
    }

    fn at(&self, hash: &str) -> String {
        format!("http://{}/{hash}", self.to)
    }

    /// Opens the page and types a key in, as a person does: with the keyboard alone.
    async fn sign_in(&self, name: &str, role: KeyRole) {
        let client = self.client(name, role).await;
        let key = client.key.trim_start_matches("Authorization: Bearer ");
        self.browser.look(1280, false).await;
        self.browser.open(&self.at("")).await;
        self.browser
            .until("document.activeElement.id === 'key'")
            .await;
        self.browser.press(key).await;
        self.browser.press("\u{e007}").await;
        self.browser.shows(name).await;
    }

    /// Waits for a button of this name, and presses it.
    async fn press_button(&self, name: &str) {
        let button = format!(
            "[...document.querySelectorAll('button')].find(b => b.innerText === {} && !b.disabled)",
            json!(name)
        );
        self.browser.until(&button).await;
        self.browser.run(&format!("{button}.click()")).await;
    }

    /// Goes to another page, as by its link.
    async fn go(&self, hash: &str) {
        self.browser
            .run(&format!("location.hash = {}", json!(hash)))
            .await;
    }

    /// The browser logged that the server refused what was not valid, and nothing else failed.
    async fn was_refused_and_is_clean(&self) {
        let mut complaints = self.browser.complaints().await;
        assert!(!complaints.is_empty());
        complaints.retain(|line| !line.contains("status of 422"));
        assert!(complaints.is_empty(), "{complaints:#?}");
        self.is_clean().await;
    }

    /// Nothing failed in the page, and its policy had nothing to stop.
    async fn is_clean(&self) {
        let complaints = self.browser.complaints().await;
        assert!(complaints.is_empty(), "{complaints:#?}");
        let title = self.browser.run("return document.title").await;
        assert!(!title.as_str().unwrap().contains("owned"), "{title}");
        let scripts = "return document.querySelectorAll('main script, main img, [onerror]').length";
        assert_eq!(self.browser.run(scripts).await, 0);
    }
}

fn echo(id: &str, title: &str, input: &Value) -> Value {
    json!({ "run_id": id, "title": title, "input": { "runtime": { "steps": [
        { "title": title, "tool_calls": [{ "tool": "runtime.echo", "input": input }] } ] } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_what_it_may_run_and_its_files_are_served() {
    let fleet = Fleetlet::start(0).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/ui/app.js", "text/javascript; charset=utf-8"),
        ("/ui/style.css", "text/css; charset=utf-8"),
        ("/ui/mark.svg", "image/svg+xml"),
    ] {
        let answer = http::send(to, "GET", path, &[], "").await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let policy = answer.header("content-security-policy").unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "trusted-types 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
    }
    for missing in ["/ui/", "/ui/none.js", "/ui/..%2fui.rs", "/ui/index.html/x"] {
        http::send(to, "GET", missing, &[], "")
            .await
            .is_problem(404, None);
    }
    // A name that is not known is not served the page either: it could be the page of somebody else.
    let named = ["Host: evil.example".to_owned()];
    http::send(to, "GET", "/", &named, "")
        .await
        .is_problem(421, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_says_what_it_is_good_for_and_a_chain_is_checked() {
    let fleet = Fleetlet::start(1).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    let key = fleet.key("vic", &[KeyRole::Viewer]).await;
    let vic = Client { to, key };
    let own = vic.get("/v1/key").await;
    assert_eq!(
        own.body,
        json!({ "name": "vic", "roles": ["viewer"], "workspace_id": "acme" })
    );
    http::send(to, "GET", "/v1/key", &[], "")
        .await
        .is_problem(401, None);

    let (id, _) = fleet.ended_run(&json!({ "run_id": "r" })).await;
    let events = fleet.events(&id).await;
    let found = vic.get("/v1/runs/r/chain").await.body;
    assert_eq!(
        (&found["holds"], &found["complete"]),
        (&json!(true), &json!(true)),
        "{found}"
    );
    assert_eq!(
        (&found["events"], &found["commits"]),
        (&json!(events.len()), &json!(3))
    );
    assert_eq!(found["head"], json!(events.last().unwrap().hash));
    vic.get("/v1/runs/none/chain").await.is_problem(404, None);
    let key = fleet
        .key_of_workspace("elsewhere", "eve", &[KeyRole::Admin])
        .await;
    Client { to, key }
        .get("/v1/runs/r/chain")
        .await
        .is_problem(404, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_listed_by_zone_and_lane() {
    let fleet = Fleetlet::start(1).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    let key = fleet.key("vic", &[KeyRole::Viewer]).await;
    let vic = Client { to, key };
    let zoned =
        json!({ "run_id": "b", "input": { "runtime": { "policy": { "zone": "supervised" } } } });
    for submission in [
        json!({ "run_id": "a", "lane": "interactive" }),
        zoned,
        json!({ "run_id": "c" }),
    ] {
        fleet.accepted(&submission).await;
    }
    fleet.projected().await;
    for (query, expected) in [
        ("", vec!["c", "b", "a"]),
        ("zone=sandbox", vec!["c", "a"]),
        ("zone=supervised", vec!["b"]),
        ("lane=interactive", vec!["a"]),
        ("lane=background&zone=sandbox", vec!["c"]),
        ("zone=high_stakes", vec![]),
    ] {
        let page = vic.get(&format!("/v1/runs?{query}")).await.body;
        let items = page["items"].as_array().unwrap();
        let ids: Vec<&str> = items
            .iter()
            .map(|item| item["run_id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, expected, "{query}");
        assert_eq!(page["next"], Value::Null);
    }
    // A search is bounded by the sequence of the last run that it looks at.
    let all = Filter::default();
    let first = fleet.row(&run("b")).await.created_sequence;
    let reached = gatewright_store::run::reach(&fleet.store, &all, 2).await;
    assert_eq!(reached.unwrap(), Some(first));
    let reached = gatewright_store::run::reach(&fleet.store, &all, 4).await;
    assert_eq!(reached.unwrap(), None, "there are no more than three");
    let bounded = Filter {
        from: first,
        limit: 9,
        ..all
    };
    let found = gatewright_store::run::list(&fleet.store, &bounded).await;
    assert_eq!(found.unwrap().len(), 2);
    for bad in ["zone=moon", "lane=fast"] {
        vic.get(&format!("/v1/runs?{bad}"))
            .await
            .is_problem(400, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told_so_and_one_without_the_role_may_look_and_not_decide() {
    let Some(stage) = Stage::set().await else {
        return;
    };
    let (fleet, browser) = (&stage.fleet, &stage.browser);
    fleet.apply_policy(&policy::echo_needs_approval()).await;
    let asker = stage.client("sam", KeyRole::Submitter).await;
    asker
        .post("/v1/runs", &echo("asks", "t", &json!({ "say": 1 })))
        .await;
    let approval = fleet.parked(&run("asks")).await.to_string();
    fleet.projected().await;

    browser.open(&stage.at("")).await;
    browser
        .type_into("#key", "gw_000000000000_wrong\u{e007}")
        .await;
    browser.shows("This key opens nothing").await;
    assert_eq!(browser.run("return sessionStorage.length").await, 0);
    browser.complaints().await;

    stage.sign_in("vic", KeyRole::Viewer).await;
    stage.go(&format!("#/approvals/{approval}")).await;
    browser.shows("needs a key with the role approver").await;
    assert_eq!(
        browser
            .run("return document.querySelectorAll('.decide').length")
            .await,
        0
    );
    stage.is_clean().await;

    // A key that is revoked while one looks is noticed, and nothing of it stays.
    let keys = fleet.fleet.keys().await.unwrap();
    for key in keys.iter().filter(|key| key.name == "vic") {
        fleet.fleet.revoke_key(&key.id).await.unwrap();
    }
    browser.shows("Your key opens nothing any more").await;
    assert_eq!(browser.run("return sessionStorage.length").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_parked_run_is_approved_and_completes_another_is_denied_and_hostile_text_is_only_text()
{
    let Some(stage) = Stage::set().await else {
        return;
    };
    let (fleet, browser) = (&stage.fleet, &stage.browser);
    fleet.apply_policy(&policy::echo_needs_approval()).await;
    let asker = stage.client(HOSTILE, KeyRole::Submitter).await;
    // A number that JavaScript cannot hold, and a word that is wider than any screen.
    let input =
        json!({ HOSTILE: HOSTILE, "amount": 9_007_199_254_740_993_i64, "long": "W".repeat(3_000) });
    for id in ["yes", "no"] {
        let made = asker.post("/v1/runs", &echo(id, HOSTILE, &input)).await;
        assert_eq!(made.status, 201, "{made:?}");
        fleet.parked(&run(id)).await;
    }
    fleet.projected().await;

    stage.sign_in("ann", KeyRole::Approver).await;
    stage.go("#/approvals").await;
    browser
        .until("document.querySelectorAll('.card').length === 2")
        .await;
    browser.shows("⟨U+202E⟩").await;
    for (id, verb, reason, said) in [
        ("yes", "good", "fine", "Approved by ann"),
        ("no", "bad", HOSTILE, "Denied by ann"),
    ] {
        stage.go(&format!("#/approvals/acme.{id}.1.1.a1")).await;
        browser.until("document.querySelector('.exact')").await;
        let shown = browser
            .run("return document.querySelector('.exact').innerText")
            .await;
        let shown = shown.as_str().unwrap();
        assert!(shown.contains("9007199254740993"), "{shown}");
        assert!(shown.contains(SHOWN), "{shown}");
        browser.shows(&format!("{SHOWN} (service)")).await;
        let wide =
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        for width in [390, 1280] {
            browser.look(width, false).await;
            assert_eq!(browser.run(wide).await, 0, "{id} at {width}");
        }
        let set = format!(
            "document.getElementById('reason').value = {}",
            json!(reason)
        );
        browser.run(&set).await;
        browser.click(&format!(".decide button.{verb}")).await;
        browser.shows(said).await;
    }
    assert_eq!(fleet.ended(&run("yes")).await, RunStatus::Succeeded);
    assert_eq!(fleet.ended(&run("no")).await, RunStatus::Failed);
    browser
        .until("document.querySelector('.result [data-state=failed]')")
        .await;
    let told = fleet
        .the_event(&run("no"), EventType::ApprovalDecided)
        .await
        .data;
    assert_eq!(
        (&told["by"], &told["reason"]),
        (&json!("ann"), &json!(HOSTILE))
    );

    // What was decided cannot be decided again, and the page says why.
    stage.go("#/runs/acme/no").await;
    browser.shows("approval_denied").await;
    browser.shows(&format!("by ann: {SHOWN}")).await;
    stage.go("#/runs").await;
    browser
        .until("document.querySelectorAll('.rows tbody tr').length === 2")
        .await;
    browser.shows(SHOWN).await;
    stage.is_clean().await;
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asked_is_refused_with_the_reason_code() {
    let Some(stage) = Stage::set().await else {
        return;
    };
    let (fleet, browser) = (&stage.fleet, &stage.browser);
    fleet.apply_policy(&policy::echo_needs_approval()).await;
    let asker = stage.client("sam", KeyRole::Submitter).await;
    asker.post("/v1/runs", &echo("own", "t", &json!({}))).await;
    fleet.parked(&run("own")).await;
    fleet.projected().await;
    stage.sign_in("sam", KeyRole::Approver).await;
    stage.go("#/approvals/acme.own.1.1.a1").await;
    browser
        .until("document.querySelector('.decide button.good')")
        .await;
    browser.click(".decide button.good").await;
    browser.shows("approver_not_allowed").await;
    browser
        .until("!document.querySelector('.decide button.good').disabled")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_filtered_by_the_address_and_one_is_followed_live_to_its_end() {
    let Some(stage) = Stage::set().await else {
        return;
    };
    let (fleet, browser) = (&stage.fleet, &stage.browser);
    fleet.ended_run(&json!({ "run_id": "good" })).await;
    let unknown = json!({ "run_id": "bad", "input": { "runtime": { "steps": [
        { "tool_calls": [{ "tool": "no.such.tool", "input": {} }] } ] } } });
    fleet.ended_run(&unknown).await;
    fleet.projected().await;
    stage.sign_in("ann", KeyRole::Approver).await;
    let rows = "document.querySelectorAll('.rows tbody tr').length";
    stage.go("#/runs").await;
    browser.until(&format!("{rows} === 2")).await;
    browser.click("input[data-state=failed]").await;
    browser
        .until(&format!(
            "location.hash === '#/runs?status=failed' && {rows} === 1"
        ))
        .await;
    browser.shows("tool_not_found").await;
    let focus = "document.activeElement.dataset.state === 'failed'";
    browser.until(focus).await;
    stage.go("#/runs?zone=high_stakes").await;
    browser.shows("There are no such runs.").await;
    // Live: a run that is new is there without anything being done.
    stage.go("#/runs?status=waiting_approval").await;
    browser.shows("There are no such runs.").await;
    fleet.apply_policy(&policy::echo_needs_approval()).await;
    let asker = stage.client("sam", KeyRole::Submitter).await;
    asker.post("/v1/runs", &echo("live", "t", &json!({}))).await;
    browser.until(&format!("{rows} === 1")).await;

    let approval = fleet.parked(&run("live")).await;
    browser.click(".rows tbody a").await;
    browser.until("location.hash === '#/runs/acme/live'").await;
    browser
        .until("document.querySelector('.timeline [data-type=\"approval.requested\"]')")
        .await;
    browser.shows("following").await;
    let ann = stage.client("ann", KeyRole::Approver).await;
    let approve = format!("/v1/approvals/{approval}/approve");
    assert_eq!(ann.post(&approve, &json!({})).await.status, 200);
    browser
        .until("document.querySelector('.timeline [data-type=\"run.completed\"]')")
        .await;
    browser
        .until("document.querySelector('.panel .pill[data-state=succeeded]')")
        .await;
    browser
        .until("document.querySelector('.call .pill[data-state=succeeded]')")
        .await;
    let events = fleet.events(&run("live")).await.len();
    let shown = browser
        .run("return document.querySelectorAll('.timeline li').length")
        .await;
    assert_eq!(shown, events, "each event once");
    browser.run("[...document.querySelectorAll('button')].find(b => b.innerText.includes('hash chain')).click()").await;
    browser.shows("The hash chain holds").await;
    stage.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_cancelled_at_the_second_click_and_begun_anew() {
    let Some(stage) = Stage::set().await else {
        return;
    };
    let (fleet, browser) = (&stage.fleet, &stage.browser);
    fleet
        .accepted(&echo("slow", "t", &json!({ "delay_ms": 60_000 })))
        .await;
    fleet.sees(&run("slow"), EventType::ToolInvoked).await;
    stage.sign_in("sam", KeyRole::Submitter).await;
    stage.go("#/runs/acme/slow").await;
    stage.press_button("Cancel").await;
    browser.shows("Really cancel").await;
    let types = fleet.types(&run("slow")).await;
    assert!(!types.contains(&"run.cancelled"), "{types:?}");
    stage.press_button("Really cancel").await;
    browser.shows("It is cancelled.").await;
    assert_eq!(fleet.ended(&run("slow")).await, RunStatus::Cancelled);
    let told = fleet
        .the_event(&run("slow"), EventType::RunCancelled)
        .await
        .data;
    assert_eq!(told["by"], "sam", "{told}");

    stage.press_button("Try again").await;
    browser.shows("It begins anew as").await;
    browser.click(".notice.good a").await;
    browser.shows("Again for").await;
    let address = browser.run("return location.hash").await;
    let again = address.as_str().unwrap().rsplit('/').next().unwrap();
    let again = run(again);
    assert_ne!(again, run("slow"));
    fleet.sees(&again, EventType::ToolInvoked).await;
    stage.is_clean().await;
    fleet
        .command(&again, Command::Cancel { reason: None })
        .await;
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_policy_explains_a_run_and_submits_nothing() {
    let Some(stage) = Stage::set().await else {
        return;
    };
    let browser = &stage.browser;
    stage.sign_in("vic", KeyRole::Viewer).await;
    stage.go("#/policy").await;
    browser.shows("What would the gate say?").await;
    let calls = json!([{ "tool": "runtime.echo", "input": { "say": HOSTILE } }, { "tool": "no.such.tool" }]);
    let asked = json!({ "run_id": "asked", "input": { "runtime": { "steps": [{ "tool_calls": calls }] } } });
    for (text, shown) in [
        ("{".to_owned(), ["This is no JSON", ""]),
        (
            "{\"lane\": 1}".to_owned(),
            ["not a run that could be submitted", "/lane"],
        ),
        (asked.to_string(), ["would be made", "would be blocked"]),
    ] {
        let set = format!("document.getElementById('run').value = {}", json!(text));
        browser.run(&set).await;
        stage.press_button("Explain").await;
        for shown in shown {
            browser.shows(shown).await;
        }
    }
    browser.shows("tool_not_found").await;
    stage.was_refused_and_is_clean().await;
    let vic = stage.client("vic", KeyRole::Viewer).await;
    vic.get("/v1/runs/asked").await.is_problem(404, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_sent_again_and_refused_again_says_why() {
    let Some(stage) = Stage::set().await else {
        return;
    };
    let browser = &stage.browser;
    let admin = stage.client("adam", KeyRole::Admin).await;
    admin
        .post("/v1/runs", &json!({ "lane": 1, "title": HOSTILE }))
        .await
        .is_problem(422, Some("submission_invalid"));
    stage.sign_in("adam", KeyRole::Admin).await;
    stage.go("#/dead-letters").await;
    eventually("the letter is shown", SOON, async || {
        // The list is not followed: a person would open it again.
        browser.run("location.reload()").await;
        browser.shows("Dead letters").await;
        let text = browser.text().await;
        if text.contains("submission_invalid") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    browser.shows("/lane").await;
    stage.press_button("Send it again").await;
    browser
        .until("document.querySelector('.card .notice')")
        .await;
    let refused =
        "document.querySelector('.card .notice').innerText.includes('submission_invalid')";
    browser.until(refused).await;
    eventually("it was put aside once more", SOON, async || {
        let page = admin.get("/v1/dead-letters").await.body;
        let count = page["items"].as_array().map_or(0, Vec::len);
        (count == 2).then_some(()).ok_or(page.to_string())
    })
    .await;
    stage.was_refused_and_is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_counts_what_there_is_and_of_one_workspace_only() {
    let fleet = Fleetlet::start(1).await;
    let (to, _serving) = fleet.start_http("http-1").await;
    fleet.ended_run(&json!({ "run_id": "good" })).await;
    let unknown = json!({ "run_id": "bad", "input": { "runtime": { "steps": [
        { "tool_calls": [{ "tool": "exec_command", "input": { "argv": ["ls"] } }] } ] } } });
    fleet.ended_run(&unknown).await;
    fleet.apply_policy(&policy::echo_needs_approval()).await;
    fleet.accepted(&echo("waits", "t", &json!({}))).await;
    fleet.parked(&run("waits")).await;
    fleet.projected().await;
    let key = fleet.key("vic", &[KeyRole::Viewer]).await;
    let vic = Client { to, key };
    let key = fleet.key_of_workspace("*", "root", &[KeyRole::Admin]).await;
    let root = Client { to, key };
    let key = fleet
        .key_of_workspace("elsewhere", "eve", &[KeyRole::Admin])
        .await;
    let eve = Client { to, key };
    for client in [&vic, &root] {
        let found = client.get("/v1/overview?hours=1").await.body;
        let of = |status: &str| {
            let states = found["states"].as_array().unwrap();
            let state = states.iter().find(|one| one["status"] == status).unwrap();
            state["runs"].as_i64().unwrap()
        };
        let counts = ["succeeded", "failed", "waiting_approval", "queued"].map(of);
        assert_eq!(counts, [1, 1, 1, 0], "{found}");
        let buckets = found["created"]["buckets"].as_array().unwrap();
        let runs: i64 = buckets
            .iter()
            .map(|one| one["runs"].as_i64().unwrap())
            .sum();
        assert_eq!(runs, 3, "{found}");
        assert_eq!(found["created"]["cut"], false);
        let reasons: Vec<&str> = found["denials"]["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["reason_code"].as_str().unwrap())
            .collect();
        assert_eq!(
            reasons,
            ["default_deny", "tool_requires_approval"],
            "{found}"
        );
        assert_eq!(found["waiting"]["approvals"], 1);
        assert_eq!(found["oldest_queued"], json!([]));
        assert!(found["lag"]["messages"].is_number(), "{found}");
    }
    let found = eve.get("/v1/overview").await.body;
    assert_eq!(found["created"]["buckets"], json!([]), "{found}");
    assert_eq!(found["denials"]["items"], json!([]));
    assert_eq!(found["waiting"]["approvals"], 0);
    eve.get("/v1/overview?workspace=acme")
        .await
        .is_problem(403, None);
    for bad in ["hours=0", "hours=169", "hours=x", "days=1"] {
        vic.get(&format!("/v1/overview?{bad}"))
            .await
            .is_problem(400, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_opens_fits_a_phone_and_a_desk_and_complains_of_nothing() {
    let Some(stage) = Stage::set().await else {
        return;
    };
    let (fleet, browser) = (&stage.fleet, &stage.browser);
    fleet.register("p-reporter").await;
    fleet.ended_run(&json!({ "run_id": "good" })).await;
    fleet
        .submit(&json!({ "run_id": "odd", "title": 5, HOSTILE: HOSTILE }))
        .await;
    fleet.projected().await;
    // Its table is brought up to date by itself, every two seconds, and the page shows what was there when it opened.
    eventually("the dead letter is in its table", SOON, async || {
        match gatewright_store::dead_letter::last_sequence(&fleet.store).await {
            Ok(1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    stage.sign_in("root", KeyRole::Admin).await;
    for (hash, shown) in [
        ("#/overview", "Worker slots in use"),
        ("#/runs", "good"),
        ("#/approvals", "Nothing waits for a decision."),
        ("#/policy", "mode = \"enforce\""),
        ("#/capabilities", "p-reporter"),
        ("#/workers", "worker-1"),
        ("#/dead-letters", "submission_invalid"),
        ("#/nowhere", "There is no such page"),
    ] {
        stage.go(hash).await;
        browser.shows(shown).await;
        for (width, is_dark) in [(390, true), (1280, false)] {
            browser.look(width, is_dark).await;
            let wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(browser.run(wide).await, 0, "{hash} at {width}");
        }
        let headings = browser
            .run("return document.querySelectorAll('h1').length")
            .await;
        assert_eq!(headings, 1, "{hash}");
        let focus = "return document.activeElement.tagName";
        assert_eq!(
            browser.run(focus).await,
            "H1",
            "{hash}: a page begins at its heading"
        );
    }
    stage.go("#/overview").await;
    browser
        .until("document.querySelector('.chart svg .bar[data-state=succeeded]')")
        .await;
    let told = browser
        .run("return document.querySelector('.chart svg').getAttribute('aria-label')")
        .await;
    assert!(told.as_str().unwrap().contains("1 succeeded"), "{told}");
    stage.is_clean().await;
}
