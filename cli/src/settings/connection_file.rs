//! What a `gatewright dev` writes down so that other commands in its directory find it.

use std::{
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Where commands look for it, from the directory they are started in.
const PLACE: &str = ".gatewright/dev/connection.toml";

/// Where a private fleet listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionFile {
    /// Its NATS server.
    pub nats_url: String,
    /// The seed with which an operator is let in there.
    pub nats_nkey: PathBuf,
    /// The NATS server's monitoring.
    pub monitor_url: String,
    /// Its database, with the password.
    pub database_url: String,
    /// Its prefix.
    pub prefix: String,
    /// The process that runs it.
    pub pid: u32,
}

impl ConnectionFile {
    /// The one of the fleet that runs in the current directory, with its path.
    pub fn of_this_directory() -> Option<(PathBuf, Self)> {
        let path = PathBuf::from(PLACE);
        let text = std::fs::read_to_string(&path).ok()?;
        Some((path, toml::from_str(&text).ok()?))
    }

    /// Writes it, for its owner's eyes only: it holds a password.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        // A file that is there keeps its mode, so it is made anew.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        writeln!(
            file,
            "# Written by `gatewright dev`, and removed when it ends."
        )?;
        file.write_all(text.as_bytes())
    }
}
