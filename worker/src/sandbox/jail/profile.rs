//! The paths of a profile, each opened once.
//!
//! Between looking at a path and mounting it, a command with a writable path could put a link in its place. So each is
//! opened without following any link, what was opened is looked at, and bubblewrap mounts that or nothing.

use std::{
    collections::HashSet,
    fs::{self, File, Metadata},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use gatewright_policy::EscalatedProfile;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use crate::sandbox::Unavailable;

/// A path that the policy gives.
#[derive(Debug)]
pub(super) struct Opened<'a> {
    /// Where it stands, inside and outside.
    pub(super) path: &'a str,
    /// What stands there. Good for nothing but being mounted.
    pub(super) file: File,
    /// Whether it can be written to.
    pub(super) is_writable: bool,
}

/// Opens all paths of the profile.
///
/// `own` are the worker's own files and folders: no profile opens them up, nor what holds them, nor what is below them.
///
/// Errors: a path is not there, has a link in it, or is the worker's own.
pub(super) fn open<'a>(
    profile: &'a EscalatedProfile,
    own: &[PathBuf],
) -> Result<Vec<Opened<'a>>, Unavailable> {
    let own: Vec<Standing> = own.iter().map(|path| Standing::of(path)).collect();
    let named = &profile.profile;
    let readable = named.readable.iter().map(|path| (path.as_str(), false));
    let writable = named.writable.iter().map(|path| (path.as_str(), true));
    let refused = |path: &str, why: String, remedy: &str| {
        let name = &profile.name;
        Unavailable::new(
            format!("the policy's profile `{name}` names `{path}`, which {why}"),
            remedy,
        )
    };
    readable
        .chain(writable)
        .map(|(path, is_writable)| {
            let how = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let file: File = openat2(CWD, path, flags, Mode::empty(), how)
                .map_err(|error| {
                    refused(
                        path,
                        format!("is not there or has a symbolic link in it ({error})"),
                        "make the path on every worker's machine, without links",
                    )
                })?
                .into();
            let mut standing = Standing::of(Path::new(path));
            // Of what will be mounted, whatever stands there by now.
            standing.itself = file.metadata().ok().as_ref().map(identity);
            if let Some(other) = own.iter().find(|other| standing.touches(other)) {
                return Err(refused(
                    path,
                    format!("would open up the worker's own `{}`", other.path.display()),
                    "give commands a folder that holds nothing of the worker's and is in none of its folders",
                ));
            }
            Ok(Opened { path, file, is_writable })
        })
        .collect()
}

/// A path and what is there, under whatever other name it may be found.
struct Standing {
    path: PathBuf,
    itself: Option<(u64, u64)>,
    above: HashSet<(u64, u64)>,
}

impl Standing {
    fn of(path: &Path) -> Self {
        // What is not there yet is still not to be made by a command.
        let path = path
            .canonicalize()
            .or_else(|_| std::path::absolute(path))
            .unwrap_or_else(|_| path.to_owned());
        let mut all = path
            .ancestors()
            .map(|one| fs::metadata(one).ok().as_ref().map(identity));
        let itself = all.next().flatten();
        let above = all.flatten().collect();
        Self {
            path,
            itself,
            above,
        }
    }

    /// Whether one of the two is, holds or is below the other.
    fn touches(&self, other: &Self) -> bool {
        let holds = |one: &Self, other: &Self| {
            other.path.starts_with(&one.path)
                || one
                    .itself
                    .is_some_and(|id| other.itself == Some(id) || other.above.contains(&id))
        };
        holds(self, other) || holds(other, self)
    }
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}
