//! The one projector that may write.

use gatewright_schemas::Timestamp;
use sqlx::{ConnectOptions, Connection, PgConnection};

use super::{Batch, Needs, Position, batch::Slots, copy::CopyBuffer, event, load, row::Table};
use crate::{
    Store, StoreError,
    checkpoint::{self, Checkpoint, EVENTS},
};

/// The advisory lock of the projector; locks are per database, so fleets do not meet.
const LOCK: i64 = i64::from_be_bytes(*b"gatewrgt");

/// Why a batch was not written. Nothing of it is in the tables.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Postgres, or the way to it, failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another projector has moved the checkpoint.
    #[error(
        "the checkpoint is no longer where this batch begins: another projector has taken over"
    )]
    Overtaken,
    /// Nothing was folded into the batch.
    #[error("the batch is empty")]
    Empty,
}

impl WriteError {
    /// Whether a new [`Writer`] may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Overtaken => true,
            Self::Empty => false,
        }
    }
}

/// A connection that holds the projector's lock and writes its batches.
///
/// After any error it must be dropped and a new one acquired: what the connection holds is then unknown.
#[derive(Debug)]
pub struct Writer {
    connection: PgConnection,
    checkpoint: Option<Checkpoint>,
    rows: CopyBuffer,
}

impl Writer {
    /// Takes the lock; `None` while another projector holds it.
    pub async fn try_acquire(store: &Store) -> Result<Option<Self>, StoreError> {
        let taking = "become the active projector";
        let mut connection = store
            .connect_options
            .clone()
            .application_name("gatewright projector")
            .options([
                ("synchronous_commit", "off"),
                // Every statement of the projection looks rows up by key; no statistics, however stale, shall suggest otherwise.
                ("enable_hashjoin", "off"),
                ("enable_mergejoin", "off"),
                ("enable_seqscan", "off"),
            ])
            .connect()
            .await
            .map_err(StoreError::during(taking))?;
        let locked: bool =
            sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "locked!""#, LOCK)
                .fetch_one(&mut connection)
                .await
                .map_err(StoreError::during(taking))?;
        if !locked {
            connection
                .close()
                .await
                .map_err(StoreError::during(taking))?;
            return Ok(None);
        }
        let checkpoint = checkpoint::read(&mut connection).await?;
        Ok(Some(Self {
            connection,
            checkpoint,
            rows: CopyBuffer::new(),
        }))
    }

    /// How far the tables are; `None` when they are empty.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// Puts the rows that are needed into the batch; those that do not exist are left out.
    pub async fn load(&mut self, needs: &Needs, batch: &mut Batch) -> Result<(), StoreError> {
        load::load(&mut self.connection, needs, batch).await
    }

    /// Writes what was folded into the batch, and moves the checkpoint, in one transaction.
    /// `stream_created_at` and `stream_last_sequence` are what the stream says of itself.
    ///
    /// Afterwards the batch is ready for the next commits.
    pub async fn write(
        &mut self,
        batch: &mut Batch,
        stream_created_at: Timestamp,
        stream_last_sequence: u64,
    ) -> Result<(), WriteError> {
        let position = batch.position.clone().ok_or(WriteError::Empty)?;
        let checkpoint = Checkpoint {
            stream_created_at,
            last_sequence: position.sequence,
            last_event_id: position.event_id.to_string(),
            last_stored_at: position.stored_at,
            stream_last_sequence: stream_last_sequence.max(position.sequence),
        };
        let writing = "write a batch";
        let mut transaction = self
            .connection
            .begin()
            .await
            .map_err(StoreError::during(writing))?;
        let tables = Tables {
            connection: &mut transaction,
            rows: &mut self.rows,
        };
        tables
            .write(batch)
            .await
            .map_err(StoreError::during(writing))?;
        let moved = advance(
            &mut transaction,
            self.checkpoint.as_ref(),
            &checkpoint,
            &position,
        )
        .await
        .map_err(StoreError::during("move the checkpoint"))?;
        if !moved {
            return Err(WriteError::Overtaken);
        }
        transaction
            .commit()
            .await
            .map_err(StoreError::during(writing))?;
        self.checkpoint = Some(checkpoint);
        batch.settle();
        Ok(())
    }

