//! One child process: started, watched, signalled, ended.
//!
//! Three things could go wrong with pids, and this module exists so that they cannot:
//!
//! 1. *A signal hits a stranger*, because the child is gone and its number was given away.
//!    A number is only given away once the child is reaped. So one thread per child waits for its
//!    end without reaping it, and reaps it under the same lock that every signal is sent under.
//! 2. *A child outlives us.* Dropping the value ends it, without needing a runtime that still runs.
//!    When this process is killed, the kernel signals the child (`setpriv --pdeathsig`, Linux); that
//!    is tied to the thread that started it, and the waiting thread is the one that lives as long.
//! 3. *Grandchildren outlive the child.* They are ended with it, see [`Process::kill`].

use std::future::Future;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::watch;

use crate::error::SignalError;
use crate::family::children;

/// How long a killed process may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// A child process.
#[derive(Debug)]
pub(crate) struct Process {
    server: &'static str,
    pid: Pid,
    farewell: Farewell,
    shared: Arc<Shared>,
}

/// How a process is asked to end when its owner is dropped or dies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Farewell {
    pub(crate) signal: Signal,
    /// The signal's name for `setpriv`.
    pub(crate) name: &'static str,
    /// How long it may take before it is killed.
    pub(crate) patience: Duration,
}

#[derive(Debug)]
struct Shared {
    /// How the process ended, once it is reaped. Signals are sent under this lock.
    status: Mutex<Option<ExitStatus>>,
    reaped: Condvar,
    announced: watch::Sender<Option<ExitStatus>>,
}

impl Shared {
    fn status(&self) -> MutexGuard<'_, Option<ExitStatus>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Starts `command` in a process group of its own, so that a Ctrl-C at the terminal reaches
    /// only us, and we decide in which order things end.
    pub(crate) fn spawn(
        server: &'static str,
        farewell: Farewell,
        mut command: Command,
    ) -> io::Result<Self> {
        command.process_group(0);
        let shared = Arc::new(Shared {
            status: Mutex::new(None),
            reaped: Condvar::new(),
            announced: watch::channel(None).0,
        });
        let for_thread = Arc::clone(&shared);
        let (started, start) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name(format!("watch {server}"))
            .spawn(move || match command.spawn() {
                Ok(child) => {
                    let pid = Pid::from_child(&child);
                    // The receiver is waiting below, so this cannot fail.
                    let _ = started.send(Ok(pid));
                    watch_over(child, pid, &for_thread);
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            })?;
        let pid = start
            .recv()
            .map_err(|_| io::Error::other("the thread that starts it ended"))??;
        Ok(Self {
            server,
            pid,
            farewell,
            shared,
        })
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How it ended, if it has.
    pub(crate) fn status(&self) -> Option<ExitStatus> {
        *self.shared.status()
    }

    /// Waits for its end, however that comes. The future does not borrow the process.
    pub(crate) fn ended(&self) -> impl Future<Output = ExitStatus> + Send + use<> {
        let mut announcements = self.shared.announced.subscribe();
        async move {
            loop {
                if let Some(status) = *announcements.borrow_and_update() {
                    return status;
                }
                if announcements.changed().await.is_err() {
                    // Cannot happen: the end is announced before the sender goes.
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Sends a signal, unless the process has ended.
    pub(crate) fn signal(&self, action: &'static str, signal: Signal) -> Result<(), SignalError> {
        let status = self.shared.status();
        if status.is_some() {
            return Ok(());
        }
        kill_process(self.pid, signal).map_err(|errno| SignalError {
            action,
            server: self.server,
            pid: self.pid(),
            source: errno.into(),
        })
    }

    /// Asks it to end, and kills it when it takes too long.
    pub(crate) async fn stop(
        &self,
        signal: Signal,
        patience: Duration,
    ) -> Result<ExitStatus, SignalError> {
        self.resume()?;
        self.signal("stop", signal)?;
        if let Ok(status) = tokio::time::timeout(patience, self.ended()).await {
            return Ok(status);
        }
        self.kill().await
    }

    /// SIGKILL for it and its children, as when the machine loses power, but without losing what
    /// the system has in its caches.
    pub(crate) async fn kill(&self) -> Result<ExitStatus, SignalError> {
        self.kill_tree()?;
        Ok(self.ended().await)
    }

    /// SIGSTOP for it and its children: it is there, holds its connections and says nothing.
    pub(crate) fn suspend(&self) -> Result<(), SignalError> {
        // The parent first: from then on it neither forks nor reaps.
        self.signal("suspend", Signal::STOP)?;
        self.signal_children(Signal::STOP);
        Ok(())
    }

    /// SIGCONT for all that [`Process::suspend`] stopped.
    pub(crate) fn resume(&self) -> Result<(), SignalError> {
        self.signal_children(Signal::CONT);
        self.signal("resume", Signal::CONT)
    }

    fn kill_tree(&self) -> Result<(), SignalError> {
        self.suspend()?;
        self.signal_children(Signal::KILL);
        self.signal("kill", Signal::KILL)
    }

    /// Signals the children; one that has ended meanwhile is not an error.
    fn signal_children(&self, signal: Signal) {
        let status = self.shared.status();
        if status.is_none() {
            for child in children(self.pid) {
                let _ = kill_process(child, signal);
            }
        }
    }

    /// Waits for the end without a runtime.
    fn wait_blocking(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut status = self.shared.status();
        while status.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            status = self
                .shared
                .reaped
                .wait_timeout(status, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status().is_some() {
            return;
        }
        // Errors have nobody to go to here; whatever fails, the kill below follows.
        let _ = self.resume();
        let _ = self.signal("stop", self.farewell.signal);
        if !self.wait_blocking(self.farewell.patience) {
            let _ = self.kill_tree();
            self.wait_blocking(KILL_PATIENCE);
        }
    }
}

/// The life of the watching thread: wait, then reap under the lock, then tell.
fn watch_over(mut child: Child, pid: Pid, shared: &Shared) {
    // Ended; or not to be waited for, which the reaping below will say as well.
    while let Err(Errno::INTR) = waitid(
        WaitId::Pid(pid),
        WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
    ) {}
    let mut status = shared.status();
    let end = child
        .wait()
        .unwrap_or_else(|_| std::os::unix::process::ExitStatusExt::from_raw(0));
    *status = Some(end);
    shared.announced.send_replace(Some(end));
    drop(status);
    shared.reaped.notify_all();
}

/// A command for `program` that the kernel signals when we die, where that can be had.
///
/// `setpriv` executes the program in its own place, so the pid is the program's.
pub(crate) fn command(program: &Path, farewell: Farewell) -> Command {
    if has_setpriv() {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", farewell.name]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// Whether there is a `setpriv` that knows the option: util-linux 2.33 and newer, not busybox.
fn has_setpriv() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        cfg!(target_os = "linux")
            && Command::new("setpriv")
                .args(["--pdeathsig", "TERM", "true"])
                .output()
                .is_ok_and(|output| output.status.success())
    })
}
