//! One command in its sandbox, from its start until nothing of it is left.
//!
//! The worker starts bubblewrap, which starts process 1 of the sandbox, which starts the command.
//! When process 1 ends, the system kills everything in the sandbox; and bubblewrap ends only after process 1 has.
//! So to end it all is to kill process 1, and to wait for bubblewrap is to wait until nothing is left.
//! Should the worker die, bubblewrap and process 1 are killed by the system, once they have asked for it. So the command
//! is let in only after that: the first program in the sandbox waits for a line from the worker, and ends when none can come.

use std::{
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::Path,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use command_fds::{CommandFdExt as _, FdMapping};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::Child,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    Jail,
    bwrap::{self, FILTER_FD, FIRST_OPENED_FD, GATE_FD, STATUS_FD},
    processes,
    profile::{self, Opened},
    usage::Watch,
};
use crate::sandbox::{Captured, Cut, Ended, Limits, Order, Unavailable};

/// The first descriptor after standard input, output and error.
const FIRST_OF_OTHERS: i32 = 3;

/// How often it is looked at what a command holds; less often where looking takes long.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// And never less often than this: who holds very many things is not to be alone with them.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(2);

/// How long one look may take.
const LOOKS_WITHIN: Duration = Duration::from_secs(30);

/// How often it is looked whether the command can be let in.
const SETTLES_WITHIN: Duration = Duration::from_millis(1);

/// How long bubblewrap may take to start process 1 before it is killed itself.
const STARTS_WITHIN: Duration = Duration::from_secs(2);

/// How long the dead may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// A command that runs.
pub(super) struct Process {
    child: Child,
    outer: u32,
    began: Instant,
    status: PipeReader,
    entered: JoinHandle<bool>,
    stdout: JoinHandle<Captured>,
    stderr: JoinHandle<Captured>,
    watch: Watch,
}

/// What bubblewrap said of its work.
#[derive(Debug, Default)]
struct Told {
    /// It made process 1.
    began: bool,
    /// The command was started, and ended so.
    exit_code: Option<i32>,
}

impl Process {
    /// Starts it.
    pub(super) fn start(jail: &Jail, directory: &Path, order: &Order) -> Result<Self, Unavailable> {
        let opened = match &order.profile {
            Some(_) if !jail.machine.mounts_opened => {
                return Err(Unavailable::new(
                    "this bubblewrap cannot mount what was looked at (`--bind-fd`), which profiles need",
                    "install bubblewrap 0.10 or later, or Debian 12's with its security updates",
                ));
            }
            Some(profile) => profile::open(profile, &jail.own)?,
            None => Vec::new(),
        };
        let watch = Watch::over(directory, &order.limits).map_err(not_started)?;
        let began = Instant::now();
        let (mut child, status, gate) = {
            let _alone = jail.site.starting();
            spawn(jail, directory, order, opened).map_err(not_started)?
        };
        let limit = order.limits.output;
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        if let Some(mut input) = child.stdin.take() {
            let text = order.stdin.clone();
            // A command that does not read ends nevertheless, and this with it.
            tokio::spawn(async move { input.write_all(&text).await });
        }
        let outer = child.id().unwrap_or_default();
        Ok(Self {
            outer,
            child,
            entered: tokio::spawn(let_in(outer, gate)),
            began,
            status,
            stdout: tokio::spawn(capture(stdout, limit)),
            stderr: tokio::spawn(capture(stderr, limit)),
            watch,
        })
    }

