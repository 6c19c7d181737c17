//! Where the server binaries are.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest nats-server that can run a fleet.
const NATS_MINIMUM: (u32, u32) = (2, 12);
/// The oldest Postgres that is supported.
const POSTGRES_MINIMUM: u32 = 15;

const NATS_VARIABLE: &str = "GATEWRIGHT_NATS_SERVER";
const POSTGRES_VARIABLE: &str = "GATEWRIGHT_PG_BIN";

/// The programs that this crate starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The nats-server program, 2.12 or newer.
    pub nats_server: PathBuf,
    /// The folder that holds `initdb` and `postgres`, 15 or newer.
    pub postgres_bin: PathBuf,
}

/// A server binary that is not there, or not usable.
#[derive(Debug, thiserror::Error)]
pub enum MissingBinary {
    /// No usable nats-server anywhere.
    #[error(
        "no nats-server 2.12 or newer was found; run `make setup`, or set {NATS_VARIABLE} to one"
    )]
    NatsServer,
    /// No usable Postgres anywhere.
    #[error(
        "no Postgres 15 or newer (initdb, postgres) was found; run `make setup`, \
         or set {POSTGRES_VARIABLE} to the folder that holds it"
    )]
    Postgres,
    /// An environment variable names something that does not work.
    #[error(
        "{variable} is `{}`, which is not {wanted}; correct it, or unset it and run `make setup`",
        .value.display()
    )]
    Unusable {
        /// The environment variable.
        variable: &'static str,
        /// What it says.
        value: PathBuf,
        /// What it should name.
        wanted: &'static str,
    },
}

impl Binaries {
    /// Finds both servers.
    ///
    /// Each is looked for in this order: the environment (`GATEWRIGHT_NATS_SERVER`, a program, and
    /// `GATEWRIGHT_PG_BIN`, a folder), what `make setup` installed or wrote down in `.tools` of the
    /// current directory, of the running program's, or of any directory above them, then `PATH`,
    /// then the usual places of Debian, Red Hat and Homebrew.
    /// What is too old is passed over, except where the environment names it: that is an error.
    pub fn find() -> Result<Self, MissingBinary> {
        Ok(Self {
            nats_server: find_nats()?,
            postgres_bin: find_postgres()?,
        })
    }
}

fn find_nats() -> Result<PathBuf, MissingBinary> {
    if let Some(value) = variable(NATS_VARIABLE) {
        return if is_good_nats(&value) {
            Ok(value)
        } else {
            Err(MissingBinary::Unusable {
                variable: NATS_VARIABLE,
                value,
                wanted: "a nats-server 2.12 or newer",
            })
        };
    }
    let installed = tool_folders().into_iter().map(|tools| tools.join("bin"));
    installed
        .chain(path_folders())
        .map(|folder| folder.join("nats-server"))
        .find(|program| is_good_nats(program))
        .ok_or(MissingBinary::NatsServer)
}

fn find_postgres() -> Result<PathBuf, MissingBinary> {
    if let Some(value) = variable(POSTGRES_VARIABLE) {
        return good_postgres(&value).ok_or(MissingBinary::Unusable {
            variable: POSTGRES_VARIABLE,
            value,
            wanted: "a folder with initdb and postgres, 15 or newer",
        });
    }
    let written_down = tool_folders()
        .into_iter()
        .filter_map(|tools| written_down(&tools.join("env")));
    written_down
        .chain(path_folders())
        .chain(usual_postgres_folders())
        .find_map(|folder| good_postgres(&folder))
        .ok_or(MissingBinary::Postgres)
}

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn path_folders() -> Vec<PathBuf> {
    env::var_os("PATH")
        .map(|path| env::split_paths(&path).collect())
        .unwrap_or_default()
}

/// Every `.tools` above the current directory and above the running program: a test binary and
/// `target/debug/gatewright` find the tree they were built in, wherever they are started.
fn tool_folders() -> Vec<PathBuf> {
    let program = env::current_exe().ok();
    [env::current_dir().ok(), program]
        .into_iter()
        .flatten()
        .flat_map(|start| {
            start
                .ancestors()
                .map(|folder| folder.join(".tools"))
                .filter(|tools| tools.is_dir())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The Postgres folder that `scripts/setup` wrote down.
fn written_down(env_file: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(env_file).ok()?;
    text.lines().find_map(|line| {
        let value = line
            .trim_start_matches("export ")
            .strip_prefix(POSTGRES_VARIABLE)?
            .strip_prefix('=')?;
        Some(PathBuf::from(value.trim_matches('\'')))
    })
}

/// Where packages put Postgres without putting it on `PATH`, the newest version first.
fn usual_postgres_folders() -> Vec<PathBuf> {
    let parents = [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/opt/homebrew/opt", "postgresql@"),
        ("/usr/local/opt", "postgresql@"),
        ("/Applications/Postgres.app/Contents/Versions", ""),
    ];
    let mut found: Vec<(u32, PathBuf)> = parents
        .into_iter()
        .flat_map(|(parent, prefix)| versions_in(Path::new(parent), prefix))
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, folder)| folder).collect()
}

fn versions_in(parent: &Path, prefix: &str) -> Vec<(u32, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect()
}

fn is_good_nats(program: &Path) -> bool {
    let version =
        version_line(program, "nats-server: v").or_else(|| version_line(program, "nats-server: "));
    version
        .as_deref()
        .and_then(two_numbers)
        .is_some_and(|version| version >= NATS_MINIMUM)
}

/// The folder that really holds the programs: one on `PATH` often has symbolic links to some of them.
fn good_postgres(folder: &Path) -> Option<PathBuf> {
    let program = folder.join("postgres").canonicalize().ok()?;
    let real = program.parent()?;
    let (major, _) = postgres_version(real)?;
    (major >= POSTGRES_MINIMUM && real.join("initdb").is_file()).then(|| real.to_owned())
}

/// Major version, and the whole version as the binary prints it (`15`, `15.18 (Debian 15.18-0)`).
pub(crate) fn postgres_version(folder: &Path) -> Option<(u32, String)> {
    let version = version_line(&folder.join("postgres"), "postgres (PostgreSQL) ")?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((digits.parse().ok()?, version))
}

/// Whether this nats-server version (`2.15.1`, `2.12.0-beta`) is one a fleet can run on.
pub(crate) fn is_supported_nats_version(version: &str) -> bool {
    two_numbers(version).is_some_and(|version| version >= NATS_MINIMUM)
}

fn two_numbers(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// What `program --version` prints after `prefix`.
fn version_line(program: &Path, prefix: &str) -> Option<String> {
    if !program.is_file() {
        return None;
    }
    let output = Command::new(program)
        .arg(OsStr::new("--version"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.lines().next()?.strip_prefix(prefix)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for good in ["2.12.0", "2.15.1", "2.100.0-beta.1", "3.0.0"] {
            assert!(is_supported_nats_version(good), "{good}");
        }
        for bad in ["2.9.10", "2.11.99", "1.99.0", "", "latest"] {
            assert!(!is_supported_nats_version(bad), "{bad}");
        }
    }
}
