//! What a command holds: files with a name, files without one, memory, and what the system keeps in memory for it.
//!
//! The limits of the system are for single processes, so somebody has to add up. It is looked at some times a second,
//! so a command may for a moment have more than its limit; it does not live to enjoy it.
//!
//! No link is ever followed in a run's directory. Whoever cannot be looked into is taken to have too much.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, statat, statvfs},
    io::Errno,
};

use super::processes::{inside, living};
use crate::sandbox::{Cut, Limits};

/// How many looks in a row may fail: while a process begins it cannot be looked into.
const BLIND: u32 = 5;

/// Bytes of a block in which files are counted.
const BLOCK: u64 = 512;

/// Bytes that a pipe holds at most (the filter refuses to make it larger), and a terminal.
const PIPE: u64 = 64 * 1024;

/// More than the system needs to know of one mapping.
const MAPPING: u64 = 1024;

/// The same of a lock on a part of a file.
const LOCK: u64 = 256;

/// Looks at what one command holds.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    directory: PathBuf,
    device: u64,
    disk: u64,
    files: u64,
    memory: u64,
    file_size: u64,
    /// Bytes that half of a pair of sockets holds at most.
    socket: u64,
    blind: u32,
    /// How long the last look took.
    pub(super) took: Duration,
}

/// What files weigh, and memory beside that of processes.
#[derive(Debug, Default)]
struct Weight {
    bytes: u64,
    files: u64,
    memory: u64,
}

impl Watch {
    pub(super) fn over(directory: &Path, limits: &Limits) -> io::Result<Self> {
        Ok(Self {
            directory: directory.to_owned(),
            device: fs::symlink_metadata(directory)?.dev(),
            disk: limits.disk,
            files: limits.files,
            memory: limits.memory,
            file_size: limits.file_size,
            // A message more than its limit may be on its way.
            socket: 2 * send_buffer(),
            blind: 0,
            took: Duration::ZERO,
        })
    }

    /// Whether the command has too much of something. `outer` is the process of bubblewrap.
    pub(super) fn look(&mut self, outer: u32) -> Option<Cut> {
        self.look_by(|watch| watch.weigh(outer))
    }

    /// Whether its processes have too much memory, which takes no longer where there are many files.
    pub(super) fn look_at_memory(&mut self, outer: u32) -> Option<Cut> {
        self.look_by(|watch| watch.weigh_memory(outer))
    }

    /// Whether there is too much in its directory, which takes no longer where its processes hold much.
    pub(super) fn look_at_directory(&mut self) -> Option<Cut> {
        self.look_by(Self::weigh_directory)
    }

    fn look_by(&mut self, weigh: impl FnOnce(&Self) -> io::Result<Option<Cut>>) -> Option<Cut> {
        let began = Instant::now();
        let found = weigh(self);
        self.took = began.elapsed();
        match found {
            Ok(cut) => {
                self.blind = 0;
                cut
            }
            Err(error) => {
                self.blind += 1;
                (self.blind > BLIND).then(|| Cut::Unwatched {
                    reason: error.to_string(),
                })
            }
        }
    }

    /// Whether there is too much in the directory, when nothing runs any more.
    pub(super) fn weigh_directory(&self) -> io::Result<Option<Cut>> {
        Ok(self.too_much(&self.weight_of_directory()?))
    }

    fn weigh(&self, outer: u32) -> io::Result<Option<Cut>> {
        let mut weight = self.weight_of_directory()?;
        if let Some(cut) = self.too_much(&weight) {
            return Ok(Some(cut));
        }
        let mut seen = HashSet::new();
        let mut has_looked_at_temporary = false;
        let all = inside(outer);
        for_each(&all, |process| {
            weight.memory += memory_of(process)?;
            self.weigh_held(process, &mut seen, &mut weight)
        })?;
        // Process 1 begins where it still sees the machine's own folders.
        for_each(all.get(1..).unwrap_or_default(), |process| {
            if !has_looked_at_temporary {
                weight.files += files_in_memory(process)?;
                has_looked_at_temporary = true;
            }
            Ok(())
        })?;
        Ok(self.too_much(&weight))
    }

    fn weigh_memory(&self, outer: u32) -> io::Result<Option<Cut>> {
        let mut weight = Weight::default();
        for_each(&inside(outer), |process| {
            weight.memory += memory_of(process)?;
            Ok(())
        })?;
        Ok(self.too_much(&weight))
    }

    fn too_much(&self, weight: &Weight) -> Option<Cut> {
        if weight.bytes > self.disk {
            Some(Cut::Disk { limit: self.disk })
        } else if weight.files > self.files {
            Some(Cut::Files { limit: self.files })
        } else if weight.memory > self.memory {
            Some(Cut::Memory { limit: self.memory })
        } else {
            None
        }
    }

