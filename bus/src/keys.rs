//! The keys to the HTTP API, in KV.
//!
//! A key reads `gw_<id>_<secret>`. What is kept of it is its name, what it is good for, and the SHA-256 of its secret:
//! whoever reads the bucket can use no key. The secret is 256 random bits, so a plain hash of it cannot be turned back.
//! A revoked key stays on the list, marked.

use async_nats::jetstream::kv::{CreateErrorKind, Store, UpdateErrorKind};
use futures::TryStreamExt as _;
use gatewright_schemas::{KeyRole, Timestamp, WorkspaceId};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{
    Fleet, clock,
    layout::{LayoutError, unavailable, unopened},
    retry::Retry,
};

/// What every key begins with, so that one that leaked can be searched for.
const PREFIX: &str = "gw";
/// Random bytes of an id.
const ID_BYTES: usize = 6;
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;

/// What is kept of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its id, 12 hexadecimal characters; not secret.
    pub id: String,
    /// In whose name it acts: recorded with all that is done by it.
    pub name: String,
    /// What it is good for.
    pub roles: Vec<KeyRole>,
    /// The one workspace that it is good for; absent for all.
    pub workspace_id: Option<WorkspaceId>,
    /// SHA-256 of its secret's text, hexadecimal.
    secret_sha256: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// What a new key is to be.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// In whose name it acts.
    pub name: String,
    /// What it is good for.
    pub roles: Vec<KeyRole>,
    /// The one workspace that it is good for; absent for all.
    pub workspace_id: Option<WorkspaceId>,
    /// Who makes it.
    pub created_by: String,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system has no random bits.
    #[error("the system gives no random bits: {0}")]
    NoRandomness(String),
    /// The bucket cannot be read or written.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl Key {
    /// Whether `secret` is the one of this key. Takes as long for a wrong one as for the right one.
    fn opens(&self, secret: &str) -> bool {
        let offered = hexadecimal(&Sha256::digest(secret.as_bytes()));
        offered
            .as_bytes()
            .ct_eq(self.secret_sha256.as_bytes())
            .into()
    }
}

impl Fleet {
    /// Makes a key. Its text is answered here and never again.
    pub async fn create_key(&self, new: NewKey) -> Result<(Key, String), KeyError> {
        let what = "keep a key";
        let secret = random::<SECRET_BYTES>()?;
        let bucket = self.keys_bucket().await?;
        loop {
            let key = Key {
                id: random::<ID_BYTES>()?,
                name: new.name.clone(),
                roles: new.roles.clone(),
                workspace_id: new.workspace_id.clone(),
                secret_sha256: hexadecimal(&Sha256::digest(secret.as_bytes())),
                created_at: clock::now(),
                created_by: new.created_by.clone(),
                revoked_at: None,
            };
            let value = serde_json::to_vec(&key).map_err(|error| unavailable(what, &error))?;
            match bucket.create(&key.id, value.into()).await {
                Ok(_) => {
                    let text = format!("{PREFIX}_{}_{secret}", key.id);
                    return Ok((key, text));
                }
                // Another key has this id: it keeps it.
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {}
                Err(error) => return Err(unavailable(what, &error).into()),
            }
        }
    }

    /// The key of this text; none when there is no such key, its secret is another, or it is revoked.
    ///
    /// Asks the server each time, so a key that is revoked opens nothing from that moment on.
    pub async fn key_of(&self, text: &str) -> Result<Option<Key>, LayoutError> {
        let mut parts = text.splitn(3, '_');
        let (Some(PREFIX), Some(id), Some(secret)) = (parts.next(), parts.next(), parts.next())
        else {
            return Ok(None);
        };
        if !is_id(id) {
            return Ok(None);
        }
        let key = self.key(id).await?;
        Ok(key.filter(|key| key.opens(secret) && key.revoked_at.is_none()))
    }

    /// Every key, revoked ones too, in the order in which they were made.
    pub async fn keys(&self) -> Result<Vec<Key>, LayoutError> {
        let what = "list the keys";
        let ids = self.keys_bucket().await?.keys().await;
        let ids = ids.map_err(|error| unavailable(what, &error))?;
        let ids: Vec<String> = ids
            .try_collect()
            .await
            .map_err(|error| unavailable(what, &error))?;
        let mut keys = Vec::with_capacity(ids.len());
        for id in ids {
            keys.extend(self.key(&id).await?);
        }
        keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(keys)
    }

    /// Revokes a key for ever; answers with it, or with none when there is none of this id.
    pub async fn revoke_key(&self, id: &str) -> Result<Option<Key>, LayoutError> {
        let what = "revoke a key";
        if !is_id(id) {
            return Ok(None);
        }
        let bucket = self.keys_bucket().await?;
        let mut retry = Retry::for_conflicts();
        loop {
            let entry = bucket.entry(id).await;
            let Some(entry) = entry.map_err(|error| unavailable(what, &error))? else {
                return Ok(None);
            };
            let mut key: Key =
                serde_json::from_slice(&entry.value).map_err(|error| unavailable(what, &error))?;
            if key.revoked_at.is_some() {
                return Ok(Some(key));
            }
            key.revoked_at = Some(clock::now());
            let value = serde_json::to_vec(&key).map_err(|error| unavailable(what, &error))?;
            match bucket.update(id, value.into(), entry.revision).await {
                Ok(_) => return Ok(Some(key)),
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
                Err(error) => return Err(unavailable(what, &error)),
            }
            retry.wait().await;
        }
    }

    async fn key(&self, id: &str) -> Result<Option<Key>, LayoutError> {
        let what = "read a key";
        let value = self.keys_bucket().await?.get(id).await;
        let value = value.map_err(|error| unavailable(what, &error))?;
        value
            .map(|value| serde_json::from_slice(&value))
            .transpose()
            .map_err(|error| unavailable(what, &error))
    }

    async fn keys_bucket(&self) -> Result<&Store, LayoutError> {
        let bucket = self.names.keys_bucket();
        self.keys
            .get_or_try_init(|| self.jetstream.get_key_value(&bucket))
            .await
            .map_err(|error| unopened(&bucket, &error))
    }
}

/// Whether a text has the form of a key's id: it becomes part of a subject.
fn is_id(text: &str) -> bool {
    text.len() == 2 * ID_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn random<const N: usize>() -> Result<String, KeyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| KeyError::NoRandomness(error.to_string()))?;
    Ok(hexadecimal(&bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
