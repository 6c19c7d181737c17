//! The log file of a server: appended to by every start, quoted when a start fails.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// How much of the log an error quotes.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 16 * 1024;

/// A log file, and where in it this start of the server begins.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    start: u64,
}

impl Log {
    /// Opens the log for appending; the file is for the server's output.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, File)> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let start = file.metadata()?.len();
        let log = Self {
            path: path.to_owned(),
            start,
        };
        Ok((log, file))
    }

    /// The last lines that this start has written.
    pub(crate) fn tail(&self) -> String {
        self.read_tail().unwrap_or_default()
    }

    /// The last lines of a log file, whoever wrote them.
    pub(crate) fn tail_of(path: &Path) -> String {
        let whole = Self {
            path: path.to_owned(),
            start: 0,
        };
        whole.tail()
    }

    fn read_tail(&self) -> io::Result<String> {
        let mut file = File::open(&self.path)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(
            self.start.max(end.saturating_sub(TAIL_BYTES)),
        ))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let skip = lines.len().saturating_sub(TAIL_LINES);
        Ok(lines.into_iter().skip(skip).collect::<Vec<_>>().join("\n"))
    }
}
