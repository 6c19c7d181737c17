//! One server for one data directory.
//!
//! A pid file alone is a guess: its process may be dead, and its number may by now belong to
//! another. So the truth is an advisory lock on the file `lock` in the data directory. The open
//! file that carries it becomes the server's standard input, which every process that the server
//! forks inherits: the lock lasts until the last of them is gone, even when the process that
//! started the server has died long before, and it needs no cleaning up after a crash.
//! The pid in the same file only serves the message.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, Write};
use std::path::Path;
use std::process::Stdio;

use crate::error::StartError;

/// The lock on a data directory, held by this value and by the server's processes.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock, or says who has it.
    pub(crate) fn take(server: &'static str, data_dir: &Path) -> Result<Self, StartError> {
        let path = data_dir.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(StartError::file("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(StartError::InUse {
                server,
                data_dir: data_dir.to_owned(),
                pid: std::fs::read_to_string(&path)
                    .ok()
                    .and_then(|text| text.trim().parse().ok()),
            }),
            Err(TryLockError::Error(source)) => Err(StartError::File {
                action: "lock",
                path,
                source,
            }),
        }
    }

    /// What the server gets as its standard input, so that it holds the lock too.
    pub(crate) fn share(&self) -> io::Result<Stdio> {
        Ok(Stdio::from(self.file.try_clone()?))
    }

    /// Writes down whom to name when somebody else wants the directory.
    pub(crate) fn record(&self, pid: u32) -> io::Result<()> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{pid}")
    }
}
