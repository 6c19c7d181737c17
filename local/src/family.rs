//! The children of a process.
//!
//! Postgres puts every one of its processes into a session of its own, so a signal to the
//! postmaster's process group reaches the postmaster alone; its children must be looked up.

use rustix::process::Pid;

/// The living direct children of `parent`.
///
/// Only while the parent is stopped, and so cannot reap, does an answer stay true.
pub(crate) fn children(parent: Pid) -> Vec<Pid> {
    all()
        .into_iter()
        .filter(|(_, its_parent)| *its_parent == parent.as_raw_nonzero().get())
        .filter_map(|(pid, _)| Pid::from_raw(pid))
        .collect()
}

/// Every process of the machine with its parent.
#[cfg(target_os = "linux")]
fn all() -> Vec<(i32, i32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // `pid (name) state ppid …`, and the name may contain anything, parentheses too.
            let (_, rest) = stat.rsplit_once(')')?;
            Some((pid, rest.split_whitespace().nth(1)?.parse().ok()?))
        })
        .collect()
}

/// Every process of the machine with its parent.
#[cfg(not(target_os = "linux"))]
fn all() -> Vec<(i32, i32)> {
    let output = std::process::Command::new("ps")
        .args(["-A", "-o", "pid=,ppid="])
        .output();
    let Ok(output) = output else {
        return Vec::new();
    };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace();
            Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
        })
        .collect()
}
