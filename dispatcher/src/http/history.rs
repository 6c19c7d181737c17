//! A run's events over HTTP: page by page, and as they come.
//!
//! The live tail is server-sent events. Each has an id, `<sequence of its commit>.<place in it>`: whoever comes again with the last
//! one it saw (`Last-Event-ID`) misses none and sees none twice. A tail ends with the run, when the dispatcher goes, and
//! after some minutes, so that a key that was revoked does not listen on.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{Stream, StreamExt as _, stream};
use gatewright_bus::follow::Follow;
use gatewright_schemas::{RunStatus, StoredCommit, Timestamp, WorkspaceId, WriterId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Api,
    caller::Caller,
    problem::Problem,
    request::{Asked, MOST_PAGE, Page, asked, existing, limit_of},
};

/// How long a tail lasts.
const MOST_TAIL: Duration = Duration::from_mins(5);
/// How often a tail on which nothing happens says that it is there.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// Which events are shown.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Shown {
    workspace: Option<WorkspaceId>,
    /// The sequence of the last commit that was seen.
    after: Option<u64>,
    /// Commits at most.
    #[schemars(range(min = 1, max = MOST_PAGE))]
    limit: Option<u32>,
}

/// From where on a run is followed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tailed {
    workspace: Option<WorkspaceId>,
    /// The id of the last event that was seen.
    #[schemars(regex(pattern = r"^[0-9]{1,18}\.[0-9]{1,9}$"))]
    after: Option<String>,
}

/// A page of a run's events, from the stream. A page holds whole commits.
pub(super) async fn events(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(run): Path<String>,
    query: Asked<Shown>,
) -> Result<Json<Page<Line>>, Problem> {
    let query = asked(query)?;
    let workspace = caller.workspace(query.workspace)?;
    let (run, _) = existing(&api, &workspace, &run).await?;
    let limit = usize::try_from(limit_of(query.limit)?).unwrap_or(usize::MAX);
    let after = query.after.unwrap_or(0);
    let commits = api
        .fleet
        .commits_after(&workspace, &run, after, limit)
        .await?;
    let last = commits.last().filter(|_| commits.len() == limit);
    let next = last.map(|stored| stored.sequence.to_string());
    let items = commits
        .iter()
        .flat_map(lines)
        .map(|(_, line)| line)
        .collect();
    Ok(Json(Page { items, next }))
}

/// An event and where it stands.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Line {
    /// Sequence of its commit in the stream.
    stream_sequence: u64,
    /// Its place in the commit, from 1.
    place: u32,
    /// When the stream stored it.
    stored_at: Timestamp,
    /// The credential that wrote it.
    writer: WriterId,
    /// The attempt at the run in which it was made.
    attempt: u32,
    event: gatewright_schemas::Event,
}

/// The events of a commit, each with its place in it, as `gatewright run events --json` shows them.
fn lines(stored: &StoredCommit) -> impl Iterator<Item = (Seen, Line)> {
    stored.commit.events.iter().zip(1..).map(|(event, place)| {
        let line = Line {
            stream_sequence: stored.sequence,
            place,
            stored_at: stored.stored_at,
            writer: stored.writer.clone(),
            attempt: stored.commit.attempt,
            event: event.clone(),
        };
        let seen = Seen {
            sequence: stored.sequence,
            place,
        };
        (seen, line)
    })
}

/// Up to where a run was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    sequence: u64,
    place: u32,
}

impl Seen {
    const NOTHING: Self = Self {
        sequence: 0,
        place: 0,
    };

    fn read(text: &str) -> Result<Self, Problem> {
        let parts = text.trim().split_once('.');
        let seen = parts.and_then(|(sequence, place)| {
            Some(Self {
                sequence: sequence.parse().ok()?,
                place: place.parse().ok()?,
            })
        });
        seen.ok_or_else(|| {
            Problem::bad_request("Last-Event-ID, after: the id of an event of this tail")
        })
    }
}

/// A run's events from the beginning, or after those that were seen, and then as they come.
pub(super) async fn tail(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(run): Path<String>,
    query: Asked<Tailed>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = asked(query)?;
    let workspace = caller.workspace(query.workspace)?;
    let (run, last) = existing(&api, &workspace, &run).await?;
    let seen = match (headers.get("last-event-id"), &query.after) {
        (Some(text), _) => Seen::read(text.to_str().unwrap_or_default())?,
        (None, Some(text)) => Seen::read(text)?,
        (None, None) => Seen::NOTHING,
    };
    let has_ended = last.status.is_some_and(RunStatus::is_terminal);
    let end = lines(&last).last().map(|(end, _)| end);
    if has_ended && end.is_some_and(|end| seen >= end) {
        // Browsers come again after every end but this.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let place = api.place_to_wait()?;
    let before = seen.sequence.saturating_sub(1);
    let tail = Tail {
        follow: api.fleet.follow(&workspace, &run, before).await?,
        seen,
        ready: VecDeque::new(),
        has_ended: false,
        _place: place,
    };
    let until = {
        let stopping = api.stopping.clone();
        async move {
            let _ = tokio::time::timeout(MOST_TAIL, stopping.cancelled()).await;
        }
    };
    let events = tail.events().take_until(until);
    let alive = KeepAlive::new().interval(ALIVE_EVERY);
    Ok(Sse::new(events).keep_alive(alive).into_response())
}

/// A run that is followed for one who listens.
struct Tail {
    follow: Follow,
    seen: Seen,
    ready: VecDeque<Event>,
    has_ended: bool,
    _place: OwnedSemaphorePermit,
}

impl Tail {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut tail| async move {
            loop {
                if let Some(event) = tail.ready.pop_front() {
                    return Some((Ok(event), tail));
                }
                if tail.has_ended {
                    return None;
                }
                match tail.follow.next().await {
                    Ok(commits) => commits.iter().for_each(|stored| tail.take(stored)),
                    Err(error) => {
                        // Whoever listens comes again, and goes on where this ends.
                        tracing::warn!(%error, "a tail broke off");
                        return None;
                    }
                }
            }
        })
    }

    fn take(&mut self, stored: &StoredCommit) {
        for (seen, line) in lines(stored) {
            if seen <= self.seen {
                continue;
            }
            let Ok(data) = serde_json::to_string(&line) else {
                continue;
            };
            let event = Event::default()
                .id(format!("{}.{}", seen.sequence, seen.place))
                .event(line.event.event_type.as_str())
                .data(data);
            self.ready.push_back(event);
        }
        self.has_ended |= stored.status.is_some_and(RunStatus::is_terminal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_the_order_of_the_stream_and_anything_else_is_refused() {
        let seen = |text: &str| Seen::read(text).unwrap();
        assert!(seen("9.12") < seen("10.1"));
        assert!(seen("9.2") < seen("9.12"));
        assert!(Seen::NOTHING < seen("1.1"));
        for bad in ["", "1", "1.", ".1", "a.b", "-1.2", "1.2.3"] {
            assert!(Seen::read(bad).is_err(), "{bad}");
        }
    }
}
