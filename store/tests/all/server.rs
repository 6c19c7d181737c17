//! A private Postgres with as many databases as a test wants.

use gatewright_local::{Binaries, Postgres, PostgresOptions};
use gatewright_store::{Options, Store, migrate};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

pub struct Server {
    pub postgres: Postgres,
    _folder: TempDir,
}

impl Server {
    pub async fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("gatewright-store-")
            .tempdir()
            .unwrap();
        let options = PostgresOptions {
            data_dir: folder.path().join("postgres"),
            port: None,
            durable: false,
        };
        let postgres = Postgres::start(&Binaries::find().unwrap(), options)
            .await
            .unwrap();
        Self {
            postgres,
            _folder: folder,
        }
    }

    /// A new database without any table.
    pub async fn empty_database(&self, name: &str) -> Store {
        let url = self.postgres.url(name);
        migrate::create_database(&url).await.unwrap();
        Store::connect(&url, Options::default()).await.unwrap()
    }

    /// A new database with empty tables.
    pub async fn database(&self, name: &str) -> Store {
        let store = self.empty_database(name).await;
        migrate::run(&store).await.unwrap();
        store
    }

    /// A connection of the role that dashboards have, which may only read.
    pub async fn dashboard(&self, database: &str) -> PgConnection {
        let mut superuser = self.connection(database).await;
        let login = "alter role gatewright_dashboard login password 'shown'";
        execute(&mut superuser, login).await.unwrap();
        let url = self.postgres.url(database);
        let (_, host) = url.rsplit_once('@').unwrap();
        PgConnection::connect(&format!("postgres://gatewright_dashboard:shown@{host}"))
            .await
            .unwrap()
    }

    /// A connection of the superuser's.
    pub async fn connection(&self, database: &str) -> PgConnection {
        PgConnection::connect(&self.postgres.url(database))
            .await
            .unwrap()
    }
}

/// Runs statements; the code of the error where there is one.
pub async fn execute(connection: &mut PgConnection, sql: &str) -> Result<(), String> {
    match sqlx::raw_sql(sql).execute(connection).await {
        Ok(_) => Ok(()),
        Err(error) => Err(error
            .as_database_error()
            .and_then(|error| Some(error.code()?.into_owned()))
            .unwrap_or_else(|| error.to_string())),
    }
}
