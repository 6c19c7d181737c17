//! What Postgres does for each query: none reads a large table from end to end, and none looks at more rows than it is bounded by.
//!
//! The list of the queries is `.sqlx/`, which the compiler keeps equal to the code: a query that nobody asks here fails the test.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use gatewright_schemas::Timestamp;
use gatewright_store::{Options, Store};
use serde_json::Value;
use sqlx::{Executor as _, PgConnection, Row as _};
use time::OffsetDateTime;

use crate::{asked::Asker, seed, server::Server};

/// These have a row for each worker, or one.
const SMALL: [&str; 2] = ["workers", "projection_checkpoint"];
/// More than any count or search is bounded by.
const MANY: u32 = 50_000;
/// So often that Postgres has taken up its plan without parameters, if it likes it better.
const TIMES: usize = 8;

/// Every query of the crate, as it is sent.
fn queries() -> BTreeSet<String> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.sqlx"));
    let files = std::fs::read_dir(folder).unwrap();
    files
        .map(|entry| {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let recorded: Value = serde_json::from_str(&text).unwrap();
            recorded["query"].as_str().unwrap().to_owned()
        })
        .collect()
}

/// What reads tables, but for the rows that the projector goes on with, which it fetches by their keys.
fn is_question(query: &str) -> bool {
    query.starts_with("select ")
        && query.contains("from ")
        && !query.contains("in (select * from unnest(")
}

/// A part of a plan that reads a table: how, and how many rows it looked at.
#[derive(Debug)]
struct Scan {
    kind: String,
    table: String,
    rows: f64,
}

fn scans(node: &Value, found: &mut Vec<Scan>) {
    if let Some(table) = node["Relation Name"].as_str() {
        let number = |name: &str| node[name].as_f64().unwrap_or(0.0);
        let each = number("Actual Rows")
            + number("Rows Removed by Filter")
            + number("Rows Removed by Index Recheck");
        found.push(Scan {
            kind: node["Node Type"].as_str().unwrap().to_owned(),
            table: table.to_owned(),
            rows: each * number("Actual Loops"),
        });
    }
    for below in node["Plans"].as_array().into_iter().flatten() {
        scans(below, found);
    }
}

impl Scan {
    fn is_of_a_large_table_from_end_to_end(&self) -> bool {
        self.kind == "Seq Scan" && !SMALL.contains(&self.table.as_str())
    }
}

/// The plans in the server's log, in order: the query, and what was done.
fn logged(log: &str) -> Vec<(String, Value)> {
    let mut plans = log.split("plan:\n\t").skip(1);
    let mut found = Vec::new();
    for text in &mut plans {
        // Lines that belong together begin with a tab.
        let lines: Vec<&str> = text
            .split('\n')
            .enumerate()
            .map_while(|(n, line)| line.strip_prefix('\t').or((n == 0).then_some(line)))
            .collect();
        // The last may not be written to its end yet.
        if let Ok(Value::Object(mut plan)) = serde_json::from_str(&lines.join("\n")) {
            let query = plan.remove("Query Text").unwrap();
            found.push((
                query.as_str().unwrap().to_owned(),
                plan.remove("Plan").unwrap(),
            ));
        }
    }
    found
}

/// A store whose server writes down what it did for each query.
async fn watched(server: &Server, database: &str) -> Store {
    let settings = [
        "session_preload_libraries=auto_explain",
        "auto_explain.log_min_duration=0",
        "auto_explain.log_analyze=on",
        "auto_explain.log_timing=off",
        "auto_explain.log_format=json",
    ];
    let settings = settings.map(|setting| format!("-c%20{}", setting.replace('=', "%3D")));
    let url = server.postgres.url(database);
    let url = format!("{url}?options={}", settings.join("%20"));
    let options = Options {
        max_connections: 1,
        ..Options::default()
    };
    Store::connect(&url, options).await.unwrap()
}

#[tokio::test]
async fn no_query_reads_a_large_table_from_end_to_end_or_more_rows_than_it_is_bounded_by() {
    let server = Server::start().await;
    server.database("plans").await;
    let mut owner = server.connection("plans").await;
    seed::runs(&mut owner, MANY).await;
    seed::parts(&mut owner, MANY).await;

    let all = queries();
    assert!(all.len() > 50, "{all:#?}");
    for query in &all {
        let found = planned(&mut owner, query).await;
        let whole = found
            .iter()
            .find(|it| it.is_of_a_large_table_from_end_to_end());
        assert!(whole.is_none(), "{query}\nis planned with {found:#?}");
    }

    let asked = asked_within_bounds(&server, "plans", MANY).await;
    let forgotten: Vec<&String> = all
        .iter()
        .filter(|query| is_question(query) && !asked.contains(*query))
        .collect();
    assert!(
        forgotten.is_empty(),
        "nobody asks in `asked.rs`: {forgotten:#?}"
    );
}

