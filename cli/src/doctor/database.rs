//! What Postgres holds: the migrations, and how far the projection is.

use gatewright_store::{
    ConnectError, MIN_SERVER, Store, checkpoint,
    migrate::{self, SchemaError},
};

use super::{Check, PATIENCE};
use crate::{context::Context, exit::told, projector::SILENT_AFTER_SECONDS};

/// Tables that are further behind than this are behind.
const BEHIND_SECONDS: f64 = 5.0;

pub(super) async fn checks(context: &Context) -> Vec<Check> {
    let skipped = |checks: &mut Vec<Check>, names: &[&'static str], because: &str| {
        checks.extend(names.iter().map(|name| Check::skipped(name, because)));
    };
    let mut checks = Vec::new();
    let store = match tokio::time::timeout(PATIENCE, context.unchecked_store()).await {
        Ok(Ok(store)) => {
            let found = format!("reachable, version {}", store.server_version());
            checks.push(Check::ok("postgres", found));
            store
        }
        Ok(Err(error)) => {
            let remedy = remedy(&error);
            checks.push(Check::fault("postgres", told(&error), remedy));
            skipped(
                &mut checks,
                &["migrations", "projector"],
                "there is no connection to Postgres",
            );
            return checks;
        }
        Err(_) => {
            checks.push(Check::fault(
                "postgres",
                "it takes the connection and does not answer",
                "see whether that server is overloaded or stopped",
            ));
            skipped(
                &mut checks,
                &["migrations", "projector"],
                "there is no connection to Postgres",
            );
            return checks;
        }
    };
    let migrated = migrations(&store).await;
    let is_migrated = migrated.state == super::State::Ok;
    checks.push(migrated);
    if is_migrated {
        checks.push(projector(&store).await);
    } else {
        skipped(
            &mut checks,
            &["projector"],
            "the tables are not this program's",
        );
    }
    checks
}

fn remedy(error: &anyhow::Error) -> String {
    match error.downcast_ref::<ConnectError>() {
        Some(ConnectError::ServerTooOld { .. }) => {
            format!("upgrade that server to Postgres {MIN_SERVER} or newer, or name another one with --database-url")
        }
        Some(ConnectError::Encoding { .. }) => {
            "name a database with the encoding UTF8: createdb --template template0 --encoding UTF8".into()
        }
        _ => "start that server, or name a database with --database-url, DATABASE_URL or `database_url` in the file of --config".into(),
    }
}

async fn migrations(store: &Store) -> Check {
    let name = "migrations";
    match migrate::check(store).await {
        Ok(()) => Check::ok(name, format!("at migration {}", migrate::newest())),
        Err(error) => {
            let remedy = match &error {
                SchemaError::NotMigrated | SchemaError::Behind { .. } => "run `gatewright migrate`",
                SchemaError::Ahead { .. } => {
                    "use the newer program that migrated it, on every machine"
                }
                SchemaError::Foreign { .. } => {
                    "name another database; this one belongs to another program"
                }
                SchemaError::Unfinished { .. } => {
                    "restore the database, or drop it, migrate anew, and run `gatewright projector rebuild`"
                }
                SchemaError::Failed(_) | SchemaError::Database(_) => {
                    "see what Postgres says, and try again"
                }
            };
            Check::fault(name, told(&error.into()), remedy)
        }
    }
}

async fn projector(store: &Store) -> Check {
    let name = "projector";
    let start = "start `gatewright projector`, or see its log: it says why it stopped";
    match checkpoint::lag(store).await {
        Err(error) => Check::fault(
            name,
            told(&error.into()),
            "see what Postgres says, and try again",
        ),
        Ok(None) => Check::fault(name, "nothing was projected yet", start),
        Ok(Some(lag)) => {
            let found = format!(
                "{} messages behind, {:.1}s; heard of {:.1}s ago",
                lag.messages, lag.seconds, lag.silent_seconds
            );
            if lag.silent_seconds > SILENT_AFTER_SECONDS {
                Check::fault(name, found, start)
            } else if lag.seconds > BEHIND_SECONDS {
                Check::warning(
                    name,
                    found,
                    "watch whether it catches up: gatewright projector status",
                )
            } else {
                Check::ok(name, found)
            }
        }
    }
}