    /// Notes how long the stream is, so that the lag shows while nothing is written, and that a projector is there.
    pub async fn observe(&mut self, stream_last_sequence: u64) -> Result<(), StoreError> {
        sqlx::query!(
            "update projection_checkpoint
             set stream_last_sequence = greatest($2, last_sequence), written_at = clock_timestamp()
             where name = $1",
            EVENTS,
            bigint(stream_last_sequence)
        )
        .execute(&mut self.connection)
        .await
        .map_err(StoreError::during("note the length of the stream"))?;
        Ok(())
    }

    /// Empties every table that is folded from the stream EVENTS, and the checkpoint.
    pub(crate) async fn reset(&mut self) -> Result<(), StoreError> {
        sqlx::query!(r#"select reset_projection() as "done: ()""#)
            .fetch_one(&mut self.connection)
            .await
            .map_err(StoreError::during("empty the read tables"))?;
        self.checkpoint = None;
        Ok(())
    }

    /// Gives the lock back.
    pub async fn release(self) -> Result<(), StoreError> {
        self.connection
            .close()
            .await
            .map_err(StoreError::during("give the projector's lock back"))
    }
}

fn bigint(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

/// Moves the checkpoint; `false` when it is not where this projector left it.
async fn advance(
    connection: &mut PgConnection,
    from: Option<&Checkpoint>,
    to: &Checkpoint,
    position: &Position,
) -> Result<bool, sqlx::Error> {
    let created_at = crate::time::parameter(to.stream_created_at);
    let stored_at = crate::time::parameter(position.stored_at);
    let done = match from {
        None => {
            sqlx::query!(
                "insert into projection_checkpoint (name, stream_created_at, last_sequence, last_event_id,
                    last_stored_at, stream_last_sequence, written_at)
                 values ($1, $2, $3, $4, $5, $6, clock_timestamp())
                 on conflict do nothing",
                EVENTS,
                created_at,
                bigint(to.last_sequence),
                to.last_event_id,
                stored_at,
                bigint(to.stream_last_sequence)
            )
            .execute(connection)
            .await?
        }
        Some(from) => {
            sqlx::query!(
                "update projection_checkpoint
                 set last_sequence = $3, last_event_id = $4, last_stored_at = $5, stream_last_sequence = $6,
                     written_at = clock_timestamp()
                 where name = $1 and stream_created_at = $2 and last_sequence = $7",
                EVENTS,
                created_at,
                bigint(to.last_sequence),
                to.last_event_id,
                stored_at,
                bigint(to.stream_last_sequence),
                bigint(from.last_sequence)
            )
            .execute(connection)
            .await?
        }
    };
    Ok(done.rows_affected() == 1)
}

/// Writes the tables of one batch.
struct Tables<'a> {
    connection: &'a mut PgConnection,
    rows: &'a mut CopyBuffer,
}

