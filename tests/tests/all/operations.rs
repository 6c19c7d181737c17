//! What `docs/operations.md` tells operators to ask the database.

use gatewright_tests::Fleetlet;
use sqlx::{Connection as _, PgConnection};

/// The statements in a Markdown text: those of its `sql` blocks, and those in its sentences.
fn statements(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (n, part) in text.split("```").enumerate() {
        if n % 2 == 1 {
            // A block in a list is indented.
            if let Some(sql) = part.strip_prefix("sql\n") {
                found.extend(sql.split_inclusive(';').map(|one| one.trim().to_owned()));
            }
        } else {
            let spans = part.split('`').skip(1).step_by(2);
            found.extend(
                spans
                    .filter(|span| span.starts_with("select "))
                    .map(str::to_owned),
            );
        }
    }
    found.retain(|statement| !statement.is_empty());
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_for_operators_runs_under_the_role_that_can_only_read() {
    let text = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let statements = statements(&std::fs::read_to_string(text).unwrap());
    assert!(statements.len() >= 8, "{statements:#?}");
    let fleet = Fleetlet::servers().await;
    let url = fleet.postgres.url("postgres");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("set role gatewright_dashboard")
        .execute(&mut connection)
        .await
        .unwrap();
    for statement in statements {
        let done = sqlx::raw_sql(&statement).execute(&mut connection).await;
        assert!(done.is_ok(), "{statement}: {done:?}");
    }
}
