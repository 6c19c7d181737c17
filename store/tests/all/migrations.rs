//! A database is brought up to date, and one that does not fit is refused.

use gatewright_store::{
    ConnectError, Options, Store,
    migrate::{self, SchemaError},
};

use crate::{
    old_server,
    server::{Server, execute},
};

#[tokio::test]
async fn migrations_run_once_and_a_database_that_does_not_fit_is_refused() {
    let server = Server::start().await;
    let store = server.empty_database("fresh").await;
    assert!(matches!(
        migrate::check(&store).await,
        Err(SchemaError::NotMigrated)
    ));

    // Two at once, as when two roles start together; and another fleet's database, for the shared role.
    let other = server.empty_database("other").await;
    let (one, two, three) = tokio::join!(
        migrate::run(&store),
        migrate::run(&store),
        migrate::run(&other)
    );
    assert_eq!(one.unwrap().last(), Some(&migrate::newest()));
    two.unwrap();
    three.unwrap();
    migrate::check(&store).await.unwrap();
    assert_eq!(migrate::run(&store).await.unwrap(), Vec::<i64>::new());

    let mut connection = server.connection("fresh").await;
    let newest = migrate::newest();
    let breaking = [
        (
            "update _sqlx_migrations set version = 99999999999999 where version = 3",
            "Ahead",
        ),
        (
            "update _sqlx_migrations set version = 3 where version = 99999999999999",
            "fits",
        ),
        (
            "update _sqlx_migrations set checksum = '\\x00' where version = 3",
            "Foreign",
        ),
        (
            "update _sqlx_migrations set success = false where version = 2",
            "Unfinished",
        ),
        ("delete from _sqlx_migrations", "NotMigrated"),
    ];
    for (sql, expected) in breaking {
        execute(&mut connection, sql).await.unwrap();
        let found = match migrate::check(&store).await {
            Ok(()) => "fits",
            Err(SchemaError::NotMigrated) => "NotMigrated",
            Err(SchemaError::Ahead { database, program }) => {
                assert_eq!((database, program), (99_999_999_999_999, newest));
                let refused = migrate::run(&store).await.unwrap_err();
                assert!(
                    refused
                        .to_string()
                        .contains("newer than this program knows"),
                    "{refused}"
                );
                "Ahead"
            }
            Err(SchemaError::Foreign { version: 3 }) => "Foreign",
            Err(SchemaError::Unfinished { version: 2 }) => "Unfinished",
            Err(error) => panic!("{error}"),
        };
        assert_eq!(found, expected, "{sql}");
    }

    let mut connection = server.connection("other").await;
    execute(
        &mut connection,
        &format!("delete from _sqlx_migrations where version = {newest}"),
    )
    .await
    .unwrap();
    let behind = migrate::check(&other).await.unwrap_err();
    assert!(matches!(behind, SchemaError::Behind { .. }), "{behind}");
    assert!(
        behind.to_string().contains("gatewright migrate"),
        "{behind}"
    );
}

#[tokio::test]
async fn a_server_that_is_away_is_told_apart_from_one_that_refuses() {
    let mut server = Server::start().await;
    let store = server.database("away").await;
    let url = server.postgres.url("away");

    let password = url.replace("gatewright:", "gatewright:wrong");
    let error = Store::connect(&password, Options::default())
        .await
        .unwrap_err();
    assert!(!error.is_transient(), "{error}");
    assert!(
        !format!("{error:?}").contains("wrong"),
        "a message must not show a password"
    );
    let error = Store::connect(&server.postgres.url("nowhere"), Options::default())
        .await
        .unwrap_err();
    assert!(
        matches!(error, ConnectError::Unreachable { .. }) && !error.is_transient(),
        "{error}"
    );
    let error = Store::connect("mysql://nonsense", Options::default())
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Url(_)), "{error}");

    server.postgres.kill().await.unwrap();
    let impatient = Options {
        acquire_timeout: std::time::Duration::from_millis(200),
        ..Options::default()
    };
    let error = Store::connect(&url, impatient).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.to_lowercase().contains("refused"), "{why}");
    let error = migrate::check(&store).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");

    // The pool finds the server again. A server of this kind may have lost its last transactions.
    server.postgres.restart().await.unwrap();
    migrate::run(&store).await.unwrap();
    migrate::check(&store).await.unwrap();
}

#[tokio::test]
async fn a_postgres_that_is_too_old_is_refused_by_its_version() {
    let port = old_server::start("14.12 (Debian 14.12-1)").await;
    let url = format!("postgres://gatewright@127.0.0.1:{port}/gatewright");
    let error = Store::connect(&url, Options::default()).await.unwrap_err();
    assert!(!error.is_transient(), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!(
            "the Postgres at 127.0.0.1:{port} has version 14; Gatewright needs 15 or newer: upgrade that server, or name another one"
        )
    );
}
