//! A private Redis Cluster on 127.0.0.1. Each node is a [`Redis`] with its own ports, folder and append-only file. At the
//! start the masters own equal shares of the partitions, and together all slots. All nodes end when the value is dropped.

use std::ops::RangeInclusive;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::join_all;
use tokio::time::sleep;

use super::cluster_nodes::{ClusterNode, PARTITIONS, known_nodes, partition_slots};
use super::{Mode, Redis};
use crate::folder::Folder;

mod moves;

/// After this time without an answer, the masters vote on a replica to replace a master.
const NODE_TIMEOUT_MS: u16 = 1000;
const LAST_SLOT: u16 = 16_383;
/// How long the nodes may need to agree after a change.
const AGREE_TIMEOUT: Duration = Duration::from_secs(30);

/// A running cluster. Nodes are numbered from 0: first the masters of the start, then their replicas.
pub struct RedisCluster {
    // Rust drops fields in this order: nodes first, then the folder with their data.
    nodes: Vec<Redis>,
    /// The slot of each partition.
    slots: Vec<u16>,
    _folder: Folder,
}

impl RedisCluster {
    /// Starts this many masters, each with this many replicas. Masters are replaced without
    /// [`RedisCluster::failover`] only if there are at least three, because the majority votes.
    ///
    /// # Errors
    /// When a node does not start, or the nodes do not agree in time.
    pub async fn start(masters: usize, replicas: usize) -> Result<RedisCluster> {
        ensure!((1..=usize::from(PARTITIONS)).contains(&masters), "{masters} masters");
        let (folder, mut nodes) = (Folder::new()?, Vec::new());
        for number in 0..masters * (1 + replicas) {
            let path = folder.path().join(format!("node-{number}"));
            nodes.push(Redis::launch(path, None, Mode::ClusterNode, &[]).await?);
        }
        let slots = partition_slots(&nodes[0].url()).await?;
        let cluster = RedisCluster { nodes, slots, _folder: folder };
        for (number, range) in equal_ranges(&cluster.slots, masters).into_iter().enumerate() {
            // Masters with equal epochs would change them later.
            cluster.run(number, redis::cmd("CLUSTER").arg("SET-CONFIG-EPOCH").arg(number + 1)).await?;
            let mut add = redis::cmd("CLUSTER");
            add.arg("ADDSLOTSRANGE").arg(*range.start()).arg(*range.end());
            cluster.run(number, &add).await?;
        }
        for node in &cluster.nodes[1..] {
            let mut meet = redis::cmd("CLUSTER");
            meet.arg("MEET").arg("127.0.0.1").arg(node.port()).arg(node.bus_port);
            cluster.run(0, &meet).await?;
        }
        cluster.until("the nodes know each other", |views| cluster.is_complete(views, 0)).await?;
        for replica in masters..cluster.nodes.len() {
            let master = cluster.id((replica - masters) % masters).await?;
            cluster.run(replica, redis::cmd("CLUSTER").arg("REPLICATE").arg(master)).await?;
        }
        let replicas = cluster.nodes.len() - masters;
        cluster.until("the nodes agree", |views| cluster.is_complete(views, replicas)).await?;
        for (number, node) in cluster.nodes.iter().enumerate() {
            node.daemon.until_ready(AGREE_TIMEOUT, || serves_slots(node)).await?;
            if number >= masters {
                node.daemon.until_ready(AGREE_TIMEOUT, || node.is_in_sync()).await?;
            }
        }
        Ok(cluster)
    }

    /// A node, to kill, pause, restart or ask it. [`Redis::restart_empty`] also deletes what the node knows about the
    /// cluster, so the node does not return to the cluster.
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

    /// What each node knows. Leaves out nodes that do not answer.
    async fn views(&self) -> Vec<Vec<ClusterNode>> {
        let asking = self
            .nodes
            .iter()
            .filter(|node| node.pid().is_some())
            .map(|node| async move { known_nodes(&node.url()).await.ok() });
        join_all(asking).await.into_iter().flatten().collect()
    }

    /// Waits until what the nodes know fulfils the condition.
    async fn until(&self, what: &str, is_done: impl Fn(&[Vec<ClusterNode>]) -> bool) -> Result<()> {
        let begun = Instant::now();
        loop {
            let views = self.views().await;
            if !views.is_empty() && is_done(&views) {
                return Ok(());
            }
            ensure!(begun.elapsed() < AGREE_TIMEOUT, "{what}: not within {AGREE_TIMEOUT:?}: {views:#?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether every node knows every node, this many of them as replicas, and the same owners.
    fn is_complete(&self, views: &[Vec<ClusterNode>], replicas: usize) -> bool {
        let is_complete = |view: &Vec<ClusterNode>| {
            view.len() == self.nodes.len()
                && view.iter().all(|node| node.is_reachable)
                && view.iter().filter(|node| node.master.is_some()).count() == replicas
        };
        views.len() == self.nodes.len() && views.iter().all(is_complete) && self.agree(views)
    }

    /// Whether all nodes that answered know the same owner of each partition.
    fn agree(&self, views: &[Vec<ClusterNode>]) -> bool {
        self.slots.iter().all(|slot| {
            let mut owners = views.iter().map(|view| view.iter().find(|node| node.owns(*slot)));
            let first = owners.next().flatten().map(|node| &node.id);
            first.is_some() && owners.all(|owner| owner.map(|node| &node.id) == first)
        })
    }
}

/// Whether a node knows enough others to answer commands. A started master waits two seconds before it does.
async fn serves_slots(node: &Redis) -> bool {
    let info: Result<String> = node.command(redis::cmd("CLUSTER").arg("INFO")).await;
    info.is_ok_and(|info| info.contains("cluster_state:ok"))
}

/// The owner of a slot in the newest configuration.
fn newest_owner(views: &[Vec<ClusterNode>], slot: u16) -> Option<&ClusterNode> {
    views.iter().flatten().filter(|node| node.owns(slot)).max_by_key(|node| node.config_epoch)
}

/// Divides all slots into ranges, one for each master. Each range contains an equal share of `slots`.
fn equal_ranges(slots: &[u16], masters: usize) -> Vec<RangeInclusive<u16>> {
    let mut sorted = slots.to_vec();
    sorted.sort_unstable();
    let first = |number: usize| if number == 0 { 0 } else { sorted[number * sorted.len() / masters] };
    let last = |number: usize| if number + 1 == masters { LAST_SLOT } else { first(number + 1) - 1 };
    (0..masters).map(|number| first(number)..=last(number)).collect()
}

/// Adds the arguments that make a Redis a node of a cluster.
pub(super) fn add_arguments(command: &mut Command, bus_port: u16) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ranges_divide_all_slots_and_partitions() {
        let slots: Vec<u16> = (0..64).map(|number| number * number * 4).collect();
        let ranges = equal_ranges(&slots, 3);
        let share = |range: &RangeInclusive<u16>| slots.iter().filter(|slot| range.contains(*slot)).count();
        assert_eq!(ranges.iter().map(share).collect::<Vec<_>>(), [21, 21, 22]);
        assert_eq!((*ranges[0].start(), *ranges[2].end()), (0, LAST_SLOT));
        assert!(ranges.windows(2).all(|pair| pair[0].end() + 1 == *pair[1].start()));
    }
}
