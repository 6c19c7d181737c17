//! The processes of a sandbox, as the system tells of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// All processes in the sandbox: first its process 1, which is bubblewrap's own, then the command's.
pub(super) fn inside(outer: u32) -> Vec<u32> {
    let mut found: Vec<u32> = Vec::new();
    let mut next: Vec<u32> = children(outer);
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
    children(outer).first().is_some_and(|first| {
        !children(*first).is_empty() && state(&PathBuf::from(format!("/proc/{first}"))) == Some('S')
    })
}

/// Where memory is short the system is to kill what is in the sandbox, and nobody else. Children inherit it.
pub(super) fn offer_to_the_killer(outer: u32) {
    for pid in inside(outer) {
        // Whoever may not be told is not made worse by it.
        let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), "1000");
    }
}

/// Where the system tells of the process: with its first thread, or where that has ended, with another. Nowhere when all have.
///
/// The threads of a process share their memory and their open files: the filter of system calls refuses what parts them.
pub(super) fn living(pid: u32) -> Option<PathBuf> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    if runs(&process) {
        return Some(process);
    }
    let threads = fs::read_dir(process.join("task")).ok()?;
    threads
        .filter_map(|thread| Some(thread.ok()?.path()))
        .find(|thread| runs(thread))
}

fn runs(thread: &Path) -> bool {
    !matches!(state(thread), None | Some('Z' | 'X'))
}

/// The letter that tells what a thread does; of one that is gone there is none.
fn state(thread: &Path) -> Option<char> {
    let stat = fs::read_to_string(thread.join("stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
