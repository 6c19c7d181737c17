//! What is to be run, and within which limits.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use gatewright_policy::EscalatedProfile;
use gatewright_schemas::{Digest, RunId, WorkspaceId};

/// A command to be run.
#[derive(Debug, Clone)]
pub struct Order {
    /// Whose directory it gets.
    pub workspace: WorkspaceId,
    /// Whose directory it gets.
    pub run: RunId,
    /// The program and its arguments, never a line for a shell. A name without a slash is looked for in the system's folders.
    pub argv: Vec<String>,
    /// What it reads; nothing when empty.
    pub stdin: Vec<u8>,
    /// Variables of its environment beside the fixed ones; they must not be named as those are.
    pub env: Vec<(&'static str, String)>,
    /// Files from outside `/usr` that it finds at their own paths, as they were when they were read.
    pub programs: Vec<Program>,
    /// What the policy gives it beside the ordinary sandbox.
    pub profile: Option<Arc<EscalatedProfile>>,
    /// What it may use.
    pub limits: Limits,
}

/// What a command may use. Whoever goes beyond one of the first five is killed with all its processes;
/// the others are refused to it by the system, as errors that it sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How long it may run.
    pub time: Duration,
    /// Bytes of all files in its directory, and of files that it holds open without a name.
    pub disk: u64,
    /// Files and folders in its directory; in `/tmp` and `/dev/shm` as well.
    pub files: u64,
    /// Bytes of memory of all its processes, with what the system has in memory for them. What one process has by itself
    /// is refused to it above this, as an error that it sees.
    pub memory: u64,
    /// Bytes that are kept of each of its outputs. It may write more, which is only counted.
    pub output: usize,
    /// Bytes of address space of each process.
    pub address_space: u64,
    /// Bytes of one file.
    pub file_size: u64,
    /// Processes and threads at once.
    pub processes: u64,
    /// Open files of each process.
    pub open_files: u64,
    /// Bytes in `/tmp`; an eighth of it in `/dev/shm`.
    pub temporary: u64,
}

impl Default for Limits {
    /// A minute; 512 MiB and 20,000 files on disk; 1 GiB of memory; 32 KiB of each output.
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            time: Duration::from_mins(1),
            disk: 512 * MIB,
            files: 20_000,
            memory: 1024 * MIB,
            output: 32 * 1024,
            address_space: 4096 * MIB,
            file_size: 256 * MIB,
            processes: 128,
            open_files: 512,
            temporary: 64 * MIB,
        }
    }
}

/// A file that a command finds at its own path, as it was when it was read. What replaced it on the disk since does not matter.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    digest: Digest,
    bytes: Arc<[u8]>,
}

/// Why a file cannot be taken along.
#[derive(Debug, thiserror::Error)]
pub enum UnusableProgram {
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is a folder, or something else without a content.
    #[error("`{}` is no file", .0.display())]
    NoFile(PathBuf),
    /// It is too large to be held in memory.
    #[error("`{}` has more than {} bytes", .0.display(), Program::MAX_BYTES)]
    TooLarge(PathBuf),
}

impl Program {
    /// Bytes of a program.
    pub const MAX_BYTES: u64 = 64 * 1024 * 1024;

    /// Reads a file of the worker's machine.
    pub fn read(path: &Path) -> Result<Self, UnusableProgram> {
        let unreadable = |source| UnusableProgram::Unreadable {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(unreadable)?;
        if !file.metadata().map_err(unreadable)?.is_file() {
            return Err(UnusableProgram::NoFile(path.to_owned()));
        }
        let mut bytes = Vec::new();
        file.take(Self::MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > Self::MAX_BYTES {
            return Err(UnusableProgram::TooLarge(path.to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
            digest: Digest::of_bytes(&bytes),
            bytes: bytes.into(),
        })
    }

    /// Where it stands, inside and outside.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Digest of its content.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its content.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "nothing runs here")
    )]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
