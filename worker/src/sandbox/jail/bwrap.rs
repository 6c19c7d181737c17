//! A sandbox, spelt as bubblewrap's arguments.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

use super::{
    Jail,
    machine::{Folder, PRLIMIT, SHELL},
    profile::Opened,
};
use crate::sandbox::{Limits, Order};

/// Where bubblewrap finds the filter of system calls.
pub(super) const FILTER_FD: i32 = 3;
/// Where bubblewrap says how far it came and how the command ended.
pub(super) const STATUS_FD: i32 = 4;
/// Where the first program in the sandbox waits to be let in.
pub(super) const GATE_FD: i32 = 5;
/// Where it finds the first of a profile's paths, and the others after it. It closes them all.
pub(super) const FIRST_OPENED_FD: i32 = 6;

/// Who a command is inside. No number that means anybody outside.
const ID: &str = "1000";
/// Lets nothing run until a line has come from the worker, and nothing ever where the worker is gone. The command gets
/// its words as they are: the shell reads none of them.
const GATE: &str = "read -r go <&5 && exec \"$@\" 5<&-";
/// The run's directory, inside.
const WORK: &str = "/work";

const NAMESPACES: [&str; 17] = [
    // `--disable-userns` wants to see this one by name.
    "--unshare-user",
    "--unshare-all",
    "--disable-userns",
    "--assert-userns-disabled",
    "--die-with-parent",
    // Its own session: nothing typed into the worker's terminal, no signal from it.
    "--new-session",
    "--cap-drop",
    "ALL",
    "--uid",
    ID,
    "--gid",
    ID,
    "--hostname",
    "sandbox",
    "--ro-bind",
    "/usr",
    "/usr",
];

/// The whole command line but the program's name.
///
/// `copies` are the order's programs as they stand in the site, `opened` the paths of its profile.
pub(super) fn arguments(
    jail: &Jail,
    directory: &Path,
    copies: &[(impl AsRef<Path>, impl AsRef<Path>)],
    opened: &[Opened<'_>],
    order: &Order,
) -> Vec<OsString> {
    let Jail { machine, site, .. } = jail;
    let mut line = Line::default();
    line.add(NAMESPACES);
    for (path, folder) in &machine.folders {
        match folder {
            Folder::Link(target) => {
                line.add([OsStr::new("--symlink"), target.as_ref(), path.as_ref()]);
            }
            Folder::Own => line.add(["--ro-bind", path, path]),
        }
    }
    for (name, made_up) in site.etc() {
        line.add([OsStr::new("--ro-bind"), made_up.as_ref(), name.as_ref()]);
    }
    // Links to the system's programs and the list of its libraries: what makes `/usr` work.
    for path in ["/etc/alternatives", "/etc/ld.so.cache"] {
        line.add(["--ro-bind-try", path, path]);
    }
    let temporary = order.limits.temporary.to_string();
    let shared = (order.limits.temporary / 8).max(4096).to_string();
    line.add(["--proc", "/proc", "--dev", "/dev"]);
    // Process 1 is bubblewrap's own, without the limits below and of the same user: its memory must not be written to.
    line.add(["--size", "4096", "--perms", "0555", "--tmpfs", "/proc/1"]);
    line.add(["--remount-ro", "/proc/1"]);
    // It reads the same. Mapped, the other is shared memory without a name, which this cannot be.
    line.add(["--dev-bind", "/dev/full", "/dev/zero"]);
    line.add(["--size", &shared, "--perms", "1777", "--tmpfs", "/dev/shm"]);
    line.add(["--size", &temporary, "--perms", "1777", "--tmpfs", "/tmp"]);
    line.add([OsStr::new("--bind"), directory.as_ref(), WORK.as_ref()]);
    for (copy, path) in copies {
        line.add([
            OsStr::new("--ro-bind"),
            copy.as_ref().as_ref(),
            path.as_ref().as_ref(),
        ]);
    }
    for (fd, opened) in (FIRST_OPENED_FD..).zip(opened) {
        let how = if opened.is_writable {
            "--bind-fd"
        } else {
            "--ro-bind-fd"
        };
        line.add([how, &fd.to_string(), opened.path]);
    }
    // What bubblewrap made to hold all this is itself a place to write to, without limit, until this.
    line.add(["--remount-ro", "/dev", "--remount-ro", "/"]);
    line.add(["--chdir", WORK, "--clearenv"]);
    for (name, value) in [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", WORK),
        ("LANG", "C.UTF-8"),
        ("TMPDIR", "/tmp"),
    ] {
        line.add(["--setenv", name, value]);
    }
    for (name, value) in &order.env {
        line.add(["--setenv", name, value]);
    }
    line.add(["--seccomp", &FILTER_FD.to_string()]);
    line.add(["--json-status-fd", &STATUS_FD.to_string()]);
    line.add(["--", SHELL, "-c", GATE, "gate", PRLIMIT]);
    line.add(limits(&order.limits));
    line.add(["--"]);
    line.add(&order.argv);
    line.0
}

/// Hard limits, which nobody in the sandbox can raise again.
fn limits(limits: &Limits) -> [String; 11] {
    // For each process; what it may take in all is the time times the processors.
    let seconds = limits.time.as_secs() + 2;
    [
        format!("--as={}", limits.address_space),
        // So that no process by itself has more than all may have, however short the time.
        format!("--data={}", limits.memory),
        format!("--cpu={seconds}"),
        "--core=0".into(),
        format!("--fsize={}", limits.file_size),
        format!("--nofile={}", limits.open_files),
        format!("--nproc={}", limits.processes),
        "--memlock=65536".into(),
        // The system does not take it for data.
        "--stack=8388608:67108864".into(),
        "--msgqueue=0".into(),
        // Timers and signals that wait.
        "--sigpending=1024".into(),
    ]
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn add<S: AsRef<OsStr>>(&mut self, words: impl IntoIterator<Item = S>) {
        self.0
            .extend(words.into_iter().map(|word| word.as_ref().to_owned()));
    }
}
