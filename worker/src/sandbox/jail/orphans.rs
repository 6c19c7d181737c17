//! What a worker left running that was killed while bubblewrap began.
//!
//! bubblewrap asks to die with the worker, and only then lets process 1 of the sandbox go on. Where the worker dies between
//! the two, process 1 waits for somebody who is gone: it runs nothing and never will, and nobody ends it. The next worker does.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt as _, path::Path};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Kills every process of bubblewrap (`bwrap`, as workers start it) that was started for a worker with this folder.
/// That worker must be gone.
pub(super) fn end(instance: &Path, bwrap: &Path) {
    let Ok(all) = fs::read_dir("/proc") else {
        return;
    };
    for entry in all.flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            continue;
        };
        let is_one = || is_started_for(&entry.path(), instance, bwrap);
        if !is_one() {
            continue;
        }
        // The number may have been given to somebody else meanwhile, and the handle with it.
        if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty())
            && is_one()
            && pidfd_send_signal(&handle, Signal::KILL).is_ok()
        {
            tracing::warn!(
                pid = pid.as_raw_nonzero(),
                "ended what a worker that was killed had left of a sandbox"
            );
        }
    }
}

fn is_started_for(process: &Path, instance: &Path, bwrap: &Path) -> bool {
    let Ok(line) = fs::read(process.join("cmdline")) else {
        return false;
    };
    let mut words = line.split(|byte| *byte == 0);
    words.next() == Some(bwrap.as_os_str().as_bytes())
        && words.any(|word| Path::new(OsStr::from_bytes(word)).starts_with(instance))
}
