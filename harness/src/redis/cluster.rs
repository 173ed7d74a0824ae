//! A private Redis Cluster on 127.0.0.1. Each node is a [`Redis`] with its own ports, folder and append-only file. At the
//! start the masters own equal shares of the partitions, and together all slots. All nodes end when the value is dropped.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;

use super::cluster_nodes::{ClusterNode, partition_slots};
use super::forming::{NodePorts, agree, form_cluster, is_complete, until, until_serving, views};
use super::{Mode, Redis};
use crate::folder::Folder;

mod moves;

/// After this time without an answer, the masters vote on a replica to replace a master.
const NODE_TIMEOUT_MS: u16 = 1000;

/// A running cluster. Nodes are numbered from 0: first the masters of the start, then their replicas.
pub struct RedisCluster {
    // Rust drops fields in this order: nodes first, then the folder with their data.
    nodes: Vec<Redis>,
    /// Number of nodes that are replicas while all nodes run.
    replica_count: usize,
    /// The slot of each partition.
    slots: Vec<u16>,
    _folder: Option<Folder>,
}

impl RedisCluster {
    /// Starts this many masters, each with this many replicas. Masters are replaced without
    /// [`RedisCluster::failover`] only if there are at least three, because the majority votes.
    ///
    /// # Errors
    /// When a node does not start, or the nodes do not agree in time.
    pub async fn start(masters: usize, replicas: usize) -> Result<RedisCluster> {
        let folder = Folder::new()?;
        let cluster = Self::start_in(folder.path(), masters, replicas).await?;
        Ok(RedisCluster { _folder: Some(folder), ..cluster })
    }

    /// Like [`RedisCluster::start`], with data and logs of the nodes in `folder`.
    ///
    /// # Errors
    /// When a node does not start, or the nodes do not agree in time.
    pub async fn start_in(folder: &Path, masters: usize, replicas: usize) -> Result<RedisCluster> {
        let numbers = 0..masters * (1 + replicas);
        let launching = numbers.map(|number| {
            let path = folder.join(format!("node-{number}"));
            Redis::launch(path, None, Mode::ClusterNode, &[])
        });
        let nodes = try_join_all(launching).await?;
        let ports: Option<Vec<NodePorts>> =
            nodes.iter().map(|node| Some(NodePorts { clients: node.port(), bus: node.bus_port? })).collect();
        form_cluster(&ports.context("a node without a bus port")?, masters).await?;
        let slots = partition_slots(&nodes[0].url()).await?;
        Ok(RedisCluster { nodes, replica_count: masters * replicas, slots, _folder: None })
    }

