//! Runs a command beside a private, empty Postgres that is gone when the command has ended.
//!
//! ```text
//! cargo run -p gatewright-local --example with_postgres -- COMMAND [ARGUMENT…]
//! ```
//!
//! The command finds it by `DATABASE_URL`, and the folder of its programs in front on `PATH`.
//! The exit code is the command's.

use std::env;
use std::error::Error;
use std::process::ExitCode;

use gatewright_local::{Binaries, Postgres, PostgresOptions};

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    let program = arguments.next().ok_or("name a command to run")?;

    let binaries = Binaries::find()?;
    let dir = tempfile::Builder::new().prefix("gatewright-").tempdir()?;
    let options = PostgresOptions {
        data_dir: dir.path().to_owned(),
        port: None,
        durable: false,
    };
    let mut postgres = Postgres::start(&binaries, options).await?;

    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(binaries.postgres_bin).chain(env::split_paths(&path));
    let status = tokio::process::Command::new(program)
        .args(arguments)
        .env("DATABASE_URL", postgres.url("postgres"))
        .env("PATH", env::join_paths(folders)?)
        .status()
        .await?;

    postgres.stop().await?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
