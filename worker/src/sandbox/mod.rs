//! The sandbox for commands: the only place of the worker that starts programs, and no program starts without it.
//!
//! A command runs under [bubblewrap](https://github.com/containers/bubblewrap), and sees:
//!
//! - `/usr` of this machine, read-only; a made-up `/etc`; a new `/proc` with its own processes alone; the harmless devices.
//! - `/work`, the run's own directory: private, chosen by the worker, gone when the run has ended.
//! - `/tmp` and `/dev/shm`, small and in memory, gone when the command has ended.
//! - What the policy's profile gives, where an approved call asked for it ([`gatewright_policy::document::SandboxProfile`]).
//!
//! It has namespaces of its own for users, mounts, processes, network, IPC and names; no capability and no way to get one;
//! no network; a filter of system calls (`jail/filter.rs`); hard limits for each process, and a watch over what all of them
//! hold together (`jail/usage.rs`). All of its processes are dead when [`Sandbox::run`] has returned, and when the worker dies.
//!
//! Where no such sandbox can be made, nothing runs: [`Unavailable`].
//!
//! Not here: whether a command may run (`policy`), what its output means (`tool`).

mod bound;
mod ended;
#[cfg(target_os = "linux")]
mod jail;
#[cfg(not(target_os = "linux"))]
#[path = "nowhere.rs"]
mod jail;
mod order;

use std::path::PathBuf;

use gatewright_schemas::{RunId, WorkspaceId};
use tokio::sync::OnceCell;

pub use bound::memory_bound;
pub use ended::{Captured, Cut, Ended};
pub use order::{Limits, Order, Program, UnusableProgram};

use jail::Jail;

/// How a worker makes sandboxes.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Where runs have their directories; in the system's folder for temporary files when absent.
    ///
    /// Every folder on the way must be open to all (`x`), since commands run as nobody where the worker is root.
    pub dir: Option<PathBuf>,
    /// Files and folders of the worker's own (credentials, settings, its program) which no profile may open up,
    /// nor what holds them or is below them. `dir` need not be among them.
    pub own: Vec<PathBuf>,
}

/// Makes sandboxes. One for each worker; it looks at the machine when it is first asked.
#[derive(Debug, Default)]
pub struct Sandbox {
    settings: Settings,
    jail: OnceCell<Jail>,
}

/// Why no sandbox can be made, and so nothing was run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no sandbox can be made: {reason}")]
pub struct Unavailable {
    /// What is missing or does not work.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

impl Unavailable {
    pub(crate) fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }
}

impl Sandbox {
    /// Looks at nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            jail: OnceCell::new(),
        }
    }

    /// Whether sandboxes can be made here: makes one with everything that belongs to it. A yes holds from then on; a no is asked again.
    pub async fn check(&self) -> Result<(), Unavailable> {
        self.jail().await.map(|_| ())
    }

    /// Runs a command until it ends or is cut off. When this returns, and soon after it is dropped, none of its processes is left.
    ///
    /// A command that fails, or that is not there, is an [`Ended`] like any other; an error means that nothing was run.
    pub async fn run(&self, order: Order) -> Result<Ended, Unavailable> {
        self.jail().await?.run(order).await
    }

    /// Removes the directory of a run that has ended. Nothing happens when it has none.
    pub async fn forget(&self, workspace: &WorkspaceId, run: &RunId) {
        if let Some(jail) = self.jail.get() {
            jail.forget(workspace, run).await;
        }
    }

    async fn jail(&self) -> Result<&Jail, Unavailable> {
        self.jail
            .get_or_try_init(|| Jail::build(&self.settings))
            .await
    }
}