    /// What is in the run's directory. Stops counting when it is too much.
    fn weight_of_directory(&self) -> io::Result<Weight> {
        // Below the directory, through no link, on no other disk.
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let top = File::open(&self.directory)?;
        let mut weight = Weight::default();
        let mut folders = vec![PathBuf::from(".")];
        while let Some(folder) = folders.pop() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = match openat2(&top, &folder, flags, Mode::empty(), how) {
                // It went away, or became something else.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                opened => opened?,
            };
            for entry in Dir::read_from(&opened)? {
                let entry = entry?;
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                let found = match statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => continue,
                    found => found?,
                };
                weight.files += 1;
                weight.bytes += u64::try_from(found.st_blocks).unwrap_or_default() * BLOCK;
                if self.too_much(&weight).is_some() {
                    return Ok(weight);
                }
                if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                    folders.push(folder.join(OsStr::from_bytes(name.to_bytes())));
                }
            }
        }
        Ok(weight)
    }

    /// Adds the locks that are held on parts of a file: there may be as many as it has bytes.
    fn weigh_locks(&self, told: &Path, weight: &mut Weight) {
        // One that was closed just now holds none.
        let Ok(told) = File::open(told) else { return };
        for line in BufReader::new(told).lines().map_while(Result::ok) {
            if line.starts_with("lock:") {
                weight.memory += LOCK;
            }
            if self.too_much(weight).is_some() {
                break;
            }
        }
    }

    /// Adds the files that the process holds although they have no name any more, open ones and mapped ones; and the memory
    /// that the system has in use for what it holds. `seen` are devices and inodes: others may hold the same.
    fn weigh_held(
        &self,
        process: &Path,
        seen: &mut HashSet<(u64, u64)>,
        weight: &mut Weight,
    ) -> io::Result<()> {
        for entry in fs::read_dir(process.join("fd"))? {
            let entry = entry?;
            // Of the open file itself, whatever it is called.
            let Ok(found) = fs::metadata(entry.path()) else {
                continue;
            };
            if found.is_file() {
                self.weigh_locks(&process.join("fdinfo").join(entry.file_name()), weight);
            }
            let is_nameless = found.nlink() == 0 && found.dev() == self.device;
            let (bytes, memory) = match FileType::from_raw_mode(found.mode()) {
                FileType::RegularFile if is_nameless => (found.blocks() * BLOCK, 0),
                FileType::Socket => (0, self.socket),
                FileType::Fifo => (0, PIPE),
                FileType::CharacterDevice if is_terminal(found.rdev()) => {
                    // All that were made are one file by name.
                    weight.memory += PIPE;
                    continue;
                }
                _ => continue,
            };
            if seen.insert((found.dev(), found.ino())) {
                weight.bytes += bytes;
                weight.memory += memory;
            }
        }
        for line in BufReader::new(File::open(process.join("maps"))?).split(b'\n') {
            weight.memory += MAPPING;
            if self.too_much(weight).is_some() {
                break;
            }
            let line = line?;
            let Some((device, inode)) = nameless(&String::from_utf8_lossy(&line)) else {
                continue;
            };
            // Nobody tells how large it is; never more than a file may be.
            if device == self.device && seen.insert((device, inode)) {
                weight.bytes += self.file_size;
            }
        }
        Ok(())
    }
}

/// Calls it for each of the processes, with where the system tells of it.
///
/// Errors: one that goes on cannot be looked into.
fn for_each(all: &[u32], mut look: impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    for &pid in all {
        let Some(process) = living(pid) else { continue };
        match look(&process) {
            // Not for the reason that it ended just now.
            Err(error) if living(pid).is_some() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Bytes that a socket may have on their way, as this system has it.
fn send_buffer() -> u64 {
    fs::read_to_string("/proc/sys/net/core/wmem_default")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(212_992)
}

/// Whether the device is a terminal or makes one.
fn is_terminal(device: u64) -> bool {
    matches!(rustix::fs::major(device), 5 | 136..=143)
}

/// Device and inode of a file without a name that a line of `/proc/<pid>/maps` is about.
fn nameless(line: &str) -> Option<(u64, u64)> {
    let mut words = line
        .strip_suffix(" (deleted)")?
        .split_ascii_whitespace()
        .skip(3);
    let (major, minor) = words.next()?.split_once(':')?;
    let number = |text| u32::from_str_radix(text, 16).ok();
    let device = rustix::fs::makedev(number(major)?, number(minor)?);
    Some((device, words.next()?.parse().ok()?))
}

/// Bytes of memory that are the process's own, or shared by processes and in no file; and of the tables of its pages.
fn memory_of(process: &Path) -> io::Result<u64> {
    let status = fs::read_to_string(process.join("status"))?;
    let kilobytes = status.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_counted = matches!(name, "RssAnon" | "RssShmem" | "VmSwap" | "VmPTE");
        let value = value.trim().strip_suffix(" kB")?;
        is_counted.then(|| value.parse::<u64>().ok()).flatten()
    });
    Ok(kilobytes.sum::<u64>() * 1024)
}

/// How many files there are in the sandbox's `/tmp` and `/dev/shm`, whose bytes the system limits.
fn files_in_memory(process: &Path) -> io::Result<u64> {
    let mut files = 0;
    for folder in ["tmp", "dev/shm"] {
        let found = statvfs(process.join("root").join(folder))?;
        files += found.f_files.saturating_sub(found.f_ffree);
    }
    Ok(files)
}
