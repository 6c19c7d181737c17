//! The way to the database.

use std::{str::FromStr, time::Duration};

use sqlx::{
    ConnectOptions, Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::error::is_transient;

/// The oldest Postgres that the tables and queries are written for.
pub const MIN_SERVER: u32 = 15;

/// Every query of the pool reads a page in the order of an index, and Postgres is kept to that. It knows neither how rare the state is
/// that is asked for, nor how many rows a run has: it would sort all that it takes for few, read a table of a million runs from end to
/// end for a lane that few are in, and after five times plan without knowing of which workspace.
const ONE_PAGE_AT_A_TIME: [(&str, &str); 3] = [
    ("plan_cache_mode", "force_custom_plan"),
    ("enable_bitmapscan", "off"),
    ("enable_seqscan", "off"),
];

/// How to connect.
#[derive(Debug, Clone)]
pub struct Options {
    /// Shown in `pg_stat_activity`, so that an operator can tell who holds a connection.
    pub application_name: String,
    /// At most this many connections for queries; the projection has one of its own.
    pub max_connections: u32,
    /// How long a query waits for a connection before it fails.
    pub acquire_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            application_name: "gatewright".into(),
            max_connections: 8,
            acquire_timeout: Duration::from_secs(5),
        }
    }
}

/// A pool of connections to one database.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) pool: PgPool,
    pub(crate) connect_options: PgConnectOptions,
    server: u32,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL cannot be used. It is not repeated here, for it may hold a password.
    #[error(
        "the database URL is not usable; it looks like postgres://user:password@host:5432/database"
    )]
    Url(#[source] sqlx::Error),
    /// The server cannot be reached or refuses.
    #[error("cannot connect to Postgres at {host}:{port}, database `{database}`")]
    Unreachable {
        /// Where.
        host: String,
        /// Its port.
        port: u16,
        /// Which database.
        database: String,
        /// Why not.
        #[source]
        source: sqlx::Error,
    },
    /// The server is too old.
    #[error(
        "the Postgres at {host}:{port} has version {found}; Gatewright needs {MIN_SERVER} or newer: upgrade that server, or name another one"
    )]
    ServerTooOld {
        /// Where.
        host: String,
        /// Its port.
        port: u16,
        /// Its major version.
        found: u32,
    },
    /// The database cannot hold every text.
    #[error("database `{database}` has the encoding {encoding}; Gatewright needs UTF8")]
    Encoding {
        /// Which database.
        database: String,
        /// Its encoding.
        encoding: String,
    },
}

impl ConnectError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => is_transient(source),
            Self::Url(_) | Self::ServerTooOld { .. } | Self::Encoding { .. } => false,
        }
    }
}

impl Store {
    /// Connects to the database at `url` (`postgres://…`). The database may still be empty: see [`crate::migrate`].
    pub async fn connect(url: &str, options: Options) -> Result<Self, ConnectError> {
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            let scheme = "it does not begin with postgres://";
            return Err(ConnectError::Url(sqlx::Error::Configuration(scheme.into())));
        }
        let connect_options = PgConnectOptions::from_str(url)
            .map_err(ConnectError::Url)?
            .application_name(&options.application_name)
            // Statements are short and many; compiling one costs more than it runs.
            .options([("jit", "off")])
            .disable_statement_logging();
        let database = connect_options
            .get_database()
            .unwrap_or_else(|| connect_options.get_username())
            .to_owned();
        let unreachable = |source| ConnectError::Unreachable {
            host: connect_options.get_host().to_owned(),
            port: connect_options.get_port(),
            database: database.clone(),
            source,
        };
        let mut first = first_connection(&connect_options, options.acquire_timeout)
            .await
            .map_err(unreachable)?;
        let server = first.server_version_num().map_or(0, |num| num / 10_000);
        if server < MIN_SERVER {
            return Err(ConnectError::ServerTooOld {
                host: connect_options.get_host().to_owned(),
                port: connect_options.get_port(),
                found: server,
            });
        }
        let encoding: String = sqlx::query_scalar("show server_encoding")
            .fetch_one(&mut first)
            .await
            .map_err(unreachable)?;
        if encoding != "UTF8" {
            return Err(ConnectError::Encoding { database, encoding });
        }
        // What was learnt counts, however the connection ends.
        let _ = first.close().await;
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(options.acquire_timeout)
            .connect_lazy_with(connect_options.clone().options(ONE_PAGE_AT_A_TIME));
        Ok(Self {
            pool,
            connect_options,
            server,
        })
    }

    /// The server's major version, 15 or higher.
    pub fn server_version(&self) -> u32 {
        self.server
    }

    /// Closes every connection of the pool, after what is under way.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// A connection beside the pool, for the pool does not tell why it has none: a server that refuses is tried again until the time is up.
async fn first_connection(
    options: &PgConnectOptions,
    patience: Duration,
) -> Result<PgConnection, sqlx::Error> {
    let connected = tokio::time::timeout(patience, options.connect()).await;
    connected.unwrap_or_else(|_| {
        let silent = format!("no answer within {}s", patience.as_secs_f32());
        let silent = std::io::Error::new(std::io::ErrorKind::TimedOut, silent);
        Err(sqlx::Error::Io(silent))
    })
}