impl Tables<'_> {
    async fn write(mut self, batch: &mut Batch) -> Result<(), sqlx::Error> {
        copy(self.connection, event::COPY, &mut batch.events.0).await?;
        copy(
            self.connection,
            <super::DecisionRow<'_> as Table>::COPY,
            &mut batch.decisions.0,
        )
        .await?;
        self.delete_stored(batch).await?;
        let changed = || batch.runs.iter().filter(|run| run.changed);
        self.copy_rows(changed().map(|run| &run.run)).await?;
        self.copy_rows(changed().flat_map(|run| of(&run.steps)))
            .await?;
        self.copy_rows(changed().flat_map(|run| of(&run.calls)))
            .await?;
        self.copy_rows(changed().flat_map(|run| of(&run.approvals)))
            .await?;
        self.copy_rows(changed().flat_map(|run| of(&run.egress)))
            .await?;
        self.copy_rows(of(&batch.tokens)).await?;
        self.copy_rows(of(&batch.principals)).await?;
        self.copy_rows(of(&batch.revisions)).await?;
        self.copy_rows(of(&batch.remembered)).await
    }

    async fn copy_rows<'r, T: Table + 'r>(
        &mut self,
        rows: impl Iterator<Item = &'r T>,
    ) -> Result<(), sqlx::Error> {
        self.rows.clear();
        rows.for_each(|row| row.encode(self.rows));
        copy(self.connection, T::COPY, self.rows).await
    }

    /// Removes the rows that are about to be written again.
    async fn delete_stored(&mut self, batch: &Batch) -> Result<(), sqlx::Error> {
        let changed = || batch.runs.iter().filter(|run| run.changed && run.stored);
        let keys = Keys::of(
            changed().map(|run| (run.run.workspace_id.as_str(), run.run.run_id.as_str(), "")),
        );
        if !keys.is_empty() {
            sqlx::query!(
                "delete from runs r using unnest($1::text[], $2::text[]) as k (workspace_id, run_id)
                 where r.workspace_id = k.workspace_id and r.run_id = k.run_id",
                &keys.workspaces,
                &keys.seconds
            )
            .execute(&mut *self.connection)
            .await?;
        }
        let mut keys = Keys::default();
        let mut numbers = Vec::new();
        for row in changed().flat_map(|run| stored(&run.steps)) {
            keys.push(row.workspace_id.as_str(), row.run_id.as_str(), "");
            numbers.push(row.number);
        }
        if !keys.is_empty() {
            sqlx::query!(
                "delete from steps s using unnest($1::text[], $2::text[], $3::integer[]) as k (workspace_id, run_id, number)
                 where s.workspace_id = k.workspace_id and s.run_id = k.run_id and s.number = k.number",
                &keys.workspaces,
                &keys.seconds,
                &numbers
            )
            .execute(&mut *self.connection)
            .await?;
        }
        let mut keys = Keys::default();
        let (mut steps, mut calls) = (Vec::new(), Vec::new());
        for row in changed().flat_map(|run| stored(&run.calls)) {
            keys.push(row.workspace_id.as_str(), row.run_id.as_str(), "");
            steps.push(row.step_number);
            calls.push(row.call_number);
        }
        if !keys.is_empty() {
            sqlx::query!(
                "delete from tool_calls c using unnest($1::text[], $2::text[], $3::integer[], $4::integer[])
                    as k (workspace_id, run_id, step_number, call_number)
                 where c.workspace_id = k.workspace_id and c.run_id = k.run_id
                   and c.step_number = k.step_number and c.call_number = k.call_number",
                &keys.workspaces,
                &keys.seconds,
                &steps,
                &calls
            )
            .execute(&mut *self.connection)
            .await?;
        }
        self.delete_rare(batch).await
    }

    /// The same, of the tables that few batches touch.
    async fn delete_rare(&mut self, batch: &Batch) -> Result<(), sqlx::Error> {
        let changed = || batch.runs.iter().filter(|run| run.changed && run.stored);
        let keys = Keys::of(changed().flat_map(|run| stored(&run.approvals)).map(|row| {
            (
                row.workspace_id.as_str(),
                row.run_id.as_str(),
                row.approval_id.as_str(),
            )
        }));
        if !keys.is_empty() {
            sqlx::query!(
                "delete from approvals a using unnest($1::text[], $2::text[], $3::text[])
                    as k (workspace_id, run_id, approval_id)
                 where a.workspace_id = k.workspace_id and a.run_id = k.run_id and a.approval_id = k.approval_id",
                &keys.workspaces,
                &keys.seconds,
                &keys.thirds
            )
            .execute(&mut *self.connection)
            .await?;
        }
        let mut keys = Keys::default();
        let (mut steps, mut calls, mut hops) = (Vec::new(), Vec::new(), Vec::new());
        for row in changed().flat_map(|run| stored(&run.egress)) {
            keys.push(row.workspace_id.as_str(), row.run_id.as_str(), "");
            steps.push(row.step_number);
            calls.push(row.call_number);
            hops.push(row.hop);
        }
        if !keys.is_empty() {
            sqlx::query!(
                "delete from egress_requests e
                 using unnest($1::text[], $2::text[], $3::integer[], $4::integer[], $5::integer[])
                    as k (workspace_id, run_id, step_number, call_number, hop)
                 where e.workspace_id = k.workspace_id and e.run_id = k.run_id
                   and e.step_number = k.step_number and e.call_number = k.call_number and e.hop = k.hop",
                &keys.workspaces,
                &keys.seconds,
                &steps,
                &calls,
                &hops
            )
            .execute(&mut *self.connection)
            .await?;
        }
        self.delete_authority(batch).await
    }

    /// These are replaced whether they were stored or not: a revision may be activated again, a token granted again.
    async fn delete_authority(&mut self, batch: &Batch) -> Result<(), sqlx::Error> {
        let keys = Keys::of(
            of(&batch.tokens).map(|row| (row.workspace_id.as_str(), row.token_id.as_str(), "")),
        );
        if !keys.is_empty() {
            sqlx::query!(
                "delete from capability_tokens t using unnest($1::text[], $2::text[]) as k (workspace_id, token_id)
                 where t.workspace_id = k.workspace_id and t.token_id = k.token_id",
                &keys.workspaces,
                &keys.seconds
            )
            .execute(&mut *self.connection)
            .await?;
        }
        let keys = Keys::of(
            of(&batch.principals)
                .map(|row| (row.workspace_id.as_str(), row.principal_id.as_str(), "")),
        );
        if !keys.is_empty() {
            sqlx::query!(
                "delete from principals p using unnest($1::text[], $2::text[]) as k (workspace_id, principal_id)
                 where p.workspace_id = k.workspace_id and p.principal_id = k.principal_id",
                &keys.workspaces,
                &keys.seconds
            )
            .execute(&mut *self.connection)
            .await?;
        }
        let keys = Keys::of(of(&batch.revisions).map(|row| (row.workspace_id.as_str(), "", "")));
        let revisions: Vec<i64> = of(&batch.revisions).map(|row| row.revision).collect();
        if !keys.is_empty() {
            sqlx::query!(
                "delete from policy_revisions r using unnest($1::text[], $2::bigint[]) as k (workspace_id, revision)
                 where r.workspace_id = k.workspace_id and r.revision = k.revision",
                &keys.workspaces,
                &revisions
            )
            .execute(&mut *self.connection)
            .await?;
        }
        let keys = Keys::of(
            of(&batch.remembered)
                .map(|row| (row.workspace_id.as_str(), row.remembered_id.as_str(), "")),
        );
        if !keys.is_empty() {
            sqlx::query!(
                "delete from remembered_approvals r using unnest($1::text[], $2::text[]) as k (workspace_id, remembered_id)
                 where r.workspace_id = k.workspace_id and r.remembered_id = k.remembered_id",
                &keys.workspaces,
                &keys.seconds
            )
            .execute(&mut *self.connection)
            .await?;
        }
        Ok(())
    }
}