/// Asks everything, and looks at what the server did; answers with the queries that were asked.
async fn asked_within_bounds(server: &Server, database: &str, runs: u32) -> BTreeSet<String> {
    let log = server.postgres.log_path();
    let begin = std::fs::read_to_string(&log).unwrap().len();
    let store = watched(server, database).await;
    let mut questions = Asker {
        times: 1,
        answered: Vec::new(),
    };
    questions
        .everything(&store, runs, now(server, database).await)
        .await;
    store.close().await;
    let mut done = logged(&std::fs::read_to_string(&log).unwrap()[begin..]);
    done.retain(|(query, _)| query != "show server_encoding");
    assert_eq!(
        done.len(),
        questions.answered.len(),
        "a query for each question"
    );
    let (mut asked, mut wrong) = (BTreeSet::new(), Vec::new());
    for (question, (query, plan)) in questions.answered.iter().zip(done) {
        let mut found = Vec::new();
        scans(&plan, &mut found);
        // Those at the very same time, and the one that tells that a group is over.
        let most = question.most.saturating_add(question.most / 10 + 10);
        #[expect(clippy::cast_precision_loss, reason = "far below where it loses any")]
        let most = most as f64;
        for scan in found {
            let is_small = SMALL.contains(&scan.table.as_str());
            let is_bounded = scan.rows <= most && !scan.is_of_a_large_table_from_end_to_end();
            if !is_small && !is_bounded {
                wrong.push(format!(
                    "{}: {}: {scan:?}, at most {most} rows are due\n{query}\n{plan:#}",
                    question.by, question.question
                ));
            }
        }
        asked.insert(query);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    asked
}

/// The server's time.
async fn now(server: &Server, database: &str) -> Timestamp {
    let mut connection = server.connection(database).await;
    let now = sqlx::query_scalar("select now()").fetch_one(&mut connection);
    let now: OffsetDateTime = now.await.unwrap();
    now.into()
}

/// The plan of a query without its parameters, where reading whole tables is to be avoided.
async fn planned(connection: &mut PgConnection, query: &str) -> Vec<Scan> {
    let parameters = (1..40)
        .take_while(|n| query.contains(&format!("${n}")))
        .count();
    let nulls = vec!["null"; parameters].join(", ");
    let nulls = if parameters == 0 {
        nulls
    } else {
        format!("({nulls})")
    };
    let sql = format!("prepare asked as {query}");
    connection.execute(sql.as_str()).await.unwrap();
    for setting in [
        "enable_seqscan = off",
        "plan_cache_mode = force_generic_plan",
    ] {
        let sql = format!("set {setting}");
        connection.execute(sql.as_str()).await.unwrap();
    }
    let sql = format!("explain (format json) execute asked{nulls}");
    let plan = connection.fetch_one(sql.as_str()).await.unwrap();
    let plan: Value = plan.get(0);
    connection
        .execute("deallocate asked; reset all")
        .await
        .unwrap();
    let mut found = Vec::new();
    scans(&plan[0]["Plan"], &mut found);
    found
}

/// Prints how long each takes: `cargo nextest run -p gatewright-store --run-ignored only --no-capture over_a_million`.
#[tokio::test]
#[ignore = "makes a million runs and their parts, which takes minutes"]
async fn what_each_question_takes_over_a_million_runs() {
    const RUNS: u32 = 1_000_000;
    let server = Server::start().await;
    let store = server.database("million").await;
    let mut owner = server.connection("million").await;
    seed::runs(&mut owner, RUNS).await;
    seed::parts(&mut owner, RUNS).await;
    let now = now(&server, "million").await;
    let mut questions = Asker {
        times: TIMES,
        answered: Vec::new(),
    };
    questions.everything(&store, RUNS, now).await;
    let mut pages: BTreeMap<&str, Vec<(Duration, Duration, &str)>> = BTreeMap::new();
    for one in &questions.answered {
        let mut took = one.took.clone();
        took.sort();
        let (median, worst) = (took[TIMES / 2], took[TIMES - 1]);
        pages
            .entry(one.by)
            .or_default()
            .push((median, worst, &one.question));
    }
    println!("median and worst of {TIMES}, in ms");
    for (page, mut questions) in pages {
        questions.sort();
        println!("{page}: {} questions", questions.len());
        for (median, worst, question) in questions.iter().rev().take(12) {
            let ms = |it: &Duration| it.as_secs_f64() * 1_000.0;
            println!("{:>8.1} {:>8.1}  {question}", ms(median), ms(worst));
        }
    }
    asked_within_bounds(&server, "million", RUNS).await;
}