    /// Lets it run until it ends, or until it is cut off or stopped. Then nothing of it is left.
    pub(super) async fn see_through(
        mut self,
        limits: &Limits,
        stop: &CancellationToken,
    ) -> Result<Ended, Unavailable> {
        let out_of_time = tokio::time::sleep(limits.time);
        let mut watching = Box::pin(keep_watch(self.watch.clone(), self.outer));
        let (status, mut cut) = tokio::select! {
            status = self.child.wait() => (Some(status), None),
            () = out_of_time => (None, Some(Cut::Time { limit: limits.time })),
            cut = &mut watching => (None, Some(cut)),
            // Nobody asks what came of it.
            () = stop.cancelled() => (None, Some(Cut::Time { limit: limits.time })),
        };
        drop(watching);
        let took = self.began.elapsed();
        let status = match status {
            Some(status) => status,
            None => self.kill().await,
        };
        let status = status.map_err(|error| {
            tracing::error!(%error, pid = self.outer, "a sandbox could not be waited for");
            not_started(error)
        })?;
        let stdout = self.stdout.await.unwrap_or_default();
        let stderr = self.stderr.await.unwrap_or_default();
        let told = Told::read(self.status);
        // One that has finished is not aborted any more.
        self.entered.abort();
        let entered = matches!(self.entered.await, Ok(true));
        if cut.is_none() {
            let watch = self.watch;
            let last = tokio::task::spawn_blocking(move || watch.weigh_directory()).await;
            cut = last
                .unwrap_or_else(|error| Err(io::Error::other(error)))
                .unwrap_or_else(|error| {
                    Some(Cut::Unwatched {
                        reason: error.to_string(),
                    })
                });
        }
        // What ended before it was let in was not the command.
        if cut.is_none() && (told.exit_code.is_none() || !entered) {
            cut = Some(why_not_started(&told, status, &stderr)?);
        }
        Ok(Ended {
            exit_code: told.exit_code.filter(|_| cut.is_none()),
            cut,
            stdout,
            stderr,
            took,
            new_directory: false,
        })
    }

    /// Kills everything in the sandbox, and waits until it is gone.
    async fn kill(&mut self) -> io::Result<ExitStatus> {
        let began = Instant::now();
        loop {
            let was_killed = kill_first_process(self.outer);
            if !was_killed && began.elapsed() > STARTS_WITHIN {
                self.child.start_kill()?;
            }
            let patience = if was_killed {
                GONE_WITHIN
            } else {
                Duration::from_millis(5)
            };
            if let Ok(status) = tokio::time::timeout(patience, self.child.wait()).await {
                return status;
            }
            if began.elapsed() > GONE_WITHIN {
                return Err(io::Error::other("it does not die"));
            }
        }
    }
}

fn spawn(
    jail: &Jail,
    directory: &Path,
    order: &Order,
    opened: Vec<Opened<'_>>,
) -> io::Result<(Child, PipeReader, PipeWriter)> {
    let Jail { machine, site, .. } = jail;
    let mut copies = Vec::new();
    for program in &order.programs {
        copies.push((site.copy_of(program)?, program.path()));
    }
    let (status, told) = io::pipe()?;
    let (waiting, gate) = io::pipe()?;
    let mut command = std::process::Command::new(&machine.bwrap);
    command
        .args(bwrap::arguments(jail, directory, &copies, &opened, order))
        .env_clear()
        .current_dir("/")
        // What ends the worker from a terminal does not end its commands: they are finished or cut off.
        .process_group(0)
        .stdin(if order.stdin.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(id) = machine.runs_as {
        command.uid(id).gid(id);
    }
    let mapped = |parent_fd, child_fd| FdMapping {
        parent_fd,
        child_fd,
    };
    let mut mappings = vec![
        mapped(site.filter()?.into(), FILTER_FD),
        mapped(told.into(), STATUS_FD),
        mapped(waiting.into(), GATE_FD),
    ];
    mappings.extend(
        (FIRST_OPENED_FD..)
            .zip(opened)
            .map(|(fd, opened)| mapped(opened.file.into(), fd)),
    );
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    // What the worker inherited, from a supervisor's script say, would reach the command: an open folder is a way out.
    close_fds::set_fds_cloexec_threadsafe(FIRST_OF_OTHERS, &[]);
    let mut command = tokio::process::Command::from(command);
    let child = command.kill_on_drop(true).spawn()?;
    Ok((child, status, gate))
}

/// Lets the command in, as soon as it will die with the worker; and says whether it did.
///
/// Process 1 first asks to be killed with bubblewrap, as that did before with the worker, and then sleeps until a child ends.
async fn let_in(outer: u32, mut gate: PipeWriter) -> bool {
    loop {
        if processes::has_settled(outer) {
            processes::offer_to_the_killer(outer);
            return gate.write_all(b"go\n").is_ok();
        }
        tokio::time::sleep(SETTLES_WITHIN).await;
    }
}

/// Kills process 1 of the sandbox, if there is one.
fn kill_first_process(outer: u32) -> bool {
    let first = || processes::children(outer).into_iter().next();
    let Some(pid) = first() else { return false };
    let Some(name) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    let Ok(handle) = pidfd_open(name, PidfdFlags::empty()) else {
        return false;
    };
    // The number may have been given to somebody else meanwhile, and the handle with it.
    first() == Some(pid) && pidfd_send_signal(&handle, Signal::KILL).is_ok()
}

/// Looks at memory and at the directory by themselves, too: who has much of the one does not keep anybody from seeing the other.
async fn keep_watch(watch: Watch, outer: u32) -> Cut {
    tokio::select! {
        cut = look_on(watch.clone(), move |watch| watch.look_at_memory(outer)) => cut,
        cut = look_on(watch.clone(), Watch::look_at_directory) => cut,
        cut = look_on(watch, move |watch| watch.look(outer)) => cut,
    }
}

async fn look_on(
    mut watch: Watch,
    look: impl Fn(&mut Watch) -> Option<Cut> + Copy + Send + 'static,
) -> Cut {
    loop {
        let pause = (watch.took * 10).clamp(LOOK_EVERY, LOOK_AT_LEAST_EVERY);
        tokio::time::sleep(pause).await;
        let looked = tokio::task::spawn_blocking(move || {
            let cut = look(&mut watch);
            (watch, cut)
        });
        let reason = match tokio::time::timeout(LOOKS_WITHIN, looked).await {
            Ok(Ok((_, Some(cut)))) => return cut,
            Ok(Ok((same, None))) => {
                watch = same;
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("looking at what it holds takes longer than {LOOKS_WITHIN:?}"),
        };
        return Cut::Unwatched { reason };
    }
}

/// Keeps the beginning, and counts the rest.
async fn capture(from: Option<impl AsyncRead + Unpin>, limit: usize) -> Captured {
    let mut captured = Captured::default();
    let Some(mut from) = from else {
        return captured;
    };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return captured,
            Ok(count) => {
                let room = limit.saturating_sub(captured.bytes.len());
                let kept = buffer.get(..count.min(room)).unwrap_or_default();
                captured.bytes.extend_from_slice(kept);
                captured.truncated |= kept.len() < count;
                captured.total += u64::try_from(count).unwrap_or_default();
            }
        }
    }
}

