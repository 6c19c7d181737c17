//! `gatewright provision`: makes the fleet's streams, consumers and buckets.

use anyhow::Result;
use clap::{Args, builder::PossibleValuesParser};

use crate::{context::Context, exit::Exit};

/// On how many servers of a cluster streams are kept.
#[derive(Debug, Args)]
pub struct Replicas {
    /// On how many servers of the cluster streams and buckets are kept: 1 or 3
    #[arg(
        long,
        value_name = "N",
        default_value = "1",
        hide_possible_values = true
    )]
    #[arg(value_parser = PossibleValuesParser::new(["1", "3"]))]
    replicas: String,
}

impl Replicas {
    /// The number.
    pub fn count(&self) -> usize {
        if self.replicas == "3" { 3 } else { 1 }
    }
}

/// Make the fleet's streams, consumers and buckets where they are missing, and check those that are there.
///
/// A dispatcher does the same when it starts. This is for credentials that may not: run it once, with one that may.
#[derive(Debug, Args)]
pub struct ProvisionArgs {
    #[command(flatten)]
    replicas: Replicas,
}

/// Runs it.
pub async fn run(context: Context, args: ProvisionArgs) -> Result<Exit> {
    let fleet = context.fleet().await?;
    fleet.provision(args.replicas.count()).await?;
    let (server, version) = fleet.server();
    let prefix = fleet.names().prefix();
    if context.out.is_json() {
        let done =
            serde_json::json!({ "prefix": prefix, "server": server, "server_version": version });
        context.out.json(&done)?;
    } else {
        eprintln!("the fleet `{prefix}` on `{server}` (nats-server {version}) is provisioned");
    }
    Ok(Exit::Ok)
}
