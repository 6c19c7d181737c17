//! Runs that are published without any of this project's code, and end up in Postgres.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use gatewright_store::run::{self, Filter};
use gatewright_tests::{Fleetlet, eventually};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::Command,
};

const SOON: Duration = Duration::from_secs(30);

/// Waits until the read tables have a run of this title that succeeded.
async fn succeeded(fleet: &Fleetlet, title: &str) {
    let newest = Filter {
        limit: 10,
        ..Filter::default()
    };
    eventually(&format!("`{title}` succeeds"), SOON, async || {
        let runs = run::list(&fleet.store, &newest).await.unwrap();
        let mut of_title = runs
            .iter()
            .filter(|run| run.title.as_deref() == Some(title));
        match of_title.next() {
            Some(run) if run.status == "succeeded" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

fn in_the_project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The document's program in Python, for the server at `url`.
fn program(document: &str, url: &str) -> String {
    let text = std::fs::read_to_string(in_the_project(document)).unwrap();
    let (_, rest) = text.split_once("```python\n").expect("it has a program");
    let (program, _) = rest.split_once("```").unwrap();
    assert!(program.contains("nats://127.0.0.1:4222"), "{program}");
    program.replace("nats://127.0.0.1:4222", url)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_programs_in_the_documents_publish_runs_with_nats_py() {
    let library = in_the_project(".tools/nats-py");
    if !library.exists() {
        println!("SKIPPED: nats-py is not in .tools/nats-py; scripts/setup --test puts it there");
        return;
    }
    let fleet = Fleetlet::start(1).await;
    let documents = [
        ("README.md", "from Python"),
        ("docs/howto/publish-a-run.md", "nightly report"),
    ];
    for (document, title) in documents {
        let ran = Command::new("python3")
            .args(["-c", &program(document, &fleet.nats.url())])
            .env("PYTHONPATH", &library)
            .stdin(Stdio::null())
            .output()
            .await
            .expect("python3 is there");
        assert!(ran.status.success(), "{document}: {ran:?}");
        succeeded(&fleet, title).await;
    }
    fleet.audit().await;
}

/// The protocol by hand, for where Python or its library is not to be had.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_published_over_a_bare_socket_goes_all_the_way_into_the_tables() {
    let fleet = Fleetlet::start(1).await;
    let submission = r#"{ "title": "by hand", "input": { "runtime": { "steps": [
        { "tool_calls": [{ "tool": "runtime.echo", "input": { "by": "hand" } }] }] } } }"#;
    let socket = TcpStream::connect(("127.0.0.1", fleet.nats.port())).await;
    let (from, mut to) = socket.unwrap().into_split();
    let said = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB fleet.submit.acme answer {}\r\n{submission}\r\n",
        submission.len()
    );
    to.write_all(said.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(from).lines();
    // After the server's own lines comes the answer's, and then what it says.
    let stored = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            assert!(!line.starts_with("-ERR"), "{line}");
            if line.starts_with("MSG answer ") {
                return lines.next_line().await.unwrap().unwrap();
            }
        }
        panic!("the server hung up");
    };
    let stored = tokio::time::timeout(SOON, stored).await.unwrap();
    assert!(stored.contains(r#""stream":"SUBMISSIONS""#), "{stored}");
    succeeded(&fleet, "by hand").await;
    fleet.audit().await;
}