    /// All nodes, in the order of their numbers.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// Waits until all nodes serve slots, for example after they were restarted.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn until_serving(&self) -> Result<()> {
        until_serving(&self.running()).await
    }

    /// Waits until all nodes run, reach each other, agree and serve slots, as after the start, and all replicas have
    /// the data of their masters.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn until_complete(&self) -> Result<()> {
        let is_complete = |views: &[Vec<ClusterNode>]| {
            is_complete(views, self.nodes.len(), self.replica_count, &self.slots)
        };
        self.until("all nodes run and agree", is_complete).await?;
        self.until_serving().await
    }

    /// A node, to kill, pause, restart or ask it.
    pub fn node(&self, number: usize) -> &Redis {
        &self.nodes[number]
    }

    /// The number of the node that owns the slot of a partition, also while this node is down.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn master_of(&self, partition: u16) -> Result<usize> {
        let slot = self.slot(partition)?;
        let owner = newest_owner(&self.views().await, slot).context("nobody owns the slot")?.port();
        self.number(owner).context("the owner is another cluster's node")
    }

    /// The partitions of each master that has any, by the number of the master.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn partitions_by_master(&self) -> Result<BTreeMap<usize, Vec<u16>>> {
        let (views, mut partitions) = (self.views().await, BTreeMap::<usize, Vec<u16>>::new());
        for (partition, slot) in (0..).zip(&self.slots) {
            let owner = newest_owner(&views, *slot).context("nobody owns the slot")?.port();
            let number = self.number(owner).context("the owner is another cluster's node")?;
            partitions.entry(number).or_default().push(partition);
        }
        Ok(partitions)
    }

    /// The number of a running replica of this master.
    ///
    /// # Errors
    /// When there is none.
    pub async fn replica_of(&self, master: usize) -> Result<usize> {
        for view in self.views().await {
            let port = Some(self.nodes[master].port());
            let Some(known) = view.iter().find(|node| node.port() == port) else { continue };
            let replicas = view.iter().filter(|node| node.master.as_ref() == Some(&known.id));
            let mut numbers = replicas.filter_map(|node| self.number(node.port()));
            if let Some(running) = numbers.find(|number| self.nodes[*number].pid().is_some()) {
                return Ok(running);
            }
        }
        bail!("node {master} has no running replica")
    }

    /// Waits until the masters have chosen a replica of this node, which was killed or paused, in its place. Returns
    /// the number of the new master of the partition.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn until_replaced(&self, partition: u16, master: usize) -> Result<usize> {
        let slot = self.slot(partition)?;
        let old = Some(self.nodes[master].port());
        let is_replaced = |views: &[Vec<ClusterNode>]| {
            newest_owner(views, slot).is_some_and(|owner| owner.port() != old) && self.agree(views)
        };
        self.until("a replica takes over", is_replaced).await?;
        self.master_of(partition).await
    }

    fn slot(&self, partition: u16) -> Result<u16> {
        self.slots.get(usize::from(partition)).copied().context("no such partition")
    }

    fn number(&self, port: Option<u16>) -> Option<usize> {
        self.nodes.iter().position(|node| Some(node.port()) == port)
    }

    async fn id(&self, number: usize) -> Result<String> {
        self.nodes[number].command(redis::cmd("CLUSTER").arg("MYID")).await
    }

    async fn run(&self, number: usize, command: &redis::Cmd) -> Result<()> {
        let answer: Result<()> = self.nodes[number].command(command).await;
        answer.with_context(|| format!("node {number}"))
    }

    /// The URLs of the nodes that run.
    fn running(&self) -> Vec<String> {
        self.nodes.iter().filter(|node| node.pid().is_some()).map(Redis::url).collect()
    }

    /// What each node knows. Leaves out nodes that do not answer.
    async fn views(&self) -> Vec<Vec<ClusterNode>> {
        views(self.running()).await
    }

    /// Waits until what the nodes know fulfils the condition.
    async fn until(&self, what: &str, is_done: impl Fn(&[Vec<ClusterNode>]) -> bool) -> Result<()> {
        until(what, || self.running(), is_done).await
    }

    /// Whether all nodes that answered know the same owner of each partition.
    fn agree(&self, views: &[Vec<ClusterNode>]) -> bool {
        agree(views, &self.slots)
    }
}

/// The owner of a slot in the newest configuration.
fn newest_owner(views: &[Vec<ClusterNode>], slot: u16) -> Option<&ClusterNode> {
    views.iter().flatten().filter(|node| node.owns(slot)).max_by_key(|node| node.config_epoch)
}

/// Adds the arguments that make a Redis a node of a cluster.
pub(crate) fn add_arguments(command: &mut Command, bus_port: u16) {
    command
        .args(["--cluster-enabled", "yes", "--cluster-port", &bus_port.to_string()])
        .args(["--cluster-node-timeout", &NODE_TIMEOUT_MS.to_string()])
        .args(["--cluster-announce-ip", "127.0.0.1"])
        // A dead shard does not stop the others.
        .args(["--cluster-require-full-coverage", "no"])
        // A master whose last slot moves stays a master.
        .args(["--cluster-allow-replica-migration", "no"])
        .args(["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]);
}
