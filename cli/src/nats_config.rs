//! `gatewright nats-config`: a server configuration with one user a role and worker, and their seeds.

#![expect(
    clippy::doc_markdown,
    reason = "doc comments of arguments are their help texts, which show backticks as they are"
)]

mod roster;
mod seeds;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;
use gatewright_bus::{Names, permissions::Permissions, server_config};
use gatewright_schemas::{WorkspaceId, WriterId, Zone};
use gatewright_worker::declared;

use crate::{
    context::Context,
    exit::{Exit, Failure},
};
pub use roster::Roster;

const FILE: &str = "nats-server.conf";

/// Write a configuration for nats-server in which every role and worker has a credential of its own.
///
/// Into a directory: nats-server.conf, and `NAME.nk` with the seed of each user, for --nats-nkey.
/// What is there is kept: called again it adds users, and gives workers that are named again other zones.
#[derive(Debug, Args)]
pub struct NatsConfigArgs {
    /// The directory
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A worker and the zones that it may serve: sandbox, supervised, high_stakes
    #[arg(long = "worker", value_name = "NAME=ZONE,ZONE")]
    workers: Vec<String>,
    /// A workspace to which somebody may submit, and do nothing else
    #[arg(long = "submitter", value_name = "WORKSPACE")]
    submitters: Vec<String>,
    /// The subject of a service that is a tool of your own: every worker may ask it
    #[arg(long = "service", value_name = "SUBJECT")]
    services: Vec<String>,
    /// A worker or `submitter-WORKSPACE` that has no credential any more
    #[arg(long, value_name = "NAME")]
    remove: Vec<String>,
    /// Where the server is to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4222")]
    listen: SocketAddr,
    /// Where its monitoring is to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8222")]
    monitor: SocketAddr,
    /// Where the server keeps its data; `jetstream` in the directory when left out
    #[arg(long, value_name = "DIR")]
    store_dir: Option<PathBuf>,
    /// When it syncs to the disk: `always`, or an interval
    #[arg(long, value_name = "WHEN", default_value = "always", value_parser = sync_interval)]
    sync_interval: String,
    /// The server's certificate, PEM: clients must then speak TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A PEM file with the authorities that may vouch for clients: who shows no certificate of theirs is then refused
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
}

/// Runs it.
pub fn run(context: &Context, args: &NatsConfigArgs) -> Result<Exit> {
    let dir = make_dir(&args.out)?;
    let mut roster = Roster::read(&dir)?;
    let removed = args.change(&mut roster, context.settings.names.prefix())?;
    // Everything that may be wrong is found before anything is written.
    let users = roster.users()?;
    let tls = args.tls()?;
    let accounts = accounts(&dir, &roster, &context.settings.names)?;
    roster.write(&dir)?;
    let path = dir.join(FILE);
    write_whole(&path, &args.server(&dir, &tls, &accounts))?;
    for name in &removed {
        let seed = seeds::path(&dir, name);
        fs::remove_file(&seed).with_context(|| format!("cannot remove `{}`", seed.display()))?;
    }
    if context.out.is_json() {
        let users: Vec<_> = users
            .keys()
            .map(|name| serde_json::json!({ "name": name, "nkey": seeds::path(&dir, name) }))
            .collect();
        context
            .out
            .json(&serde_json::json!({ "config": path, "users": users }))?;
        return Ok(Exit::Ok);
    }
    eprintln!(
        "wrote `{}` for {} users; a server that runs takes it on with `nats-server --signal reload`, given twice when a worker or submitter is new",
        path.display(),
        users.len()
    );
    let files = users
        .keys()
        .map(|name| seeds::path(&dir, name).display().to_string());
    context.out.line(files.collect::<Vec<_>>().join("\n"))?;
    Ok(Exit::Ok)
}

/// The block `accounts` for everybody in the roster, whose seeds are made in `dir` where they are missing.
pub fn accounts(dir: &Path, roster: &Roster, names: &Names) -> Result<String> {
    let mut users = Vec::new();
    for (name, role) in roster.users()? {
        users.push(server_config::User {
            public_key: seeds::key(dir, &name)?.public(),
            permissions: Permissions::of(names, &name, &role).tidied(),
            name,
        });
    }
    Ok(server_config::accounts(names, &users))
}

