//! Whole tables as text, to compare two databases. For tests and small databases: it reads everything.

use sqlx::Row as _;

use crate::{Store, StoreError};

/// The tables that are folded from the stream `EVENTS`. What they hold depends on nothing but the stream.
pub const FOLDED: [&str; 11] = [
    "events",
    "runs",
    "steps",
    "tool_calls",
    "policy_decisions",
    "approvals",
    "egress_requests",
    "capability_tokens",
    "principals",
    "policy_revisions",
    "remembered_approvals",
];

/// Every row of the folded tables as `<table> <row as text>`, in an order of its own that is always the same.
pub async fn folded(store: &Store) -> Result<Vec<String>, StoreError> {
    let mut lines = Vec::new();
    for table in FOLDED {
        let statement =
            format!("select '{table} ' || t::text from {table} t order by t::text collate \"C\"");
        let rows = sqlx::query(&statement)
            .fetch_all(&store.pool)
            .await
            .map_err(StoreError::during("read a whole table"))?;
        for row in rows {
            lines.push(
                row.try_get(0)
                    .map_err(StoreError::during("read a whole table"))?,
            );
        }
    }
    Ok(lines)
}
