//! The seeds of users' keys: one file each, for its owner's eyes only. One that is there is kept.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use gatewright_bus::nkey::UserKey;
use gatewright_schemas::WriterId;

/// Where the seed of `name` is.
pub fn path(dir: &Path, name: &WriterId) -> PathBuf {
    dir.join(format!("{name}.nk"))
}

/// The key of `name`, made now unless it is there.
pub fn key(dir: &Path, name: &WriterId) -> Result<UserKey> {
    let path = path(dir, name);
    match fs::read_to_string(&path) {
        Ok(text) => UserKey::of_seed(&text)
            .with_context(|| format!("`{}` is not usable; move it away", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(&path),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    }
}

fn make(path: &Path) -> Result<UserKey> {
    let key = UserKey::generate();
    let seed = key.seed()?;
    let write = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        writeln!(file, "{seed}")?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(key)
}
