//! The servers of a private fleet: one nats-server, one Postgres.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use futures::{FutureExt as _, future::BoxFuture};
use gatewright_bus::server_config;
use gatewright_local::{Binaries, NatsOptions, NatsServer, Postgres, PostgresOptions, StartError};
use serde::{Deserialize, Serialize};

use super::{child::Ended, place::Place};
use crate::settings::ConnectionFile;

/// Where the NATS server has its data.
const NATS: &str = "nats";

/// The database's name.
const DATABASE: &str = "gatewright";

/// The ports of the last start, taken again when they are free.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Ports {
    nats: Option<u16>,
    postgres: Option<u16>,
}

impl Ports {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        toml::from_str(&text).unwrap_or_default()
    }
}

fn free(port: Option<u16>) -> Option<u16> {
    port.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
}

/// Both servers.
#[derive(Debug)]
pub struct Servers {
    nats: NatsServer,
    postgres: Postgres,
}

impl Servers {
    /// Starts both at once. `accounts` says who the NATS server lets in.
    pub async fn start(place: &Place, durable: bool, accounts: &str) -> Result<Self> {
        let binaries = Binaries::find()?;
        adopt_streams(&place.dir().join(NATS))?;
        let ports_file = place.dir().join("ports.toml");
        let ports = Ports::read(&ports_file);
        let (nats, postgres) = tokio::try_join!(
            start_nats(&binaries, place, free(ports.nats), accounts),
            start_postgres(&binaries, place, free(ports.postgres), durable)
        )?;
        let ports = Ports {
            nats: Some(nats.port()),
            postgres: Some(postgres.port()),
        };
        // Without the file the next start takes other ports.
        let _ = fs::write(&ports_file, toml::to_string(&ports).unwrap_or_default());
        Ok(Self { nats, postgres })
    }

    /// Where they listen, and the seed with which an operator is let in.
    pub fn connection(&self, nats_nkey: PathBuf) -> ConnectionFile {
        ConnectionFile {
            nats_url: self.nats.url(),
            nats_nkey,
            monitor_url: self.nats.monitor_url(),
            database_url: self.postgres.url(DATABASE),
            prefix: gatewright_bus::Names::default().prefix().to_owned(),
            pid: std::process::id(),
        }
    }

    /// Futures that resolve when one of them ends.
    pub fn ends(&self) -> Vec<BoxFuture<'static, Ended>> {
        let (nats, nats_log) = (self.nats.wait_exit(), self.nats.log_path());
        let (postgres, postgres_log) = (self.postgres.wait_exit(), self.postgres.log_path());
        vec![
            async move { Ended::new("nats-server", nats.await, &nats_log) }.boxed(),
            async move { Ended::new("Postgres", postgres.await, &postgres_log) }.boxed(),
        ]
    }

    /// Stops both.
    pub async fn stop(&mut self) {
        let (nats, postgres) = tokio::join!(self.nats.stop(), self.postgres.stop());
        for error in [nats.err(), postgres.err()].into_iter().flatten() {
            tracing::warn!(%error, "a server was not stopped");
        }
    }

    /// Ends both at once. Nothing that was acknowledged is lost: the next start recovers it.
    pub async fn kill(&mut self) {
        let _ = tokio::join!(self.nats.kill(), self.postgres.kill());
    }
}

async fn start_nats(
    binaries: &Binaries,
    place: &Place,
    port: Option<u16>,
    accounts: &str,
) -> Result<NatsServer, StartError> {
    let mut options = NatsOptions::new(place.dir().join(NATS), place.server_name());
    options.port = port;
    accounts.clone_into(&mut options.extra_config);
    match NatsServer::start(binaries, options.clone()).await {
        // Somebody may have taken the port since it was looked at.
        Err(StartError::Ended { .. }) if port.is_some() => {
            options.port = None;
            NatsServer::start(binaries, options).await
        }
        started => started,
    }
}

/// Versions without accounts kept the streams in the server's default one. A server that does not run takes them under another name.
fn adopt_streams(data_dir: &Path) -> Result<()> {
    // In the directory that it is given for its data the server makes one of this name.
    let store = data_dir.join("jetstream/jetstream");
    let (before, now) = (store.join("$G"), store.join(server_config::FLEET));
    if before.is_dir() && !now.exists() {
        let cannot = || format!("cannot rename `{}`", before.display());
        fs::rename(&before, &now).with_context(cannot)?;
    }
    Ok(())
}

async fn start_postgres(
    binaries: &Binaries,
    place: &Place,
    port: Option<u16>,
    durable: bool,
) -> Result<Postgres, StartError> {
    let mut options = PostgresOptions {
        data_dir: place.dir().join("postgres"),
        port,
        durable,
    };
    match Postgres::start(binaries, options.clone()).await {
        Err(StartError::Ended { .. }) if port.is_some() => {
            options.port = None;
            Postgres::start(binaries, options).await
        }
        started => started,
    }
}
