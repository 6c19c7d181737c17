//! What came of a command.

use std::time::Duration;

use gatewright_policy::redact::Secrets;

/// What came of a command that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How it ended by itself; `None` when it was cut off. As a shell tells it: 127 for a program that is not there,
    /// 126 for one that cannot be executed, 128 and the signal's number for one that died of a signal.
    pub exit_code: Option<i32>,
    /// Why it was cut off.
    pub cut: Option<Cut>,
    /// What it wrote to its standard output.
    pub stdout: Captured,
    /// What it wrote to its standard error.
    pub stderr: Captured,
    /// How long it ran.
    pub took: Duration,
    /// Whether its directory was new and empty when it began.
    pub new_directory: bool,
}

impl Ended {
    /// The signal of which it died, as far as its exit code tells.
    pub fn signal(&self) -> Option<i32> {
        self.exit_code
            .map(|code| code - 128)
            .filter(|signal| (1..=64).contains(signal))
    }
}

/// The beginning of an output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// The first bytes, as many as the order's limit.
    pub bytes: Vec<u8>,
    /// How many there were in all.
    pub total: u64,
    /// Whether there were more than are here.
    pub truncated: bool,
}

impl Captured {
    /// The same without the secrets, and at most `limit` bytes of it.
    ///
    /// Where the rest is missing, the last bytes may be the beginning of a secret, and are left out.
    #[must_use]
    pub fn cleaned(&self, secrets: &Secrets, limit: usize) -> Self {
        let mut bytes = secrets.clean_bytes(self.bytes.clone());
        let doubtful = if self.truncated { secrets.longest() } else { 0 };
        let kept = bytes.len().saturating_sub(doubtful).min(limit);
        let truncated = self.truncated || kept < bytes.len();
        bytes.truncate(kept);
        Self {
            bytes,
            total: self.total,
            truncated,
        }
    }

    /// As text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The last of what is here, at most `most` characters, control characters escaped. For a reason that a person reads.
    pub fn tail(&self, most: usize) -> String {
        let text = self.text();
        let text = text.trim_end();
        let skip = text.chars().count().saturating_sub(most);
        text.chars()
            .skip(skip)
            .flat_map(char::escape_debug)
            .collect()
    }
}

/// Why a command was cut off, with all its processes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cut {
    /// It ran longer than it may.
    #[error("it ran longer than {} ms", limit.as_millis())]
    Time {
        /// How long it might have run.
        limit: Duration,
    },
    /// Its files have more bytes than they may.
    #[error("its files have more than {limit} bytes; its directory was emptied")]
    Disk {
        /// How many they might have.
        limit: u64,
    },
    /// It made more files than it may.
    #[error("it made more than {limit} files; its directory was emptied")]
    Files {
        /// How many it might have made.
        limit: u64,
    },
    /// Its processes hold more memory than they may.
    #[error("its processes hold more than {limit} bytes of memory")]
    Memory {
        /// How much they might hold.
        limit: u64,
    },
    /// What it holds cannot be told.
    #[error("it cannot be watched: {reason}")]
    Unwatched {
        /// Why.
        reason: String,
    },
}

impl Cut {
    /// Whether its directory is not to be kept.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "nothing runs here")
    )]
    pub(super) fn empties_directory(&self) -> bool {
        matches!(
            self,
            Self::Disk { .. } | Self::Files { .. } | Self::Unwatched { .. }
        )
    }
}
