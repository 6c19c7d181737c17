//! How the fleet does at a glance, from the read tables.

use std::sync::Arc;

use axum::{Json, extract::State};
use gatewright_bus::clock;
use gatewright_schemas::{Timestamp, WorkspaceId};
use gatewright_store::{
    Store, checkpoint, overview,
    run::{self, Filter},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Api,
    caller::Caller,
    problem::Problem,
    request::{Asked, asked},
};

/// Hours that are looked back at most.
const MOST_HOURS: u32 = 168;
/// Runs that are counted over time at most, and answers of the gate.
const MOST_COUNTED: u32 = 20_000;
/// Buckets of time that a span is cut into, about.
const BUCKETS: i64 = 60;
/// How long buckets are, in seconds: whole parts of what people count time in.
const BUCKETS_S: [i64; 9] = [10, 30, 60, 300, 600, 1_800, 3_600, 10_800, 21_600];
/// Runs that wait for a worker, shown.
const MOST_QUEUED: u32 = 5;

/// Of what, and how far back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asks {
    workspace: Option<WorkspaceId>,
    /// Hours; 24 when left out.
    #[schemars(range(min = 1, max = MOST_HOURS))]
    hours: Option<u32>,
}

/// How the fleet does, or one workspace of it. Every count is bounded, and says where it stopped.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Overview {
    /// Runs by state.
    states: Vec<overview::StateCount>,
    created: RunsOverTime,
    denials: Denials,
    waiting: overview::Waiting,
    /// The runs that have waited longest for a worker.
    oldest_queued: Vec<overview::Queued>,
    /// Absent while nothing was projected.
    lag: Option<checkpoint::Lag>,
}

/// Runs by when they were created.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RunsOverTime {
    since: Timestamp,
    until: Timestamp,
    /// How long a bucket is, in seconds.
    bucket_s: i64,
    /// Whether there are more than are counted, so that it begins later than was asked for.
    cut: bool,
    /// How many are counted at most.
    most: u32,
    buckets: Vec<overview::Created>,
}

/// What the gate did not allow.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Denials {
    items: Vec<overview::Refusals>,
    /// Whether there are more than are counted.
    cut: bool,
    /// How many are counted at most.
    most: u32,
}

/// All that the overview shows, but for the workers.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    query: Asked<Asks>,
) -> Result<Json<Overview>, Problem> {
    let query = asked(query)?;
    let workspace = caller.workspace_or_all(query.workspace)?;
    let workspace = workspace.as_ref();
    let hours @ 1..=MOST_HOURS = query.hours.unwrap_or(24) else {
        let detail = format!("hours: from 1 to {MOST_HOURS}");
        return Err(Problem::bad_request(detail));
    };
    let now = clock::now();
    let since = Timestamp::from_micros(now.as_micros() - i64::from(hours) * 3_600_000_000);
    let tables = api.tables()?;
    let denials = overview::refusals(tables, workspace, since, MOST_COUNTED).await?;
    let counted: i64 = denials.iter().map(|one| one.decisions).sum();
    Ok(Json(Overview {
        states: overview::states(tables, workspace).await?,
        created: created(tables, workspace, since, now).await?,
        denials: Denials {
            items: denials,
            cut: counted >= i64::from(MOST_COUNTED),
            most: MOST_COUNTED,
        },
        waiting: overview::waiting(tables, workspace).await?,
        oldest_queued: overview::oldest_queued(tables, workspace, MOST_QUEUED).await?,
        lag: checkpoint::lag(tables).await?,
    }))
}

/// Runs over time. Where there are more than are counted, it begins later than asked for, and says so.
async fn created(
    tables: &Store,
    workspace: Option<&WorkspaceId>,
    mut since: Timestamp,
    now: Timestamp,
) -> Result<RunsOverTime, Problem> {
    let all = Filter {
        workspace: workspace.cloned(),
        ..Filter::default()
    };
    let reached = run::reach(tables, &all, MOST_COUNTED).await?;
    let mut is_cut = false;
    if let Some(reached) = reached
        && let Some(created_at) = overview::created_at(tables, reached).await?
        && created_at > since
    {
        // Whatever the clocks say of the youngest, a minute is shown.
        let latest = Timestamp::from_micros(now.as_micros() - 60_000_000);
        (since, is_cut) = (created_at.min(latest), true);
    }
    let span_s = (now.as_micros() - since.as_micros()) / 1_000_000;
    let fits = |bucket_s: &i64| span_s / bucket_s <= BUCKETS;
    let bucket_s = BUCKETS_S.into_iter().find(fits).unwrap_or(21_600);
    let from = reached.unwrap_or(0);
    Ok(RunsOverTime {
        since,
        until: now,
        bucket_s,
        cut: is_cut,
        most: MOST_COUNTED,
        buckets: overview::created(tables, workspace, from, since, bucket_s, MOST_COUNTED).await?,
    })
}
