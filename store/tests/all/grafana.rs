//! The dashboards for Grafana: each panel's SQL runs, by the role that only reads, and shows what there is.

use std::{collections::BTreeSet, path::Path, time::Instant};

use serde_json::Value;
use sqlx::{Column as _, Executor as _, Row as _, TypeInfo as _};

use crate::{
    seed,
    server::{Server, execute},
};

/// Something in every table that a panel looks at, within the last hour.
const ROWS: &str = "
    insert into runs (created_sequence, last_sequence, last_seq, created_at, moved_at, ended_at, attempt, succeeded_calls,
        failed_calls, denied_calls, workspace_id, run_id, status, zone, lane, worker, error)
    select n, n, 1, now() - n * interval '1 second', now(), case when status in ('succeeded', 'failed') then now() end, 1, 0, 0, 0,
        'acme', 'r' || n, status, 'sandbox', 'background', 'w',
        case when status = 'failed' then '{\"stage\": \"tool\", \"reason_code\": \"tool_failed\", \"reason\": \"no\"}'::jsonb end
    from generate_series(1, 900) as n
    cross join lateral (select (array['queued', 'running', 'succeeded', 'failed', 'waiting_approval'])[n % 5 + 1]) as s (status);
    insert into policy_decisions (decided_at, seq, policy_revision, blocked, workspace_id, run_id, tool_call_id, category, decision,
        reason_code, enforcement_mode, zone, tool_name, reason)
    select now() - n * interval '1 second', n, 1, decision <> 'allow' and n % 2 = 0, 'acme', 'r' || n, 'acme.r.1.1', 'tool', decision,
        'why', case when n % 2 = 0 then 'enforce' else 'shadow' end, 'sandbox', 'runtime.noop', 'because'
    from generate_series(1, 900) as n
    cross join lateral (select (array['allow', 'deny', 'require_approval'])[n % 3 + 1]) as d (decision);
    insert into approvals (requested_at, expires_at, decided_at, requested_seq, workspace_id, run_id, approval_id, tool_call_id,
        status, question, tool_name, definition_digest, input_digest, input)
    select now() - n * interval '1 second', now() + interval '1 hour', case when n % 2 = 0 then now() end, 1, 'acme', 'r' || n,
        'a' || n, 'acme.r.1.1', case when n % 2 = 0 then 'approved' else 'waiting' end, 'make_the_call', 'pay', '', '', '{}'
    from generate_series(1, 100) as n;
    insert into remembered_approvals (remembered_at, expires_at, workspace_id, remembered_id, approval_id, principal_id, effect,
        tool_name, definition_digest, actor, hosts, findings, approved_by)
    values (now(), now() + interval '1 hour', 'acme', 'm', 'a', 'p', 'write', 'pay', '', '{}', '[]', '[]', '[]');
    insert into egress_requests (requested_at, step_number, call_number, hop, requests, workspace_id, run_id, tool_call_id, status, host)
    select now(), 1, 1, 0, 1, 'acme', 'r' || n, 'acme.r.1.1', 'allowed', 'example.org' from generate_series(1, 10) as n;
    insert into principals (quarantined_at, workspace_id, principal_id, quarantine_reason) values (now(), 'acme', 'p', 'odd');
    insert into policy_revisions (activated_at, revision, workspace_id, enforcement_mode, activated_by, digest, document)
    values (now(), 1, '_fleet', 'enforce', 'ann', '', '');
    insert into workers (started_at, seen_at, slots, busy, draining, worker_id, zones, version)
    values (now(), now(), 64, 3, false, 'w', array['sandbox'], '0');
    insert into dead_letters (sequence, source_sequence, died_at, workspace_id, reason_code, put_aside_by, subject, reason)
    values (1, 1, now(), 'acme', 'submission_invalid', 'd', 's', 'no');
    insert into projection_checkpoint (name, stream_created_at, last_sequence, last_event_id, last_stored_at, stream_last_sequence, written_at)
    values ('events', now(), 1, 'e', now(), 2, now());";

