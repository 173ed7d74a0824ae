//! The Redis Cluster of `./dev up --redis-cluster`: masters with a replica each on 127.0.0.1, which keep their ports and
//! their data over restarts.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::Home;
use super::detached::Detached;
use super::state::{ClusterServer, Server, State};
use crate::redis::forming::{NodePorts, form_cluster, until_serving};
use crate::say;
use crate::{ports, redis};

const REPLICAS_PER_MASTER: usize = 1;
/// With fewer masters there is no majority that could replace one.
const MIN_MASTERS: usize = 3;
const SERVER_TIMEOUT: Duration = Duration::from_secs(60);
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts all nodes that do not run, and returns the URL for the services.
///
/// # Errors
/// When a node does not start, a port is in use, or the cluster of an earlier start has another number of masters.
pub(super) async fn start(home: &Home, state: &mut State, masters: usize) -> Result<String> {
    ensure!(masters >= MIN_MASTERS, "a cluster needs at least {MIN_MASTERS} masters");
    let cluster = &mut state.redis_cluster;
    if !cluster.is_formed {
        // An earlier start was interrupted. Nodes that already know some of the other nodes cannot form a new cluster.
        for running in cluster.take_running() {
            running.signal(Signal::SIGKILL);
            running.until_ended(KILL_TIMEOUT).await;
        }
        cluster.nodes.clear();
        if home.redis_cluster_folder().exists() {
            std::fs::remove_dir_all(home.redis_cluster_folder())?;
        }
    }
    let count = masters * (1 + REPLICAS_PER_MASTER);
    if cluster.nodes.is_empty() {
        for _ in 0..count {
            let server = Server { port: Some(ports::free()?), running: None };
            cluster.nodes.push(ClusterServer { server, bus_port: ports::free()? });
        }
    }
    ensure!(
        cluster.nodes.len() == count,
        "the cluster in {} has {} masters: start it with this number, or delete all data with ./dev reset",
        home.redis_cluster_folder().display(),
        cluster.nodes.len() / (1 + REPLICAS_PER_MASTER)
    );
    cluster.masters = masters;
    let launched: Result<Vec<NodePorts>> =
        cluster.nodes.iter_mut().enumerate().map(|(number, node)| launch(home, number, node)).collect();
    state.save(home)?;
    let nodes = launched?;
    for (number, node) in state.redis_cluster.nodes.iter().enumerate() {
        let (running, port) = (node.server.running.as_ref().context("just launched")?, nodes[number].clients);
        running.until_ready(SERVER_TIMEOUT, &log(home, number), || redis::answers_ping(port)).await?;
        say!("redis        127.0.0.1:{port} (pid {})", running.pid);
    }
    if state.redis_cluster.is_formed {
        until_serving(&nodes.iter().map(|node| node.url()).collect::<Vec<_>>()).await?;
    } else {
        form_cluster(&nodes, masters).await?;
        state.redis_cluster.is_formed = true;
        state.save(home)?;
    }
    Ok(redis::cluster_url(nodes.iter().map(|node| node.clients)))
}

/// Starts a node unless it runs.
fn launch(home: &Home, number: usize, node: &mut ClusterServer) -> Result<NodePorts> {
    let ports = NodePorts { clients: node.server.port.context("chosen before")?, bus: node.bus_port };
    if node.server.running.as_ref().is_some_and(Detached::is_alive) {
        return Ok(ports);
    }
    for port in [ports.clients, ports.bus] {
        if !ports::is_free(port) {
            // The other nodes look for the node on its port.
            bail!(
                "port {port} of 127.0.0.1 is taken by another program: stop that, or delete all data with ./dev reset"
            );
        }
    }
    let data = home.redis_cluster_folder().join(format!("node-{number}"));
    std::fs::create_dir_all(&data)?;
    let mut command = redis::command(&data, ports.clients);
    redis::add_cluster_arguments(&mut command, ports.bus);
    node.server.running = Some(Detached::start(&command, &log(home, number))?);
    Ok(ports)
}

fn log(home: &Home, number: usize) -> std::path::PathBuf {
    home.log_file(&format!("redis-{number}"))
}