/// Keys, column by column. What a table's key does not have stays empty.
#[derive(Default)]
struct Keys {
    workspaces: Vec<String>,
    seconds: Vec<String>,
    thirds: Vec<String>,
}

impl Keys {
    fn of<'a>(keys: impl Iterator<Item = (&'a str, &'a str, &'a str)>) -> Self {
        let mut columns = Self::default();
        keys.for_each(|(workspace, second, third)| columns.push(workspace, second, third));
        columns
    }

    fn push(&mut self, workspace: &str, second: &str, third: &str) {
        self.workspaces.push(workspace.to_owned());
        self.seconds.push(second.to_owned());
        self.thirds.push(third.to_owned());
    }

    fn is_empty(&self) -> bool {
        self.workspaces.is_empty()
    }
}

fn of<T>(slots: &Slots<T>) -> impl Iterator<Item = &T> {
    slots.changed().map(|slot| &slot.row)
}

fn stored<T>(slots: &Slots<T>) -> impl Iterator<Item = &T> {
    slots
        .changed()
        .filter(|slot| slot.stored)
        .map(|slot| &slot.row)
}

async fn copy(
    connection: &mut PgConnection,
    statement: &'static str,
    rows: &mut CopyBuffer,
) -> Result<(), sqlx::Error> {
    if rows.rows() == 0 {
        return Ok(());
    }
    let mut copy = connection.copy_in_raw(statement).await?;
    // Dropped on an error, it tells the server to abandon the copy.
    copy.send(rows.finish()).await?;
    copy.finish().await?;
    Ok(())
}
