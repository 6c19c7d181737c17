//! What every command has at hand: the settings, the output, and the way to the servers.

use anyhow::Result;
use gatewright_bus::Fleet;
use gatewright_schemas::WriterId;
use gatewright_store::{Options, Store, migrate};

use crate::{exit::Failure, out::Out, settings::Settings};

/// The name under which operators' commands speak to NATS unless `--name` says otherwise.
const OPERATOR: &str = "operator";

/// What every command has at hand.
#[derive(Debug, Clone)]
pub struct Context {
    /// The settings, checked.
    pub settings: Settings,
    /// Standard output.
    pub out: Out,
}

impl Context {
    /// Connects to the fleet, or says at once why it cannot.
    pub async fn fleet(&self) -> Result<Fleet> {
        let name = WriterId::new(OPERATOR)?;
        let connection = self.settings.connection(&name);
        let connected = Fleet::connect_once(&connection).await;
        match (connected, &self.settings.from_dev) {
            (Ok(fleet), _) => Ok(fleet),
            (Err(error), None) => Err(error.into()),
            (Err(error), Some(path)) => Err(anyhow::Error::new(error).context(format!(
                "`{}` says where a `gatewright dev` listens, and it is not there any more; start it again",
                path.display()
            ))),
        }
    }

    /// Connects to the database and checks that this program fits it.
    pub async fn store(&self) -> Result<Store> {
        let store = self.unchecked_store().await?;
        migrate::check(&store).await?;
        Ok(store)
    }

    /// Connects to the database, whatever state it is in.
    pub async fn unchecked_store(&self) -> Result<Store> {
        let url = self.database_url()?;
        let options = Options {
            application_name: "gatewright operator".into(),
            max_connections: 4,
            ..Options::default()
        };
        Ok(Store::connect(url, options).await?)
    }

    /// The database's address.
    pub fn database_url(&self) -> Result<&str> {
        self.settings.database_url.as_deref().ok_or_else(|| {
            Failure::usage(
                "no database is named: give --database-url, DATABASE_URL, or `database_url` in the file of --config; \
                 or start `gatewright dev` in this directory",
            )
        })
    }
}
