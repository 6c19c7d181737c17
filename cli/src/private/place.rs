//! The data directory of a private fleet.
//!
//! A file in it says whose it is. Nothing is started in, and nothing removed from, a directory that does not say so.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::exit::{Exit, Failure};

/// What says whose the directory is.
const MARKER: &str = "private-fleet";

/// What a private fleet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `gatewright dev`
    Dev,
    /// `gatewright demo`
    Demo,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Dev => "gatewright-dev",
            Self::Demo => "gatewright-demo",
        }
    }
}

/// A data directory.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
    kind: Kind,
    /// Removes it in the end, where it is a throw-away.
    temporary: Option<TempDir>,
}

impl Place {
    /// An existing directory of this kind, or a new one.
    pub fn open(dir: &Path, kind: Kind) -> Result<Self> {
        match owner_of(dir)? {
            Owner::Kind(name) if name == kind.name() => {}
            Owner::Nobody => {}
            Owner::Kind(name) => return Err(foreign(dir, kind, &format!("is one of `{name}`"))),
            Owner::Foreign => return Err(foreign(dir, kind, "holds other things")),
        }
        Self::make(dir, kind)
    }

    /// A new directory; one of this kind that is there, and not in use, is removed first.
    pub fn fresh(dir: &Path, kind: Kind) -> Result<Self> {
        match owner_of(dir)? {
            Owner::Nobody => {}
            Owner::Kind(name) if name == kind.name() => {
                refuse_in_use(dir)?;
                remove(dir).with_context(|| format!("cannot remove `{}`", dir.display()))?;
            }
            Owner::Kind(_) | Owner::Foreign => {
                return Err(foreign(dir, kind, "holds other things"));
            }
        }
        Self::make(dir, kind)
    }

    /// A directory that is removed in the end.
    pub fn ephemeral(kind: Kind) -> Result<Self> {
        let temporary = tempfile::Builder::new()
            .prefix(&format!("{}-", kind.name()))
            .tempdir()
            .context("cannot make a temporary directory")?;
        let mut place = Self::make(temporary.path(), kind)?;
        place.temporary = Some(temporary);
        Ok(place)
    }

    fn make(dir: &Path, kind: Kind) -> Result<Self> {
        let cannot = || format!("cannot make the data directory `{}`", dir.display());
        fs::create_dir_all(dir.join("logs")).with_context(cannot)?;
        let dir = dir.canonicalize().with_context(cannot)?;
        fs::write(dir.join(MARKER), format!("{}\n", kind.name())).with_context(cannot)?;
        Ok(Self {
            dir,
            kind,
            temporary: None,
        })
    }

    /// The directory, absolute.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The name of the NATS server in it.
    pub fn server_name(&self) -> &'static str {
        self.kind.name()
    }

    /// Where the seeds of the roles' credentials are.
    pub fn credentials(&self) -> PathBuf {
        self.dir.join("credentials")
    }

    /// Where the roles' logs are.
    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// A role's log.
    pub fn log(&self, role: &str) -> PathBuf {
        self.logs().join(format!("{role}.log"))
    }

    /// Where it is written down where the fleet listens.
    pub fn connection_file(&self) -> PathBuf {
        self.dir.join("connection.toml")
    }

    /// The fleet has stopped: nobody shall look for it, and what was to be thrown away is.
    pub fn leave(self) {
        let _ = fs::remove_file(self.connection_file());
        if let Some(temporary) = self.temporary {
            let _ = temporary.close();
        }
    }
}

enum Owner {
    Nobody,
    Kind(String),
    Foreign,
}

fn owner_of(dir: &Path) -> Result<Owner> {
    match fs::read_to_string(dir.join(MARKER)) {
        Ok(name) => return Ok(Owner::Kind(name.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot look into `{}`", dir.display()));
        }
    }
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(if entries.next().is_none() {
            Owner::Nobody
        } else {
            Owner::Foreign
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Owner::Nobody),
        Err(error) => Err(error).with_context(|| format!("cannot look into `{}`", dir.display())),
    }
}

fn foreign(dir: &Path, kind: Kind, what: &str) -> anyhow::Error {
    Failure::usage(format!(
        "`{}` {what} and is no data directory of `{}`: choose another, or clear it away yourself",
        dir.display(),
        kind.name().replace('-', " ")
    ))
}

/// A server holds the lock of its directory for as long as any of its processes lives.
fn refuse_in_use(dir: &Path) -> Result<()> {
    for server in ["nats", "postgres"] {
        if let Ok(lock) = File::open(dir.join(server).join("lock"))
            && matches!(lock.try_lock(), Err(TryLockError::WouldBlock))
        {
            return Err(Failure::of(
                Exit::Refused,
                format!(
                    "`{}` is in use by a fleet that runs; stop that first",
                    dir.display()
                ),
            ));
        }
    }
    Ok(())
}

/// Removes the directory, and for root what its Postgres has elsewhere.
fn remove(dir: &Path) -> io::Result<()> {
    let cluster = dir.join("postgres/pgdata");
    if let Ok(outside) = fs::read_link(&cluster)
        && let Some(parent) = outside.parent()
        && is_a_clusters_place(parent)
    {
        fs::remove_dir_all(parent)?;
    }
    fs::remove_dir_all(dir)
}

/// Whether it is one of the directories that private servers of root make for their clusters.
fn is_a_clusters_place(folder: &Path) -> bool {
    let in_place = ["/var/lib", "/var/tmp"]
        .iter()
        .any(|place| folder.parent() == Some(Path::new(place)));
    let name = folder.file_name().and_then(|name| name.to_str());
    in_place
        && folder.is_dir()
        && name.is_some_and(|name| {
            name.strip_prefix("gatewright-").is_some_and(|token| {
                token.len() == 32 && token.bytes().all(|b| b.is_ascii_hexdigit())
            })
        })
}