/// Tables of so many rows are never read from end to end.
const LARGE: [&str; 4] = ["runs", "policy_decisions", "approvals", "egress_requests"];

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn dashboards() -> Vec<(String, Value)> {
    let folder = repository().join("deploy/grafana/dashboards");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            (name, serde_json::from_str(&text).unwrap())
        })
        .collect();
    found.sort_by(|a: &(String, Value), b| a.0.cmp(&b.0));
    found
}

/// What Grafana makes of the query of a panel whose time range is the last hour.
fn expanded(sql: &str) -> String {
    let sql = sql
        .replace("$__timeFrom()", "(now() - interval '1 hour')")
        .replace("$__timeTo()", "now()")
        .replace("$__interval_ms", "60000");
    assert!(!sql.contains('$'), "another macro: {sql}");
    sql
}

#[tokio::test]
async fn every_panel_shows_what_there_is() {
    let server = Server::start().await;
    let _store = server.database("grafana").await;
    let mut owner = server.connection("grafana").await;
    execute(&mut owner, ROWS).await.unwrap();
    let mut connection = server.dashboard("grafana").await;

    let boards = dashboards();
    let names: Vec<&str> = boards.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["approvals", "fleet", "policy"]);
    for (name, board) in &boards {
        let mut ids = BTreeSet::new();
        for panel in board["panels"].as_array().unwrap() {
            let title = format!("{name}: {}", panel["title"].as_str().unwrap());
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
            assert_eq!(panel["datasource"]["uid"], "gatewright", "{title}");
            for target in panel["targets"].as_array().unwrap() {
                let sql = expanded(target["rawSql"].as_str().unwrap());
                let rows = connection.fetch_all(sql.as_str()).await;
                let rows = rows.unwrap_or_else(|error| panic!("{title}: {error}\n{sql}"));
                assert!(!rows.is_empty(), "{title} shows nothing\n{sql}");
                if target["format"] == "time_series" {
                    let columns = rows[0].columns();
                    assert_eq!(columns[0].name(), "time", "{title}");
                    assert_eq!(columns[0].type_info().name(), "TIMESTAMPTZ", "{title}");
                    assert!(rows.len() > 1, "{title} shows one point");
                }
            }
        }
    }
}

/// Prints how long each panel takes: `cargo nextest run -p gatewright-store --run-ignored only --no-capture no_panel`.
#[tokio::test]
#[ignore = "makes a million runs, which takes a minute"]
async fn no_panel_reads_a_table_of_a_million_runs_from_end_to_end() {
    let server = Server::start().await;
    let _store = server.database("million").await;
    let mut owner = server.connection("million").await;
    seed::runs(&mut owner, 1_000_000).await;
    let mut connection = server.dashboard("million").await;
    for (name, board) in dashboards() {
        for panel in board["panels"].as_array().unwrap() {
            let title = format!("{name}: {}", panel["title"].as_str().unwrap());
            let sql = expanded(panel["targets"][0]["rawSql"].as_str().unwrap());
            let explain = format!("explain {sql}");
            let plan = connection.fetch_all(explain.as_str()).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
            let plan = plan.join("\n");
            for table in LARGE {
                let whole = format!("Seq Scan on {table} ");
                assert!(!plan.contains(&whole), "{title}\n{plan}");
            }
            let began = Instant::now();
            connection.fetch_all(sql.as_str()).await.unwrap();
            println!(
                "{:>6.1} ms  {title}",
                began.elapsed().as_secs_f64() * 1_000.0
            );
        }
    }
}

/// Everything that the provisioning refers to is there.
#[test]
fn the_data_source_is_the_one_that_the_panels_name() {
    let folder = repository().join("deploy/grafana/provisioning");
    let source = std::fs::read_to_string(folder.join("datasources/gatewright.yaml")).unwrap();
    assert!(source.contains("uid: gatewright\n"));
    let kind = "type: grafana-postgresql-datasource";
    assert!(source.contains(kind));
    for (name, board) in dashboards() {
        assert_eq!(board["uid"], format!("gatewright-{name}"));
        for panel in board["panels"].as_array().unwrap() {
            let expected = kind.strip_prefix("type: ").unwrap();
            assert_eq!(panel["datasource"]["type"], expected);
        }
    }
}
