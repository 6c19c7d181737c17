//! What a command holds: files with a name, files without one, memory.
//!
//! The limits of the system are for single processes, so somebody has to add up. It is looked at some times a second,
//! so a command may for a moment have more than its limit; it does not live to enjoy it.
//!
//! No link is ever followed in a run's directory. Whoever cannot be looked into is taken to have too much.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, statat, statvfs},
    io::Errno,
};

use crate::sandbox::{Cut, Limits};

/// How many looks in a row may fail: while a process begins it cannot be looked into.
const BLIND: u32 = 5;

/// Bytes of a block in which files are counted.
const BLOCK: u64 = 512;

/// Looks at what one command holds.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    directory: PathBuf,
    device: u64,
    disk: u64,
    files: u64,
    memory: u64,
    file_size: u64,
    blind: u32,
    /// How long the last look took.
    pub(super) took: Duration,
}

/// What files weigh.
#[derive(Debug, Default)]
struct Weight {
    bytes: u64,
    files: u64,
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
            blind: 0,
            took: Duration::ZERO,
        })
    }

    /// Whether the command has too much of something. `outer` is the process of bubblewrap.
    pub(super) fn look(&mut self, outer: u32) -> Option<Cut> {
        let began = Instant::now();
        let found = self.weigh(outer);
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
        let mut memory = 0;
        let mut seen = HashSet::new();
        let mut has_looked_at_temporary = false;
        for pid in commands(outer) {
            let looked = (|| {
                memory += memory_of(pid)?;
                self.weigh_nameless(pid, &mut seen, &mut weight)?;
                if !has_looked_at_temporary {
                    weight.files += files_in_memory(pid)?;
                    has_looked_at_temporary = true;
                }
                Ok::<_, io::Error>(())
            })();
            match looked {
                Err(error) if !is_gone(pid) => return Err(error),
                _ => {}
            }
        }
        if memory > self.memory {
            return Ok(Some(Cut::Memory { limit: self.memory }));
        }
        Ok(self.too_much(&weight))
    }

    fn too_much(&self, weight: &Weight) -> Option<Cut> {
        if weight.bytes > self.disk {
            Some(Cut::Disk { limit: self.disk })
        } else if weight.files > self.files {
            Some(Cut::Files { limit: self.files })
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

    /// Adds the files that the process holds although they have no name any more: open ones, and mapped ones.
    fn weigh_nameless(
        &self,
        pid: u32,
        seen: &mut HashSet<u64>,
        weight: &mut Weight,
    ) -> io::Result<()> {
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            // Of the open file itself, whatever it is called.
            let Ok(found) = fs::metadata(entry?.path()) else {
                continue;
            };
            if found.is_file()
                && found.nlink() == 0
                && found.dev() == self.device
                && seen.insert(found.ino())
            {
                weight.bytes += found.blocks() * BLOCK;
            }
        }
        for line in fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
            let Some((device, inode)) = nameless(line) else {
                continue;
            };
            // Nobody tells how large it is; never more than a file may be.
            if device == self.device && seen.insert(inode) {
                weight.bytes += self.file_size;
            }
        }
        Ok(())
    }
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

/// Bytes of memory that are the process's own, or shared by processes and in no file.
fn memory_of(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes = status.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_counted = matches!(name, "RssAnon" | "RssShmem" | "VmSwap");
        let value = value.trim().strip_suffix(" kB")?;
        is_counted.then(|| value.parse::<u64>().ok()).flatten()
    });
    Ok(kilobytes.sum::<u64>() * 1024)
}

/// How many files there are in the sandbox's `/tmp` and `/dev/shm`, whose bytes the system limits.
fn files_in_memory(pid: u32) -> io::Result<u64> {
    let mut files = 0;
    for folder in ["tmp", "dev/shm"] {
        let found = statvfs(format!("/proc/{pid}/root/{folder}"))?;
        files += found.f_files.saturating_sub(found.f_ffree);
    }
    Ok(files)
}

/// The processes of the command: all in the sandbox but its process 1, which is bubblewrap's own.
fn commands(outer: u32) -> Vec<u32> {
    let first: Vec<u32> = children(outer);
    let mut found: Vec<u32> = Vec::new();
    let mut next: Vec<u32> = first.into_iter().flat_map(children).collect();
    while let Some(pid) = next.pop() {
        found.push(pid);
        next.extend(children(pid));
    }
    found
}

/// The children of all threads of a process.
pub(super) fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .flat_map(|list| {
            let pids: Vec<u32> = list
                .split_ascii_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect();
            pids
        })
        .collect()
}

/// Whether process 1 of the sandbox has a child and sleeps until that ends.
pub(super) fn has_settled(outer: u32) -> bool {
    children(outer)
        .first()
        .is_some_and(|first| !children(*first).is_empty() && state(*first) == Some('S'))
}

/// The letter that tells what the process does; of one that is gone there is none.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whether the process has ended.
fn is_gone(pid: u32) -> bool {
    matches!(state(pid), None | Some('Z' | 'X'))
}
