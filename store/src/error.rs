//! What can go wrong with a statement, and whether trying again may help.

/// A statement failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Postgres or the way to it failed.
    #[error("could not {operation}")]
    Database {
        /// What was tried, as in "could not …".
        operation: &'static str,
        /// What Postgres, or the connection, said.
        #[source]
        source: sqlx::Error,
    },
    /// A row holds what no program of this version writes.
    #[error("could not {operation}: column `{column}` holds `{value}`")]
    Unreadable {
        /// What was tried.
        operation: &'static str,
        /// The column.
        column: &'static str,
        /// What it holds, cut to 80 characters.
        value: String,
    },
}

impl StoreError {
    pub(crate) fn during(operation: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { operation, source }
    }

    pub(crate) fn unreadable(operation: &'static str, column: &'static str, value: &str) -> Self {
        let value = value
            .chars()
            .take(80)
            .flat_map(char::escape_debug)
            .collect();
        Self::Unreadable {
            operation,
            column,
            value,
        }
    }

    /// Whether the same statement may succeed later: the connection broke, the server restarts or is full, transactions collided.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database { source, .. } => is_transient(source),
            Self::Unreadable { .. } => false,
        }
    }
}

pub(crate) fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed
        // A server that goes down closes the connection in the middle of an answer.
        | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| is_transient_code(&code)),
        _ => false,
    }
}

/// By the classes of Postgres' error codes (its manual, appendix A).
fn is_transient_code(code: &str) -> bool {
    matches!(
        code.get(..2),
        // Connection lost; transaction rolled back (deadlock, serialisation); out of resources; operator intervention; I/O.
        Some("08" | "40" | "53" | "57" | "58")
    ) || matches!(
        code,
        // A lock that was not to be had; a session that was cut for idling; a server that turned read-only (failover).
        "55P03" | "25P03" | "25006"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_connections_and_collisions_are_retried_and_faults_are_not() {
        for code in [
            "08006", "40001", "40P01", "53300", "57P01", "57P03", "55P03", "25006",
        ] {
            assert!(is_transient_code(code), "{code}");
        }
        for code in ["23505", "42P01", "42501", "22021", "3D000", "28P01", ""] {
            assert!(!is_transient_code(code), "{code}");
        }
        assert!(is_transient(&sqlx::Error::PoolTimedOut));
        assert!(!is_transient(&sqlx::Error::RowNotFound));
    }
}
