//! `gatewright health`: whether the role in this container is alive, for health checks.
//!
//! A role whose loop comes round and whose connection stands touches the file that `GATEWRIGHT_HEALTH_FILE` names, every two seconds.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::exit::{Exit, Failure};

/// The variable that names the file.
pub(crate) const FILE: &str = "GATEWRIGHT_HEALTH_FILE";
const TOUCHED_EVERY: Duration = Duration::from_secs(2);
/// A role that was silent for longer is not well.
const SILENT: Duration = Duration::from_secs(10);

/// Say whether the role that shares `GATEWRIGHT_HEALTH_FILE` with this command is alive
#[derive(Debug, Args)]
pub struct HealthArgs {}

/// Says it.
pub fn run() -> Result<Exit> {
    let path = file().ok_or_else(|| {
        Failure::usage(format!(
            "{FILE} is not set: give the role and this command the same file"
        ))
    })?;
    let touched = std::fs::metadata(&path).and_then(|file| file.modified());
    let Ok(touched) = touched else {
        eprintln!("no role has shown that it is alive in `{}`", path.display());
        return Ok(Exit::No);
    };
    let age = SystemTime::now()
        .duration_since(touched)
        .unwrap_or_default();
    if age > SILENT {
        eprintln!("the role was last alive {} s ago", age.as_secs());
        return Ok(Exit::No);
    }
    eprintln!("alive");
    Ok(Exit::Ok)
}

/// Touches the file while `alive` says so, for ever; does nothing where no file is named.
pub async fn show(alive: impl Fn() -> bool) {
    let Some(path) = file() else { return };
    loop {
        if alive()
            && let Err(error) =
                std::fs::write(&path, b"").with_context(|| path.display().to_string())
        {
            tracing::warn!(%error, "cannot show that this role is alive");
        }
        tokio::time::sleep(TOUCHED_EVERY).await;
    }
}

/// The file, where one is named.
pub fn file() -> Option<PathBuf> {
    std::env::var_os(FILE)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}
