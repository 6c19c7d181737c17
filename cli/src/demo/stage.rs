//! Where the story is told: what is said, what is claimed, and what was submitted.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use gatewright_schemas::{
    Command, CommandMessage, Event, EventType, Reply, RunId, RunStatus, WorkspaceId,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    escape::escaped,
    issue,
    out::{Out, Table, span},
    private::PrivateFleet,
    run::{self, watch},
    target::RunRef,
};

/// How long a run of the story may take, also on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the story is told.
pub(super) struct Stage {
    pub(super) private: PrivateFleet,
    pub(super) workspace: WorkspaceId,
    pub(super) out: Out,
    scenes: usize,
    claims: usize,
    wrong: usize,
}

impl Stage {
    pub(super) fn new(out: Out, private: PrivateFleet) -> Self {
        #[expect(clippy::expect_used, reason = "a word is a token")]
        let workspace = WorkspaceId::new("acme").expect("a word is a token");
        Self {
            private,
            workspace,
            out,
            scenes: 0,
            claims: 0,
            wrong: 0,
        }
    }

    /// A new scene begins.
    pub(super) fn scene(&mut self, title: &str) -> Result<()> {
        self.scenes += 1;
        self.out.line("")?;
        self.out.heading(&format!("{:>2}. {title}", self.scenes))
    }

    /// Something is told.
    pub(super) fn say(&self, text: &str) -> Result<()> {
        self.out.line(format!("    {text}"))
    }

    /// Something is claimed, and has been checked.
    pub(super) fn claim(&mut self, holds: bool, what: &str) -> Result<()> {
        self.claims += 1;
        if holds {
            return self.out.line(format!("    [ok] {}", escaped(what)));
        }
        self.wrong += 1;
        self.out.line(format!("    [NOT SO] {}", escaped(what)))
    }

    /// A table, set in.
    pub(super) fn table(&self, table: Table) -> Result<()> {
        self.out.table(&table.indented(4))
    }

    /// Submits a run under an id of its own; the fleet must accept it.
    pub(super) async fn submit(&self, id: &str, mut run: Value) -> Result<RunRef> {
        run["run_id"] = id.into();
        match self.ask(run.to_string().into_bytes()).await? {
            Reply::Accepted { run_id, .. } => Ok(RunRef {
                workspace: self.workspace.clone(),
                run: run_id,
            }),
            Reply::Refused { reason, .. } => bail!("the run `{id}` was refused: {reason}"),
        }
    }

    /// Submits whatever it is.
    pub(super) async fn ask(&self, payload: Vec<u8>) -> Result<Reply> {
        let fleet = &self.private.fleet;
        Ok(fleet
            .submit(&self.workspace, payload, issue::PATIENCE)
            .await?)
    }

    /// Waits until a run has ended.
    pub(super) async fn ended(&self, run: &RunRef) -> Result<RunStatus> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        watch::until_ended_quietly(&self.private.fleet, run, deadline)
            .await
            .with_context(|| format!("while waiting for {run}"))
    }

    /// Submits a run and waits until it has ended.
    pub(super) async fn play(&self, id: &str, run: Value) -> Result<Played> {
        let began = Instant::now();
        let run = self.submit(id, run).await?;
        let status = self.ended(&run).await?;
        let took = span(began.elapsed());
        Ok(Played {
            status,
            took,
            events: self.events(&run).await?,
            run,
        })
    }

    /// The events of a run.
    pub(super) async fn events(&self, run: &RunRef) -> Result<Vec<Event>> {
        let history = self.private.fleet.history(&run.workspace, &run.run).await?;
        Ok(history
            .into_iter()
            .flat_map(|stored| stored.commit.events)
            .collect())
    }

    /// Gives a command to the workspace's authority.
    pub(super) async fn command(&self, command: Command) -> Result<()> {
        let (workspace, run) = (&self.workspace, RunId::authority());
        issue::issue(&self.private.fleet, workspace, &run, "demo".into(), command).await?;
        Ok(())
    }

    /// Gives a command to a run.
    pub(super) async fn order(&self, run: &RunRef, by: &str, command: Command) -> Result<Reply> {
        let message = CommandMessage {
            issued_by: by.to_owned(),
            command,
        };
        let fleet = &self.private.fleet;
        Ok(fleet
            .command(&run.workspace, &run.run, &message, issue::PATIENCE)
            .await?)
    }

    /// Shows the events of a run.
    pub(super) fn show_events(&self, events: &[Event]) -> Result<()> {
        let mut table = Table::new(&[]);
        for event in events {
            table.row(vec![
                format!("{:>2}", event.seq).into(),
                event.event_type.as_str().into(),
                run::describe::event(event).into(),
            ]);
        }
        self.table(table)
    }

    /// The story is told.
    pub(super) fn end(&self, began: Instant) -> Result<()> {
        let right = self.claims - self.wrong;
        let took = span(began.elapsed());
        self.out.line("")?;
        self.out.line(format!(
            "{right} of {} claims hold. That took {took}.",
            self.claims
        ))
    }

    /// Stops the fleet; answers how many claims do not hold.
    pub(super) async fn leave(self, hurry: &CancellationToken) -> usize {
        let say = |text: &str| eprintln!("   … {text}");
        self.private.stop(hurry, say).await;
        self.wrong
    }
}

/// A run that has ended.
pub(super) struct Played {
    pub(super) run: RunRef,
    pub(super) status: RunStatus,
    pub(super) took: String,
    pub(super) events: Vec<Event>,
}

impl Played {
    /// Whether an event of this type happened.
    pub(super) fn has(&self, event_type: EventType) -> bool {
        self.events
            .iter()
            .any(|event| event.event_type == event_type)
    }

    /// The data of the first event of this type.
    pub(super) fn data(&self, event_type: EventType) -> Option<&Value> {
        let found = self
            .events
            .iter()
            .find(|event| event.event_type == event_type);
        found.map(|event| &event.data)
    }

    /// Whether the run failed at this stage for this reason.
    pub(super) fn failed_with(&self, stage: &str, code: &str) -> bool {
        let error = self
            .data(EventType::RunFailed)
            .and_then(|data| data.get("error"));
        error.is_some_and(|error| error["stage"] == stage && error["reason_code"] == code)
    }
}
