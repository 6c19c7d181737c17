//! What each event means for which row.

mod approval;
mod authority;
mod call;
mod decision;
mod egress;
mod run;
mod step;

use gatewright_schemas::{Event, EventBody, EventId, RunId, StoredCommit, event::UnreadableEvent};
use gatewright_store::projection::{Batch, Position, RunRows, UnstorableEvent};

/// Why a commit cannot be folded.
#[derive(Debug, thiserror::Error)]
#[error("commit {sequence} of the stream cannot be understood; it is not skipped")]
pub struct Unreadable {
    /// The commit's sequence in the stream; 0 where that is not known.
    pub sequence: u64,
    /// What is wrong with it.
    #[source]
    pub fault: Fault,
}

/// What is wrong with a commit.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It holds nothing.
    #[error("the commit holds no event")]
    Empty,
    /// Its events are not all of its run.
    #[error("event `{0}` belongs to another run than its commit")]
    Foreign(EventId),
    /// An event's data is of another shape, or of a newer version.
    #[error(transparent)]
    Data(#[from] UnreadableEvent),
    /// A field of an event is not what it must be.
    #[error("event `{event_id}`: `{field}` cannot be read")]
    Field {
        /// The event.
        event_id: EventId,
        /// The field.
        field: &'static str,
    },
    /// The table `events` cannot hold an event.
    #[error(transparent)]
    Unstorable(#[from] UnstorableEvent),
    /// It continues a run of which there is no beginning.
    #[error("event `{event_id}` continues run `{run_id}`, which never began")]
    NoRun {
        /// The event.
        event_id: EventId,
        /// The run.
        run_id: RunId,
    },
    /// It begins a run that has begun.
    #[error("event `{event_id}` begins run `{run_id}`, which has begun before")]
    RunAgain {
        /// The event.
        event_id: EventId,
        /// The run.
        run_id: RunId,
    },
}

impl Unreadable {
    pub(crate) fn field(event: &Event, field: &'static str) -> Self {
        Self::from(Fault::Field {
            event_id: event.event_id.clone(),
            field,
        })
    }
}

impl<F: Into<Fault>> From<F> for Unreadable {
    fn from(fault: F) -> Self {
        Self {
            sequence: 0,
            fault: fault.into(),
        }
    }
}

/// Folds one commit into the batch. The rows that it continues must be in the batch ([`crate::needs::of`]).
///
/// A commit that was folded into this batch already changes nothing.
/// After an error the batch is of no use: it may hold a part of the commit.
pub fn fold(batch: &mut Batch, stored: &StoredCommit) -> Result<(), Unreadable> {
    if batch
        .position
        .as_ref()
        .is_some_and(|position| stored.sequence <= position.sequence)
    {
        return Ok(());
    }
    fold_commit(batch, stored).map_err(|error| Unreadable {
        sequence: stored.sequence,
        ..error
    })
}

fn fold_commit(batch: &mut Batch, stored: &StoredCommit) -> Result<(), Unreadable> {
    let commit = &stored.commit;
    let last = commit.events.last().ok_or(Fault::Empty)?;
    let position = Position {
        sequence: stored.sequence,
        event_id: last.event_id.clone(),
        stored_at: stored.stored_at,
    };
    let bodies = bodies(stored)?;
    for (index, event) in commit.events.iter().enumerate() {
        batch.events.add(stored, index + 1, event)?;
    }
    let events = commit.events.iter().zip(&bodies);
    if commit.run_id == RunId::authority() {
        for (event, body) in events {
            authority::apply(batch, event, body)?;
        }
    } else {
        for (event, body) in events.clone() {
            decision::record(&mut batch.decisions, event, body);
        }
        run::begin(batch, stored, &bodies)?;
        let Some(run) = batch.runs.find(&commit.workspace_id, &commit.run_id) else {
            return Err(Unreadable::from(Fault::NoRun {
                event_id: last.event_id.clone(),
                run_id: commit.run_id.clone(),
            }));
        };
        for (event, body) in events {
            apply(run, stored, event, body)?;
        }
        run::moved(run, stored, last);
    }
    batch.position = Some(position);
    Ok(())
}

/// What happened, event by event, before anything is changed.
fn bodies(stored: &StoredCommit) -> Result<Vec<EventBody>, Unreadable> {
    let commit = &stored.commit;
    commit
        .events
        .iter()
        .map(|event| {
            if event.workspace_id != commit.workspace_id || event.run_id != commit.run_id {
                return Err(Fault::Foreign(event.event_id.clone()).into());
            }
            Ok(event.body()?)
        })
        .collect()
}

fn apply(
    run: &mut RunRows,
    stored: &StoredCommit,
    event: &Event,
    body: &EventBody,
) -> Result<(), Unreadable> {
    run::apply(run, stored, event, body);
    step::apply(run, event, body)?;
    call::apply(run, event, body)?;
    approval::apply(run, event, body)?;
    egress::apply(run, event, body)
}
