//! Bringing a database up to date, and refusing one that this program does not fit.

use sqlx::{
    Postgres,
    migrate::{MigrateDatabase as _, MigrateError, Migrator},
};

use crate::{Store, StoreError, error::is_transient};

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// Why the database cannot be used as it is, or could not be migrated.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// Nothing was ever migrated.
    #[error("the database is not migrated; run `gatewright migrate`")]
    NotMigrated,
    /// Migrations are missing.
    #[error(
        "the database is at migration {database}, this program needs {program}; run `gatewright migrate`"
    )]
    Behind {
        /// The database's newest.
        database: i64,
        /// The program's newest.
        program: i64,
    },
    /// A newer program migrated it.
    #[error(
        "the database is at migration {database}, which is newer than this program knows ({program}); \
         use the newer program that migrated it"
    )]
    Ahead {
        /// The database's newest.
        database: i64,
        /// The program's newest.
        program: i64,
    },
    /// A migration was applied with another text.
    #[error(
        "migration {version} was applied with another text than this program has; this is another program's database"
    )]
    Foreign {
        /// Which.
        version: i64,
    },
    /// A migration stopped half way.
    #[error(
        "migration {version} was begun and not finished; restore the database, or drop it and rebuild it from the stream"
    )]
    Unfinished {
        /// Which.
        version: i64,
    },
    /// A migration failed.
    #[error("could not migrate the database")]
    Failed(#[source] Box<MigrateError>),
    /// Postgres, or the way to it, failed.
    #[error(transparent)]
    Database(#[from] StoreError),
}

impl SchemaError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database(error) => error.is_transient(),
            Self::Failed(error) => match &**error {
                MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                    is_transient(error)
                }
                _ => false,
            },
            _ => false,
        }
    }
}

/// Creates the database that `url` names, where it does not exist. Answers whether it did.
///
/// For servers of one's own, such as that of `gatewright dev`; elsewhere an administrator creates databases.
pub async fn create_database(url: &str) -> Result<bool, StoreError> {
    let creating = "create the database";
    if Postgres::database_exists(url)
        .await
        .map_err(StoreError::during(creating))?
    {
        return Ok(false);
    }
    match Postgres::create_database(url).await {
        Ok(()) => Ok(true),
        // Somebody else created it at the same moment: duplicate_database, or its unique index.
        Err(sqlx::Error::Database(error))
            if matches!(error.code().as_deref(), Some("42P04" | "23505")) =>
        {
            Ok(false)
        }
        Err(error) => Err(StoreError::during(creating)(error)),
    }
}

/// The newest migration that this program knows.
pub fn newest() -> i64 {
    MIGRATIONS.iter().map(|m| m.version).max().unwrap_or(0)
}

/// Applies what is missing, under a lock so that several may try. Answers with the versions that it applied, in order.
///
/// Refuses a database that a newer program migrated, before it changes anything.
pub async fn run(store: &Store) -> Result<Vec<i64>, SchemaError> {
    let before = match check(store).await {
        Ok(()) => return Ok(Vec::new()),
        Err(SchemaError::NotMigrated) => 0,
        Err(SchemaError::Behind { database, .. }) => database,
        Err(other) => return Err(other),
    };
    MIGRATIONS
        .run(&store.pool)
        .await
        .map_err(|error| SchemaError::Failed(Box::new(error)))?;
    check(store).await?;
    Ok(MIGRATIONS
        .iter()
        .map(|m| m.version)
        .filter(|version| *version > before)
        .collect())
}

/// Whether this program fits the database. Every role asks before it starts.
pub async fn check(store: &Store) -> Result<(), SchemaError> {
    let applied = applied(store).await?;
    let program = newest();
    let Some(database) = applied.last().map(|a| a.version) else {
        return Err(SchemaError::NotMigrated);
    };
    if database > program {
        return Err(SchemaError::Ahead { database, program });
    }
    for applied in &applied {
        let version = applied.version;
        if !applied.success {
            return Err(SchemaError::Unfinished { version });
        }
        if !MIGRATIONS
            .iter()
            .any(|m| m.version == version && *m.checksum == *applied.checksum)
        {
            return Err(SchemaError::Foreign { version });
        }
    }
    if database < program {
        return Err(SchemaError::Behind { database, program });
    }
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Applied {
    version: i64,
    success: bool,
    checksum: Vec<u8>,
}

/// What was applied, in order. Nothing when there is no such table; the query is not checked at compile time, for the same reason.
async fn applied(store: &Store) -> Result<Vec<Applied>, StoreError> {
    let rows =
        sqlx::query_as("select version, success, checksum from _sqlx_migrations order by version")
            .fetch_all(&store.pool)
            .await;
    match rows {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => {
            Ok(Vec::new())
        }
        other => other.map_err(StoreError::during("read which migrations were applied")),
    }
}
