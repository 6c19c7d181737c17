//! Whom Postgres runs as when we are root.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::error::StartError;

/// An unprivileged user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The user to drop to: nobody needs one but root.
pub(crate) fn to_drop_to() -> Result<Option<User>, StartError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let path = Path::new("/etc/passwd");
    let passwd = fs::read_to_string(path).map_err(StartError::file("read", path))?;
    ["postgres", "_postgres", "nobody"]
        .into_iter()
        .find_map(|name| entry(&passwd, name))
        .map(Some)
        .ok_or(StartError::NoUnprivilegedUser)
}

fn entry(passwd: &str, wanted: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != wanted {
            return None;
        }
        let uid = number(fields.nth(1)?)?;
        let gid = number(fields.next()?)?;
        // Somebody may have made `nobody` another name of root; that would be refused anyway.
        (uid != 0).then_some(User { uid, gid })
    })
}

/// macOS writes `nobody` as -2.
fn number(text: &str) -> Option<u32> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<i32>().ok().map(i32::cast_unsigned))
}

/// Makes `command` run as that user. The supplementary groups of root go too: the standard library
/// clears them when root sets another uid.
pub(crate) fn run_as(command: &mut Command, user: Option<&User>) {
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
}

/// Hands a file or directory over.
pub(crate) fn give(path: &Path, user: Option<&User>) -> Result<(), StartError> {
    let Some(user) = user else { return Ok(()) };
    chown(path, Some(user.uid), Some(user.gid))
        .map_err(StartError::file("change the owner of", path))
}

/// Whether the user may pass through `path` and every directory above it.
pub(crate) fn can_reach(path: &Path, user: &User) -> bool {
    path.ancestors().all(|folder| {
        fs::metadata(folder).is_ok_and(|of| {
            let execute = if of.uid() == user.uid {
                0o100
            } else if of.gid() == user.gid {
                0o010
            } else {
                0o001
            };
            of.mode() & execute != 0
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_the_password_file_is_found_by_its_whole_name() {
        let passwd =
            "root:x:0:0::/:/bin/sh\nnobody2:x:9:9::/:\nnobody:*:-2:-2:U:/:/usr/bin/false\n";
        let nobody = User {
            uid: u32::MAX - 1,
            gid: u32::MAX - 1,
        };
        assert_eq!(entry(passwd, "nobody"), Some(nobody));
        assert_eq!(entry(passwd, "root"), None, "root is not unprivileged");
        assert_eq!(entry(passwd, "postgres"), None);
    }
}
