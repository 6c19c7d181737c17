//! A private Postgres with as many databases as a test wants.

use gatewright_local::{Binaries, Postgres, PostgresOptions};
use gatewright_store::{Options, Store, migrate};
use tempfile::TempDir;

pub struct Server {
    pub postgres: Postgres,
    _folder: TempDir,
}

impl Server {
    pub async fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("gatewright-projector-")
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

    /// A new database with empty tables.
    pub async fn database(&self, name: &str) -> Store {
        let url = self.postgres.url(name);
        migrate::create_database(&url).await.unwrap();
        let store = Store::connect(&url, Options::default()).await.unwrap();
        migrate::run(&store).await.unwrap();
        store
    }
}
