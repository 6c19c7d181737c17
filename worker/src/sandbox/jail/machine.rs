//! What this machine has to make sandboxes of.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::sandbox::Unavailable;

/// Whom commands run as where the worker is root: an account that no system gives to anybody.
///
/// As root some limits would not bind, and a way out of the sandbox would lead to everything.
const NOBODY: u32 = 65_533;

/// What there is.
#[derive(Debug)]
pub(super) struct Machine {
    /// The program that makes sandboxes.
    pub(super) bwrap: PathBuf,
    /// The user (and group) to start it as; the worker's own when absent.
    pub(super) runs_as: Option<u32>,
    /// Whether it mounts what is open already, or nothing: `--bind-fd`.
    pub(super) mounts_opened: bool,
    /// The root's folders beside `/usr`, as this system has them.
    pub(super) folders: Vec<(&'static str, Folder)>,
}

/// A folder of the root.
#[derive(Debug)]
pub(super) enum Folder {
    /// A symbolic link, into `/usr`.
    Link(PathBuf),
    /// A folder of its own.
    Own,
}

/// The program that sets limits, in the sandbox as outside.
pub(super) const PRLIMIT: &str = "/usr/bin/prlimit";

/// The shell that waits until the command is let in, in the sandbox as outside.
pub(super) const SHELL: &str = "/bin/sh";

impl Machine {
    /// Looks.
    pub(super) fn look() -> Result<Self, Unavailable> {
        let places = ["/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap"];
        let bwrap = places
            .into_iter()
            .map(PathBuf::from)
            .find(|place| place.is_file())
            .ok_or_else(|| {
                Unavailable::new(
                    "bubblewrap is not installed",
                    "install it, on Debian with: apt-get install bubblewrap",
                )
            })?;
        for (program, package) in [(PRLIMIT, "util-linux"), (SHELL, "dash")] {
            if !Path::new(program).is_file() {
                return Err(Unavailable::new(
                    format!("there is no {program}"),
                    format!("install it, on Debian with: apt-get install {package}"),
                ));
            }
        }
        // Without it nobody could tell which processes are in a sandbox, and so what they hold.
        if !Path::new("/proc/thread-self/children").is_file() {
            return Err(Unavailable::new(
                "this system's /proc does not tell the children of processes",
                "mount /proc, and use a kernel with CONFIG_PROC_CHILDREN",
            ));
        }
        let help = Command::new(&bwrap).arg("--help").output();
        Ok(Self {
            mounts_opened: help.is_ok_and(|help| {
                let told = [help.stdout, help.stderr].concat();
                String::from_utf8_lossy(&told).contains("--ro-bind-fd")
            }),
            bwrap,
            runs_as: rustix::process::geteuid().is_root().then_some(NOBODY),
            folders: ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"]
                .into_iter()
                .filter_map(|path| Some((path, folder(path)?)))
                .collect(),
        })
    }
}

fn folder(path: &str) -> Option<Folder> {
    let metadata = fs::symlink_metadata(path).ok()?;
    if metadata.is_symlink() {
        fs::read_link(path).ok().map(Folder::Link)
    } else {
        metadata.is_dir().then_some(Folder::Own)
    }
}
