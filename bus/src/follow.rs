//! Following one run: what is stored of it, and then what comes, as it comes.

use async_nats::jetstream::message::StreamMessage;
use gatewright_schemas::{RunId, StoredCommit, WorkspaceId};

use crate::{Fleet, LoadError, ear::Ear, load::stored_commit};

/// Messages asked for at a time.
const PAGE: usize = 200;
/// A run that is followed.
///
/// What is published on its subjects only says that it is time to look: whether it is stored, the stream tells.
pub struct Follow {
    fleet: Fleet,
    workspace_id: WorkspaceId,
    run_id: RunId,
    ear: Ear,
    /// The sequence of the last commit that was handed out.
    last: u64,
}

impl Fleet {
    /// Follows a run from the commit after the sequence `after` (0: from its first).
    pub async fn follow(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        after: u64,
    ) -> Result<Follow, LoadError> {
        let heard = self
            .client
            .subscribe(self.names.history(workspace, run))
            .await
            .map_err(|error| LoadError::Unavailable {
                run: format!("{workspace}/{run}"),
                reason: error.to_string(),
            })?;
        Ok(Follow {
            fleet: self.clone(),
            workspace_id: workspace.clone(),
            run_id: run.clone(),
            ear: Ear::new(heard),
            last: after,
        })
    }

    /// Up to `most` (1,000) commits of a run after the one with the sequence `after` (0: from its first); fewer only at its end.
    pub async fn commits_after(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        after: u64,
        most: usize,
    ) -> Result<Vec<StoredCommit>, LoadError> {
        let name = || format!("{workspace}/{run}");
        let (stream, filter) = (self.names.events(), self.names.history(workspace, run));
        let page = self.page(&stream, &filter, after + 1, most).await;
        let page = page.map_err(|reason| LoadError::Unavailable {
            run: name(),
            reason,
        })?;
        let read = |message: &StreamMessage| {
            stored_commit(&self.names, message).map_err(|reason| LoadError::Unreadable {
                run: name(),
                sequence: message.sequence,
                reason,
            })
        };
        page.iter().map(read).collect()
    }
}

impl Follow {
    /// The next commits, in order; waits for one. May be dropped at any time without losing any.
    pub async fn next(&mut self) -> Result<Vec<StoredCommit>, LoadError> {
        loop {
            self.ear.time_to_look().await;
            let commits = self.look().await?;
            if !commits.is_empty() {
                self.ear.saw(commits.len());
                return Ok(commits);
            }
        }
    }

    /// What is stored and was not handed out yet.
    async fn look(&mut self) -> Result<Vec<StoredCommit>, LoadError> {
        let (workspace, run) = (&self.workspace_id, &self.run_id);
        let commits = self
            .fleet
            .commits_after(workspace, run, self.last, PAGE)
            .await?;
        if let Some(last) = commits.last() {
            self.last = last.sequence;
        }
        Ok(commits)
    }
}
