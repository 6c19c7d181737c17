//! New Postgres clusters: by `initdb`, or by copying what `initdb` has made before.
//!
//! `initdb` takes seconds on a small machine, a copy a fraction of one. A test run starts dozens
//! of servers, so those whose data may be lost are copies of one template per user and version, in
//! `/var/tmp`. Everybody can write there, so a template is used only when it is a directory that
//! we own, and its name is given to it only when it is complete.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::error::StartError;
use crate::placement::{make, random_token};
use crate::user::{self, User};

/// The cluster's first and only role.
pub(crate) const SUPERUSER: &str = "gatewright";

/// Where templates are. Not `/tmp`, which is memory on many systems.
const PARENT: &str = "/var/tmp";

/// Rebuilt when older: systems clean `/var/tmp` file by file after some weeks.
const TEMPLATE_LIFE: Duration = Duration::from_hours(7 * 24);

/// What is needed to create a cluster.
pub(crate) struct Creation<'a> {
    /// The folder of `initdb`.
    pub(crate) postgres_bin: &'a Path,
    /// The version, as in `15.18`; part of the template's name.
    pub(crate) version: &'a str,
    /// Whom the files shall belong to, when not to us.
    pub(crate) user: Option<&'a User>,
}

impl Creation<'_> {
    /// Creates a cluster in the empty directory `pgdata`, and writes its password to `password_file`.
    pub(crate) fn create(&self, pgdata: &Path, password_file: &Path) -> Result<(), StartError> {
        let password = random_token(pgdata)?;
        write_private(password_file, &password)?;
        self.initdb(pgdata, &password)
    }

    /// The same by copying the template, which is made first when there is none.
    pub(crate) fn copy(&self, pgdata: &Path, password_file: &Path) -> Result<(), StartError> {
        let own_uid = rustix::process::geteuid().as_raw();
        let runs_as = self.user.map_or(own_uid, |user| user.uid);
        let name = format!("gatewright-initdb-{}-{own_uid}-{runs_as}", self.version);
        let template = Path::new(PARENT).join(&name);

        // Many may copy at once; who replaces the template waits for them, and they for him.
        let lock = open_lock(&Path::new(PARENT).join(format!("{name}.lock")))?;
        let locking = StartError::file("lock", &template);
        if is_usable(&template, own_uid) {
            lock.lock_shared().map_err(locking)?;
        } else {
            lock.lock().map_err(locking)?;
        }
        // Looked at again: somebody may have made it, or thrown it away, while we waited.
        if !is_usable(&template, own_uid) {
            lock.lock().map_err(StartError::file("lock", &template))?;
            self.replace(&template)?;
        }

        let password = template.join("password");
        let password =
            fs::read_to_string(&password).map_err(StartError::file("read", &password))?;
        write_private(password_file, &password)?;
        copy_folder(&template.join("pgdata"), pgdata, self.user)
    }

    /// Makes the template anew, under another name until it is complete.
    fn replace(&self, template: &Path) -> Result<(), StartError> {
        let parent = Path::new(PARENT);
        let building = parent.join(format!("gatewright-{}", random_token(parent)?));
        make(&building, 0o711)?;
        let pgdata = building.join("pgdata");
        make(&pgdata, 0o700)?;
        user::give(&pgdata, self.user)?;
        let created = self.create(&pgdata, &building.join("password"));
        if created.is_err() {
            let _ = fs::remove_dir_all(&building);
            return created;
        }
        if template.exists() {
            fs::remove_dir_all(template).map_err(StartError::file("remove", template))?;
        }
        fs::rename(&building, template).map_err(StartError::file("create", template))
    }

    fn initdb(&self, pgdata: &Path, password: &str) -> Result<(), StartError> {
        // Beside pgdata, readable for whom initdb runs as, and gone when initdb is done.
        let for_initdb = pgdata.with_file_name("initdb-password");
        write_private(&for_initdb, password)?;
        user::give(&for_initdb, self.user)?;
        let program = self.postgres_bin.join("initdb");
        let mut command = Command::new(&program);
        command
            .args(["--encoding=UTF8", "--locale=C", "--auth=scram-sha-256"])
            .arg(format!("--username={SUPERUSER}"))
            .arg("--pwfile")
            .arg(&for_initdb)
            .arg("--pgdata")
            .arg(pgdata)
            .current_dir(pgdata)
            .stdin(Stdio::null());
        user::run_as(&mut command, self.user);
        let output = command.output();
        let _ = fs::remove_file(&for_initdb);
        let output = output.map_err(|source| StartError::Spawn { program, source })?;
        if output.status.success() {
            return Ok(());
        }
        Err(StartError::Initdb {
            path: pgdata.to_owned(),
            status: output.status,
            output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }
}

fn open_lock(path: &Path) -> Result<fs::File, StartError> {
    fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(StartError::file("open", path))
}

fn is_usable(template: &Path, own_uid: u32) -> bool {
    fs::symlink_metadata(template).is_ok_and(|of| {
        let young = of
            .modified()
            .ok()
            .and_then(|at| at.elapsed().ok())
            .is_none_or(|age| age < TEMPLATE_LIFE);
        of.is_dir() && of.uid() == own_uid && young
    })
}

/// Writes a file that only its owner can read.
fn write_private(path: &Path, text: &str) -> Result<(), StartError> {
    let _ = fs::remove_file(path);
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(StartError::file("write", path))
}

/// Copies the content of one folder into another that exists, owners changed.
fn copy_folder(from: &Path, to: &Path, user: Option<&User>) -> Result<(), StartError> {
    let entries = fs::read_dir(from).map_err(StartError::file("read", from))?;
    for entry in entries {
        let entry = entry.map_err(StartError::file("read", from))?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type().map_err(StartError::file("read", from))?;
        if kind.is_dir() {
            make(&target, 0o700)?;
            copy_folder(&entry.path(), &target, user)?;
        } else {
            fs::copy(entry.path(), &target).map_err(StartError::file("write", &target))?;
        }
        user::give(&target, user)?;
    }
    Ok(())
}
