//! Where runs have their directories.
//!
//! `<dir>/<instance>/runs/<workspace>/<run>`: an instance is one worker process, which holds a lock on its folder.
//! What a worker left behind that is gone is removed by the next one that starts.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gatewright_schemas::{RunId, WorkspaceId};

use super::{machine::Machine, orphans};
use crate::sandbox::{Program, Unavailable};

/// How long the directory of a run is kept in which nothing was executed. A run that waits for a person is not forgotten sooner.
const KEPT: Duration = Duration::from_hours(72);

/// The made-up files of `/etc`.
const ETC: [(&str, &str, &str); 4] = [
    (
        "passwd",
        "/etc/passwd",
        "sandbox:x:1000:1000::/work:/bin/sh\n",
    ),
    ("group", "/etc/group", "sandbox:x:1000:\n"),
    (
        "nsswitch.conf",
        "/etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files\n",
    ),
    ("hosts", "/etc/hosts", "127.0.0.1 localhost sandbox\n"),
];

/// This worker's folder.
#[derive(Debug)]
pub(super) struct Site {
    dir: PathBuf,
    instance: PathBuf,
    /// Who owns the runs' directories; the worker when absent.
    owner: Option<u32>,
    runs: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Directory>>>>,
    starting: Mutex<()>,
    /// Held for as long as this lives.
    _lock: File,
}

/// The directory of one run.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    owner: Option<u32>,
    used: Instant,
}

impl Site {
    /// Makes this worker's folder, and removes those of workers that are gone.
    pub(super) fn open(
        dir: Option<&Path>,
        machine: &Machine,
        filter: &[u8],
    ) -> Result<Self, Unavailable> {
        let owner = machine.runs_as;
        let own_id = rustix::process::geteuid().as_raw();
        let dir = dir.map_or_else(
            || std::env::temp_dir().join(format!("gatewright-sandbox-{own_id}")),
            Path::to_owned,
        );
        let failed = |error: io::Error| {
            Unavailable::new(
                format!("cannot use the folder `{}`: {error}", dir.display()),
                "name another one with `sandbox_dir`, which belongs to the worker's user alone and can be passed through by all",
            )
        };
        make_own(&dir, own_id).map_err(failed)?;
        sweep(&dir, &machine.bwrap).map_err(failed)?;
        let (instance, lock) = new_instance(&dir, owner).map_err(failed)?;
        let fill = || {
            open_folder(&instance.join("runs"))?;
            open_folder(&instance.join("programs"))?;
            open_folder(&instance.join("etc"))?;
            for (name, _, content) in ETC {
                write_new(&instance.join("etc").join(name), 0o444, content.as_bytes())?;
            }
            write_new(&instance.join("filter"), 0o400, filter)
        };
        fill().map_err(failed)?;
        Ok(Self {
            dir,
            instance,
            owner,
            runs: Mutex::default(),
            starting: Mutex::default(),
            _lock: lock,
        })
    }

    /// The folder of all workers' folders.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The filter of system calls, opened anew: each sandbox reads its own.
    pub(super) fn filter(&self) -> io::Result<File> {
        File::open(self.instance.join("filter"))
    }

    /// Held while programs are copied and processes started: a process that another thread is just starting
    /// would hold a copy open for writing, which then cannot be executed.
    pub(super) fn starting(&self) -> MutexGuard<'_, ()> {
        self.starting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is seen as which file of `/etc`.
    pub(super) fn etc(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        ETC.iter()
            .map(|(name, seen_as, _)| (*seen_as, self.instance.join("etc").join(name)))
    }

    /// A copy of the program that nobody else can change. Only while [`Self::starting`] is held.
    pub(super) fn copy_of(&self, program: &Program) -> io::Result<PathBuf> {
        let name: String = program
            .digest()
            .as_str()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let copy = self.instance.join("programs").join(name);
        if !copy.exists() {
            // Renamed into place when it is whole.
            let unfinished = copy.with_extension("unfinished");
            write_new(&unfinished, 0o555, program.bytes())?;
            fs::rename(&unfinished, &copy)?;
        }
        Ok(copy)
    }

    /// The directory of a run, which need not be there yet.
    pub(super) async fn directory(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
    ) -> Arc<tokio::sync::Mutex<Directory>> {
        let name = name_of(workspace, run);
        let (directory, idle) = {
            let mut runs = self.lock();
            let idle: Vec<String> = runs
                .iter()
                .filter(|(other, directory)| **other != name && is_idle(directory))
                .map(|(name, _)| name.clone())
                .collect();
            let idle: Vec<_> = idle.iter().filter_map(|name| runs.remove(name)).collect();
            let directory = runs.entry(name.clone()).or_insert_with(|| {
                Arc::new(tokio::sync::Mutex::new(Directory {
                    path: self.instance.join("runs").join(&name),
                    owner: self.owner,
                    used: Instant::now(),
                }))
            });
            (Arc::clone(directory), idle)
        };
        for directory in idle {
            directory.lock().await.remove();
        }
        directory
    }

