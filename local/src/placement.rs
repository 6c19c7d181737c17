//! Where a Postgres cluster's files are.
//!
//! Below the data directory, in `pgdata`; except when we are root and the user that Postgres runs
//! as cannot get there, as with a checkout in `/root` or a temporary directory of mode 0700.
//! Then they are in a fresh `gatewright-<random>` in `/var/lib` (data that is to last) or `/var/tmp`
//! (data that may be lost; removed with the server), and `pgdata` is a symbolic link to them.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use crate::error::StartError;
use crate::user::{self, User};

const LASTING: &str = "/var/lib";
const PASSING: &str = "/var/tmp";

/// The directory of a cluster, which may be empty still.
#[derive(Debug)]
pub(crate) struct Placement {
    pub(crate) pgdata: PathBuf,
    /// A directory outside the data directory, to be removed when the server is dropped.
    remove: Option<PathBuf>,
}

impl Placement {
    /// Finds the cluster's directory, or makes it. `data_dir` is absolute and exists.
    pub(crate) fn find(
        data_dir: &Path,
        user: Option<&User>,
        durable: bool,
    ) -> Result<Self, StartError> {
        let pgdata = data_dir.join("pgdata");
        if pgdata.exists() {
            let pgdata = pgdata
                .canonicalize()
                .map_err(StartError::file("find", &pgdata))?;
            return Ok(Self::of(pgdata, data_dir, durable));
        }
        // A link to files that somebody has cleaned away; the log of this start shows a new cluster.
        if pgdata.is_symlink() {
            fs::remove_file(&pgdata).map_err(StartError::file("remove", &pgdata))?;
        }
        if let Some(user) = user
            && !user::can_reach(data_dir, user)
        {
            let parent = Path::new(if durable { LASTING } else { PASSING });
            fs::create_dir_all(parent).map_err(StartError::file("create", parent))?;
            let outside = parent.join(format!("gatewright-{}", random_token(parent)?));
            make(&outside, 0o711)?;
            symlink(outside.join("pgdata"), &pgdata)
                .map_err(StartError::file("create", &pgdata))?;
            let pgdata = outside.join("pgdata");
            make(&pgdata, 0o700)?;
            user::give(&pgdata, Some(user))?;
            return Ok(Self::of(pgdata, data_dir, durable));
        }
        make(&pgdata, 0o700)?;
        user::give(&pgdata, user)?;
        Ok(Self::of(pgdata, data_dir, durable))
    }

    fn of(pgdata: PathBuf, data_dir: &Path, durable: bool) -> Self {
        let outside = !pgdata.starts_with(data_dir) && pgdata.starts_with(PASSING) && !durable;
        let remove = pgdata.parent().filter(|_| outside).map(Path::to_owned);
        Self { pgdata, remove }
    }

    /// Removes what lies outside the data directory and may be lost.
    pub(crate) fn clear_away(&self) {
        if let Some(folder) = &self.remove {
            // Left behind at worst; it is in a temporary directory.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Makes one directory, which must not exist: in a directory that everybody may write to, one that
/// is there already could be somebody else's.
pub(crate) fn make(path: &Path, mode: u32) -> Result<(), StartError> {
    fs::DirBuilder::new()
        .mode(mode)
        .create(path)
        .map_err(StartError::file("create", path))
}

/// 32 hexadecimal digits that nobody can guess. `place` is for the message.
pub(crate) fn random_token(place: &Path) -> Result<String, StartError> {
    use std::fmt::Write as _;
    use std::io::Read as _;
    let mut bytes = [0_u8; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(StartError::file("choose a random name in", place))?;
    let mut token = String::with_capacity(32);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(token, "{byte:02x}");
    }
    Ok(token)
}
