//! How fast the projector folds and writes, against a bare `COPY` of the same events into the same table.
//!
//! ```text
//! cargo bench -p gatewright-projector --bench throughput -- [runs] [batch]
//! ```
//!
//! It starts a private Postgres with the settings of a durable one and folds the commits of so many single-noop runs
//! (three commits and seven events each, 256 runs under way at a time), batch by batch, from their JSON to the written rows.

#![expect(clippy::cast_precision_loss, reason = "figures for people")]

#[path = "../tests/all/history.rs"]
#[expect(
    dead_code,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "the tests' histories: they hold more than noops, and may panic"
)]
mod history;

use std::{
    fs,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use gatewright_local::{Binaries, Postgres, PostgresOptions};
use gatewright_projector::{Session, fold};
use gatewright_schemas::{Commit, StoredCommit};
use gatewright_store::{
    Options, Store, migrate,
    projection::{Batch, Position, Writer},
};
use history::{Stream, created_at, noop};
use tokio::sync::mpsc;

/// A commit as it lies in the stream.
struct Message {
    commit: StoredCommit,
    json: Vec<u8>,
}

fn main() -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(bench())
}

async fn bench() -> Result<()> {
    let numbers: Vec<usize> = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let runs = numbers.first().copied().unwrap_or(30_000);
    let batch = numbers.get(1).copied().unwrap_or(3_000);

    let directory = tempfile::Builder::new()
        .prefix("gatewright-bench-")
        .tempdir()?;
    let options = PostgresOptions {
        data_dir: directory.path().join("postgres"),
        port: None,
        durable: true,
    };
    let postgres = Postgres::start(&Binaries::find()?, options).await?;
    let messages = Arc::new(stream_of(runs)?);
    let events = messages
        .iter()
        .map(|message| message.commit.commit.events.len())
        .sum::<usize>();
    let bytes = messages
        .iter()
        .map(|message| message.json.len())
        .sum::<usize>();
    println!(
        "{runs} runs, {} commits, {events} events, {} MiB of JSON, batches of {batch}",
        messages.len(),
        bytes >> 20
    );
    println!(
        "{:<34} {:>12} {:>10} {:>22}",
        "", "events/s", "runs/s", "CPU s per 1,000 runs"
    );
    println!(
        "{:<34} {:>12} {:>10} {:>11}{:>11}",
        "", "", "", "projector", "Postgres"
    );

    let line = |what: &str, took: Duration, own: f64, postgres: f64| {
        let seconds = took.as_secs_f64();
        let per_second = |count: usize| count as f64 / seconds;
        let per_thousand = |cpu: f64| cpu * 1_000.0 / runs as f64;
        println!(
            "{what:<34} {:>12.0} {:>10.0} {:>11.3}{:>11.3}",
            per_second(events),
            per_second(runs),
            per_thousand(own),
            per_thousand(postgres)
        );
    };

    let clock = Clock::start(&postgres);
    for message in messages.iter() {
        black_box(decode(message)?);
    }
    let (took, own, server) = clock.stop(&postgres);
    line("decode", took, own, server);

    let clock = Clock::start(&postgres);
    for messages in messages.chunks(batch) {
        let mut rows = Batch::default();
        for message in messages {
            // Runs that a batch's edge cuts apart are left out here.
            let _ = black_box(fold(&mut rows, &message.commit));
        }
    }
    let (took, own, server) = clock.stop(&postgres);
    line("fold", took, own, server);

    let store = database(&postgres, "bare").await?;
    let clock = Clock::start(&postgres);
    copy_events(&store, &messages, batch).await?;
    let (took, own, server) = clock.stop(&postgres);
    line("COPY into `events` alone", took, own, server);

    let store = database(&postgres, "whole").await?;
    let clock = Clock::start(&postgres);
    project(&store, &messages, batch).await?;
    let (took, own, server) = clock.stop(&postgres);
    line("decode, fold and write all tables", took, own, server);

    let store = database(&postgres, "live").await?;
    let clock = Clock::start(&postgres);
    project(&store, &messages, 1_000).await?;
    let (took, own, server) = clock.stop(&postgres);
    line("the same in batches of 1,000", took, own, server);
    Ok(())
}