    /// Removes a run's directory, once nothing runs in it.
    pub(super) async fn forget(&self, workspace: &WorkspaceId, run: &RunId) {
        let directory = self.lock().remove(&name_of(workspace, run));
        if let Some(directory) = directory {
            directory.lock().await.remove();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<Directory>>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        remove_tree(&self.instance);
    }
}

impl Directory {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it unless it is there, and says whether it was made.
    pub(super) fn ensure(&mut self) -> Result<bool, Unavailable> {
        self.used = Instant::now();
        let make = || {
            if let Some(above) = self.path.parent() {
                open_folder(above)?;
            }
            match DirBuilder::new().mode(0o700).create(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
                made => made?,
            }
            if let Some(owner) = self.owner {
                chown(&self.path, Some(owner), Some(owner))?;
            }
            Ok(true)
        };
        make().map_err(|error: io::Error| {
            Unavailable::new(
                format!("cannot make the run's directory: {error}"),
                "see whether the disk of `sandbox_dir` is full",
            )
        })
    }

    /// Removes it with everything in it.
    pub(super) fn remove(&mut self) {
        remove_tree(&self.path);
    }
}

fn name_of(workspace: &WorkspaceId, run: &RunId) -> String {
    // Both are single words of letters, digits, `-` and `_`, never a way up.
    format!("{workspace}/{run}")
}

fn is_idle(directory: &Arc<tokio::sync::Mutex<Directory>>) -> bool {
    directory
        .try_lock()
        .is_ok_and(|directory| directory.used.elapsed() > KEPT)
}

/// A folder that is the worker's own, and that nobody else can put something into.
fn make_own(dir: &Path, own_id: u32) -> io::Result<()> {
    if fs::symlink_metadata(dir).is_err() {
        DirBuilder::new().recursive(true).mode(0o711).create(dir)?;
        // Whatever the umask.
        fs::set_permissions(dir, Permissions::from_mode(0o711))?;
    }
    // Not through a symbolic link, which somebody may have left there.
    let found = fs::symlink_metadata(dir)?;
    if !found.is_dir() || found.uid() != own_id || found.mode() & 0o022 != 0 {
        return Err(io::Error::other(
            "it is there already, and is no folder of the worker's user that nobody else can write to",
        ));
    }
    Ok(())
}

/// A folder that can be passed through and is the worker's to write to. It may be there already.
fn open_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o711).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    // Whatever the umask.
    fs::set_permissions(path, Permissions::from_mode(0o711))
}

fn write_new(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    // One that a failed attempt left.
    let _ = fs::remove_file(path);
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.set_permissions(Permissions::from_mode(mode))
}

fn new_instance(dir: &Path, owner: Option<u32>) -> io::Result<(PathBuf, File)> {
    let pid = std::process::id();
    for number in 0..1_000 {
        let instance = dir.join(format!("{pid}-{number}"));
        match DirBuilder::new().mode(0o700).create(&instance) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            made => made?,
        }
        // Held before it is seen: whoever finds a lock that nobody holds takes the folder for a dead worker's.
        let unseen = instance.join("lock.new");
        let lock = File::create(&unseen)?;
        lock.lock()?;
        fs::rename(&unseen, instance.join("lock"))?;
        // Passed through by whom commands run as, and by nobody else: a command can open its own directory to all.
        if let Some(owner) = owner {
            chown(&instance, None, Some(owner))?;
            fs::set_permissions(&instance, Permissions::from_mode(0o710))?;
        }
        return Ok((instance, lock));
    }
    Err(io::Error::other("there are too many folders in it"))
}

/// Removes the folders of workers that are gone: nobody holds their locks.
fn sweep(dir: &Path, bwrap: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let instance = entry?.path();
        let Ok(lock) = File::open(instance.join("lock")) else {
            // Somebody is just making it, or died over that.
            let is_old = fs::symlink_metadata(&instance)
                .and_then(|found| found.modified())
                .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > KEPT));
            if is_old {
                remove_tree(&instance);
            }
            continue;
        };
        if lock.try_lock().is_ok() {
            orphans::end(&instance, bwrap);
            remove_tree(&instance);
        }
    }
    Ok(())
}

/// Removes a folder with everything in it, following no link. What cannot be removed is logged, and stays.
fn remove_tree(path: &Path) {
    // A command may have closed its own folders.
    let removed = remove(path).or_else(|_| open_up(path).and_then(|()| remove(path)));
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::error!(path = %path.display(), %error, "cannot remove a directory of the sandbox");
        }
        _ => {}
    }
}

/// The system's own program: a command may nest folders deeper than a stack here, or the descriptors of this process, would reach.
fn remove(path: &Path) -> io::Result<()> {
    let done = Command::new("/usr/bin/rm")
        .args(["--recursive", "--force", "--one-file-system", "--"])
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if done.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("`rm` ended with {done}")))
    }
}

/// Makes all folders below (and with) this one writable. Nothing may be running in it.
fn open_up(path: &Path) -> io::Result<()> {
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            // Of the entry itself: a link is no folder.
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}