impl Told {
    /// All that was said. Whoever could say more is dead.
    fn read(mut status: PipeReader) -> Self {
        let mut told = Self::default();
        let mut text = String::new();
        // Never waited for: had somebody inherited the other end, this would not end.
        let nonblocking = rustix::fs::OFlags::NONBLOCK;
        if rustix::fs::fcntl_setfl(&status, nonblocking).is_ok() {
            let _ = status.read_to_string(&mut text);
        }
        for word in serde_json::Deserializer::from_str(&text)
            .into_iter::<Value>()
            .map_while(Result::ok)
        {
            told.began |= word.get("child-pid").is_some();
            let code = word.get("exit-code").and_then(Value::as_i64);
            told.exit_code = told
                .exit_code
                .or(code.and_then(|code| i32::try_from(code).ok()));
        }
        told
    }
}

/// Why the command was not started; or, where nobody knows whether it was, what is known instead.
fn why_not_started(told: &Told, status: ExitStatus, stderr: &Captured) -> Result<Cut, Unavailable> {
    if told.began && status.signal().is_some() {
        let reason = format!("bubblewrap itself was killed ({status})");
        return Ok(Cut::Unwatched { reason });
    }
    let said = stderr.tail(400);
    Err(Unavailable::new(
        format!("bubblewrap did not start the command: {said}"),
        remedy(&said),
    ))
}

fn remedy(said: &str) -> &'static str {
    if said.contains("/oldroot/") || said.contains("source path") || said.contains("chdir") {
        "see that every folder on the way to `sandbox_dir` can be passed through by all (mode o+x), and that the policy's profile names paths that exist"
    } else {
        "allow unprivileged user namespaces: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0, and of a container: --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
    }
}

fn not_started(error: impl std::fmt::Display) -> Unavailable {
    Unavailable::new(
        format!("bubblewrap cannot be started: {error}"),
        "see the worker's limits for processes and open files, and the disk of `sandbox_dir`",
    )
}