fn stream_of(runs: usize) -> Result<Vec<Message>> {
    let mut stream = Stream::default();
    let mut told = 0;
    while told < runs {
        let together = 256.min(runs - told);
        let stories: Vec<_> = (told..told + together)
            .map(|n| {
                noop(&format!(
                    "019b77a0-{:04x}-7000-8000-{n:012}",
                    n.wrapping_mul(40_503) & 0xffff
                ))
            })
            .collect();
        stream.mix(&stories, told as u64);
        told += together;
    }
    stream
        .commits
        .into_iter()
        .map(|commit| {
            Ok(Message {
                json: serde_json::to_vec(&commit.commit)?,
                commit,
            })
        })
        .collect()
}

/// What the bus does with a message.
fn decode(message: &Message) -> Result<StoredCommit> {
    let commit: Commit = serde_json::from_slice(&message.json)?;
    Ok(StoredCommit {
        sequence: message.commit.sequence,
        stored_at: message.commit.stored_at,
        writer: message.commit.writer.clone(),
        gate: message.commit.gate,
        status: message.commit.status,
        trace: message.commit.trace,
        commit,
    })
}

async fn database(postgres: &Postgres, name: &str) -> Result<Store> {
    let url = postgres.url(name);
    migrate::create_database(&url).await?;
    let store = Store::connect(&url, Options::default()).await?;
    migrate::run(&store).await?;
    Ok(store)
}

async fn copy_events(store: &Store, messages: &[Message], size: usize) -> Result<()> {
    let mut writer = Writer::try_acquire(store)
        .await?
        .context("another projector")?;
    let mut batch = Batch::default();
    for messages in messages.chunks(size) {
        for message in messages {
            for (place, event) in message.commit.commit.events.iter().enumerate() {
                batch.events.add(&message.commit, place + 1, event)?;
                batch.position = Some(Position {
                    sequence: message.commit.sequence,
                    event_id: event.event_id.clone(),
                    stored_at: message.commit.stored_at,
                });
            }
        }
        writer
            .write(&mut batch, created_at(), messages.len() as u64)
            .await?;
    }
    writer.release().await?;
    Ok(())
}

/// As the loop does it: messages are read and decoded while Postgres works.
async fn project(store: &Store, messages: &Arc<Vec<Message>>, size: usize) -> Result<()> {
    let (sender, mut chunks) = mpsc::channel(32);
    let source = Arc::clone(messages);
    let reader = tokio::spawn(async move {
        for messages in source.chunks(256) {
            let commits = messages.iter().map(decode).collect::<Result<Vec<_>>>()?;
            sender.send(commits).await?;
        }
        Ok::<(), anyhow::Error>(())
    });
    let mut session = Session::begin(store).await?.context("another projector")?;
    let mut commits = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        commits.extend(chunk);
        if commits.len() >= size {
            session
                .apply(&commits, created_at(), messages.len() as u64)
                .await?;
            commits.clear();
        }
    }
    session
        .apply(&commits, created_at(), messages.len() as u64)
        .await?;
    session.end().await?;
    reader.await?
}

/// Wall time, and processor time of this process and of Postgres (on Linux; 0 elsewhere).
struct Clock {
    began: Instant,
    own: f64,
    server: f64,
}

impl Clock {
    fn start(postgres: &Postgres) -> Self {
        Self {
            own: cpu_of(&[std::process::id()]),
            server: cpu_of_server(postgres),
            began: Instant::now(),
        }
    }

    fn stop(self, postgres: &Postgres) -> (Duration, f64, f64) {
        let took = self.began.elapsed();
        // The session's own server process ends a moment after the session.
        std::thread::sleep(Duration::from_millis(200));
        (
            took,
            cpu_of(&[std::process::id()]) - self.own,
            cpu_of_server(postgres) - self.server,
        )
    }
}

/// Of the server, its living children, and those that have ended.
fn cpu_of_server(postgres: &Postgres) -> f64 {
    let parent = postgres.pid();
    let mut processes = vec![parent];
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            && stat(pid).is_some_and(|fields| fields.get(1) == Some(&parent.to_string()))
        {
            processes.push(pid);
        }
    }
    cpu_of(&processes)
}

/// Seconds, also of ended children.
fn cpu_of(processes: &[u32]) -> f64 {
    let ticks: u64 = processes
        .iter()
        .filter_map(|pid| stat(*pid))
        .flat_map(|fields| fields.into_iter().skip(11).take(4))
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks as f64 / 100.0
}

/// The fields of `/proc/<pid>/stat` from the third (the state) on.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}
