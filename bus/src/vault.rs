//! The secrets of runs, in KV, until the runs have ended.
//!
//! 1. A dispatcher takes the secrets out of a submission and keeps them here, *before* it appends `run.created`:
//!    there is no run whose secrets are missing.
//! 2. An entry is written once: whoever submits the run again, or hands the message out again, changes nothing.
//!    Its key ends in the digest of the submission's content, so that a submission of other content under the same run id
//!    has its own entry and no run ever gets another's secrets.
//! 3. A worker reads the entry, once a turn, when it comes to a call that refers to it.
//! 4. Whoever ends the run forgets the entry afterwards. That may fail: [`Fleet::kept_secrets`] tells what is left,
//!    and the reconciler forgets it.
//!
//! Of a forgotten entry a mark stays for a minute, then nothing.

use futures::TryStreamExt as _;
use gatewright_policy::redact::Vault;
use gatewright_schemas::{Digest, RunId, RunStatus, WorkspaceId};

use crate::{
    Fleet, Loaded,
    bucket::Bucket,
    layout::{LayoutError, MARKER_TTL, unavailable, unopened},
};

/// Secrets that are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSecrets {
    /// The workspace of the run that they belong to.
    pub workspace_id: WorkspaceId,
    /// That run; it may not exist yet.
    pub run_id: RunId,
    key: String,
}

impl Fleet {
    /// Keeps the secrets of the run that is made of this content. Where some are kept already, nothing changes.
    pub async fn keep_secrets(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        content: &Digest,
        vault: &Vault,
    ) -> Result<(), LayoutError> {
        let what = format!("keep the secrets of run `{workspace}/{run}`");
        let value = serde_json::to_vec(vault).map_err(|error| unavailable(&what, &error))?;
        let key = self.names.secrets(workspace, run, content);
        // Whether it is kept now or was before is all the same.
        let kept = self.vaults().create(&key, value.into()).await;
        kept.map(|_is_new| ()).map_err(|error| error.told(&what))
    }

    /// The secrets of a run; none when they were forgotten.
    pub async fn secrets(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        content: &Digest,
    ) -> Result<Option<Vault>, LayoutError> {
        let what = format!("read the secrets of run `{workspace}/{run}`");
        let key = self.names.secrets(workspace, run, content);
        let value = self.vaults().get(&key).await;
        value
            .map_err(|error| error.told(&what))?
            .map(|value| serde_json::from_slice(&value))
            .transpose()
            .map_err(|error| unavailable(&what, &error))
    }

    /// Forgets the secrets of a run, if it has any and has ended, and those of an outside agent's last call, once that is over.
    /// Otherwise it costs nothing.
    pub async fn forget_secrets_if_ended(&self, run: &Loaded) {
        let state = &run.state;
        let Some(progress) = &state.progress else {
            return;
        };
        let has_ended = progress.status.is_terminal();
        if progress.created.secrets > 0 && has_ended {
            let content = &progress.created.content_digest;
            self.forget_secrets(&state.workspace_id, &state.run_id, content)
                .await;
        }
        if has_ended || progress.status == RunStatus::WaitingActor {
            let last = progress.plan.calls().last();
            let request = last.and_then(|call| call.request.as_ref());
            if let Some(content) = request.and_then(|request| request.secrets.as_ref()) {
                self.forget_secrets(&state.workspace_id, &state.run_id, content)
                    .await;
            }
        }
    }

    /// Forgets secrets. Tries once, and only tells the log when that fails: what is left is found later.
    pub async fn forget_secrets(&self, workspace: &WorkspaceId, run: &RunId, content: &Digest) {
        self.forget(&self.names.secrets(workspace, run, content))
            .await;
    }

    /// Forgets what [`Fleet::kept_secrets`] told.
    pub async fn forget_kept(&self, kept: &KeptSecrets) {
        self.forget(&kept.key).await;
    }

    /// Everything that is kept.
    pub async fn kept_secrets(&self) -> Result<Vec<KeptSecrets>, LayoutError> {
        let what = "list the runs whose secrets are kept";
        let bucket = self.names.secrets_bucket();
        let opened = self.jetstream.get_key_value(&bucket).await;
        // The keys alone: what is kept is nobody's business here.
        let keys = opened
            .map_err(|error| unopened(&bucket, &error))?
            .keys()
            .await
            .map_err(|error| unavailable(what, &error))?;
        let keys: Vec<String> = keys
            .try_collect()
            .await
            .map_err(|error| unavailable(what, &error))?;
        let kept = keys.into_iter().filter_map(|key| {
            let mut tokens = key.split('.');
            Some(KeptSecrets {
                workspace_id: tokens.next()?.parse().ok()?,
                run_id: tokens.next()?.parse().ok()?,
                key,
            })
        });
        Ok(kept.collect())
    }

    async fn forget(&self, key: &str) {
        if let Err(error) = self.vaults().purge(key, Some(MARKER_TTL)).await {
            tracing::warn!(%error, key, "secrets are kept longer than needed");
        }
    }

    fn vaults(&self) -> Bucket<'_> {
        self.bucket(self.names.secrets_bucket())
    }
}