/// Where the seed of the user of this name is.
pub fn nkey(dir: &Path, name: &str) -> Result<PathBuf> {
    Ok(seeds::path(dir, &WriterId::new(name)?))
}

impl NatsConfigArgs {
    /// Changes the roster as it is asked for; all that cannot be read is told at once. Answers who was struck off.
    fn change(&self, roster: &mut Roster, prefix: &str) -> Result<Vec<WriterId>> {
        let mut faults = Vec::new();
        let mut removed = Vec::new();
        for text in &self.workers {
            match worker(text) {
                Ok((name, zones)) => roster.put_worker(name, zones),
                Err(fault) => faults.push(fault),
            }
        }
        for text in &self.submitters {
            match WorkspaceId::new(text) {
                Ok(workspace) if workspace.is_reserved() => {
                    faults.push(format!(
                        "`{workspace}` is one of the fleet's own workspaces"
                    ));
                }
                Ok(workspace) => roster.put_submitter(workspace),
                Err(error) => faults.push(error.to_string()),
            }
        }
        for subject in &self.services {
            match declared::subject_fault(subject, prefix) {
                None => roster.put_service(subject.clone()),
                Some(fault) => faults.push(format!("`{subject}` {fault}")),
            }
        }
        for text in &self.remove {
            match WriterId::new(text) {
                Ok(name) if roster.remove(&name) => removed.push(name),
                _ => faults.push(format!("no worker or submitter is named `{text}`")),
            }
        }
        if faults.is_empty() {
            Ok(removed)
        } else {
            Err(Failure::usage(faults.join("\n  ")))
        }
    }

    /// The block `tls`; nothing where the server is to have no certificate.
    fn tls(&self) -> Result<String> {
        let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(String::new());
        };
        let (cert, key) = (quoted(&absolute(cert)?), quoted(&absolute(key)?));
        let verify = match &self.tls_client_ca {
            Some(authorities) => {
                let authorities = quoted(&absolute(authorities)?);
                format!("  ca_file: {authorities}\n  verify: true\n")
            }
            None => String::new(),
        };
        Ok(format!(
            "tls {{\n  cert_file: {cert}\n  key_file: {key}\n{verify}}}\n"
        ))
    }

    fn server(&self, dir: &Path, tls: &str, accounts: &str) -> String {
        let store = self
            .store_dir
            .clone()
            .unwrap_or_else(|| dir.join("jetstream"));
        format!(
            "# Written by `gatewright nats-config`; a change made here does not last.\n\
             server_name: \"gatewright\"\nlisten: \"{}\"\nhttp: \"{}\"\n\
             jetstream {{\n  store_dir: {}\n  sync_interval: \"{}\"\n}}\n{tls}{accounts}",
            self.listen,
            self.monitor,
            quoted(&store),
            self.sync_interval
        )
    }
}

/// `NAME=ZONE,ZONE`.
fn worker(text: &str) -> Result<(WriterId, Vec<Zone>), String> {
    let (name, zones) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` names no zones: write NAME=ZONE,ZONE"))?;
    let name = WriterId::new(name).map_err(|error| error.to_string())?;
    let zones = zones
        .split(',')
        .map(|zone| zone.trim().parse().map_err(|_| zone.trim()))
        .collect::<Result<_, _>>()
        .map_err(|zone| format!("`{zone}` in `{text}` is no zone"))?;
    Ok((name, zones))
}

/// `always`, or a number of milliseconds, seconds or minutes.
fn sync_interval(text: &str) -> Result<String, String> {
    let number = text
        .strip_suffix("ms")
        .or_else(|| text.strip_suffix('s'))
        .or_else(|| text.strip_suffix('m'));
    let is_period = number.is_some_and(|number| number.parse::<u32>().is_ok_and(|n| n > 0));
    if text == "always" || is_period {
        Ok(text.to_owned())
    } else {
        Err("write `always`, or a period such as 100ms".into())
    }
}

fn make_dir(dir: &Path) -> Result<PathBuf> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
    absolute(dir)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .map_err(|error| Failure::usage(format!("cannot find `{}`: {error}", path.display())))
}

/// Writes a file so that it is there whole or not at all.
fn write_whole(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

/// A path as a string of the configuration language, which escapes as JSON does.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}
