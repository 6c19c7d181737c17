//! Three nats-servers that form one JetStream cluster.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::binaries::Binaries;
use crate::error::{SignalError, StartError};
use crate::nats::{ClusterOptions, NatsOptions, NatsServer, SyncInterval, make_folder, pick_port};
use crate::probe;

const NODES: usize = 3;
const PATIENCE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(50);
const ATTEMPTS: u32 = 5;

/// A cluster of three nodes `n1`, `n2`, `n3` on loopback; dropping it ends all of them.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts three nodes, each in a folder of its own below `dir`, and waits until they have
    /// elected the leader that places streams and all call themselves healthy.
    pub async fn start(
        binaries: &Binaries,
        dir: impl Into<PathBuf>,
        sync: SyncInterval,
    ) -> Result<Self, StartError> {
        Self::start_with(binaries, dir, sync, "").await
    }

    /// The same, each node with more configuration, in the server's own syntax.
    pub async fn start_with(
        binaries: &Binaries,
        dir: impl Into<PathBuf>,
        sync: SyncInterval,
        extra_config: &str,
    ) -> Result<Self, StartError> {
        let dir = make_folder(&dir.into())?;
        let mut attempt = 1;
        let nodes = loop {
            match start_nodes(binaries, &dir, sync, extra_config).await {
                Ok(nodes) => break nodes,
                // Every node names the others' ports, so new ports mean a new start for all.
                Err(error) if error.is_port_taken() && attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        };
        let cluster = Self { nodes };
        cluster.wait_ready().await?;
        Ok(cluster)
    }

    /// Where clients connect: the URLs of all nodes, separated by commas.
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.nodes.iter().map(NatsServer::url).collect();
        urls.join(",")
    }

    /// The nodes.
    pub fn nodes(&self) -> &[NatsServer] {
        &self.nodes
    }

    /// The nodes, to be stopped, killed and restarted; see [`NatsCluster::wait_ready`].
    pub fn nodes_mut(&mut self) -> &mut [NatsServer] {
        &mut self.nodes
    }

    /// Waits until the nodes that run agree on a leader and are healthy, as after a restart.
    pub async fn wait_ready(&self) -> Result<(), StartError> {
        let started = Instant::now();
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            loop {
                let Err(waiting_for) = is_ready(node).await else {
                    break;
                };
                if started.elapsed() > PATIENCE {
                    return Err(node.not_ready(PATIENCE, waiting_for));
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Stops all nodes at once.
    pub async fn stop(&mut self) -> Result<(), SignalError> {
        let [first, second, third] = self.nodes.as_mut_slice() else {
            return Ok(());
        };
        tokio::try_join!(first.stop(), second.stop(), third.stop())?;
        Ok(())
    }
}

async fn start_nodes(
    binaries: &Binaries,
    dir: &std::path::Path,
    sync: SyncInterval,
    extra_config: &str,
) -> Result<Vec<NatsServer>, StartError> {
    let mut routes = Vec::with_capacity(NODES);
    while routes.len() < NODES {
        let port = pick_port(dir)?;
        if !routes.contains(&port) {
            routes.push(port);
        }
    }
    let start = |number: usize, port: u16| {
        let name = format!("n{number}");
        let mut options = NatsOptions::new(dir.join(&name), name);
        options.sync = sync;
        extra_config.clone_into(&mut options.extra_config);
        options.cluster = Some(ClusterOptions {
            name: "gatewright".to_owned(),
            port,
            routes: routes.clone(),
        });
        NatsServer::start(binaries, options)
    };
    let mut starting = Vec::with_capacity(NODES);
    for (index, port) in routes.iter().enumerate() {
        starting.push(start(index + 1, *port));
    }
    // One after the other is as quick: a node is up in milliseconds, the election comes after.
    let mut nodes = Vec::with_capacity(NODES);
    for node in starting {
        nodes.push(node.await?);
    }
    Ok(nodes)
}

/// Whether this node knows a leader and is in step; otherwise what it still lacks.
async fn is_ready(node: &NatsServer) -> Result<(), String> {
    let state = probe::jetstream_state(node.monitor_port())
        .await
        .map_err(|error| format!("JetStream: {error}"))?;
    let meta = state.meta_cluster.ok_or_else(|| "a cluster".to_owned())?;
    if meta.cluster_size < NODES {
        return Err(format!("its peers: it knows {} nodes", meta.cluster_size));
    }
    if meta.leader.is_empty() {
        return Err("a leader".to_owned());
    }
    match probe::is_healthy(node.monitor_port()).await {
        Ok(true) => Ok(()),
        Ok(false) => Err("its health".to_owned()),
        Err(error) => Err(format!("its health: {error}")),
    }
}
