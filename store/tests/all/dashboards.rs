//! Nobody changes an event, and dashboards only read.

use crate::server::{Server, execute};

const ROWS: &str = "insert into events (stream_sequence, place, event_version, attempt, seq, occurred_at, stored_at,
        workspace_id, run_id, event_id, event_type, zone, writer, actor_type, actor_id, hash, data)
    values (1, 1, 1, 0, 1, now(), now(), 'acme', 'r', 'c.1', 'tool.invoked', 'sandbox', 'w', 'service', 'w', '\\x00',
        '{\"input\": {\"text\": \"nul \\u0000\"}}');
    insert into tool_calls (requested_at, step_number, call_number, invocations, executions, workspace_id, run_id,
        tool_call_id, status, tool_name, invoked_seq)
    values (now(), 1, 1, 1, 1, 'acme', 'r', 'acme.r.1.1', 'running', 'runtime.noop', 1);";

#[tokio::test]
async fn events_are_append_only_for_everybody() {
    let server = Server::start().await;
    let _store = server.database("events").await;
    let mut connection = server.connection("events").await;
    execute(&mut connection, ROWS).await.unwrap();

    let refused = Err("23001".to_owned());
    for sql in [
        "update events set writer = 'me'",
        "update events set writer = 'me' where false",
        "delete from events",
        "truncate events",
        "set gatewright.rebuild = 'on'; update events set writer = 'me'",
        "set gatewright.rebuild = 'on'; delete from events",
        "set gatewright.rebuild = 'off'; truncate events",
        "insert into events select * from events on conflict (stream_sequence, place) do update set writer = 'me'",
    ] {
        assert_eq!(execute(&mut connection, sql).await, refused, "{sql}");
    }
    // Each of the two keys holds.
    for changed in [
        "2::bigint as stream_sequence, seq",
        "stream_sequence, 2::bigint as seq",
    ] {
        let sql = format!(
            "insert into events (stream_sequence, seq, place, event_version, attempt, occurred_at, stored_at, workspace_id,
                run_id, event_id, event_type, zone, writer, actor_type, actor_id, hash, data)
             select {changed}, place, event_version, attempt, occurred_at, stored_at, workspace_id, run_id, event_id,
                event_type, zone, writer, actor_type, actor_id, hash, data from events"
        );
        assert_eq!(
            execute(&mut connection, &sql).await,
            Err("23505".to_owned()),
            "{changed}"
        );
    }
    // The one way to empty it empties everything, and is closed again at once.
    execute(&mut connection, "begin; select reset_projection()")
        .await
        .unwrap();
    assert_eq!(execute(&mut connection, "truncate events").await, refused);
}

#[tokio::test]
async fn dashboards_can_read_everything_and_change_nothing() {
    let server = Server::start().await;
    let _store = server.database("shown").await;
    let mut superuser = server.connection("shown").await;
    execute(&mut superuser, ROWS).await.unwrap();
    let mut dashboard = server.dashboard("shown").await;

    let relations: Vec<(String, String)> = sqlx::query_as(
        "select relname::text, relkind::text from pg_class
         where relnamespace = 'public'::regnamespace and relkind in ('r', 'v') order by 1",
    )
    .fetch_all(&mut dashboard)
    .await
    .unwrap();
    assert!(relations.len() > 20, "{relations:?}");
    let forbidden = Err("42501".to_owned());
    for (relation, kind) in &relations {
        assert_eq!(
            execute(&mut dashboard, &format!("select * from {relation}")).await,
            Ok(()),
            "{relation}"
        );
        if kind == "r" {
            for sql in [
                format!("delete from {relation}"),
                format!("truncate {relation}"),
            ] {
                assert_eq!(execute(&mut dashboard, &sql).await, forbidden, "{sql}");
            }
        }
    }
    for sql in [
        "update runs set status = 'succeeded'",
        "insert into workers select * from workers",
        "select reset_projection()",
        "set gatewright.rebuild = 'on'; truncate events",
        "create table mine ()",
        "drop table events",
        "alter table events disable trigger all",
    ] {
        assert_eq!(execute(&mut dashboard, sql).await, forbidden, "{sql}");
    }
    // What Postgres cannot hold in a text does not take a view down.
    let shown: serde_json::Value = sqlx::query_scalar("select input from tool_call_details")
        .fetch_one(&mut dashboard)
        .await
        .unwrap();
    assert_eq!(shown["text"], "nul \u{fffd}");
}
