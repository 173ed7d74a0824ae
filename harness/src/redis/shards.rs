//! The Redis of a system under test: one server, or a cluster. The same test runs with both: `TIDINGS_TEST_REDIS=cluster`
//! chooses a cluster of three masters. Operations without a room or partition concern all nodes at once.

use std::path::Path;

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;

use super::{Redis, RedisCluster};

const LAYOUT_VARIABLE: &str = "TIDINGS_TEST_REDIS";
/// Masters of a cluster that the environment asks for. With three, no shard has half of the partitions.
const DEFAULT_MASTERS: usize = 3;
const PARTITIONS: u64 = super::cluster_nodes::PARTITIONS as u64;

/// How many Redis servers a system has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisLayout {
    Single,
    Cluster { masters: usize, replicas_per_master: usize },
}

impl RedisLayout {
    /// The layout that the environment asks for.
    ///
    /// # Errors
    /// When the variable has another value than `single` and `cluster`.
    pub fn from_environment() -> Result<RedisLayout> {
        match std::env::var(LAYOUT_VARIABLE).unwrap_or_default().as_str() {
            "" | "single" => Ok(RedisLayout::Single),
            "cluster" => Ok(RedisLayout::Cluster { masters: DEFAULT_MASTERS, replicas_per_master: 0 }),
            other => bail!("{LAYOUT_VARIABLE} is {other:?}: it must be `single` or `cluster`"),
        }
    }
}

/// One running Redis, or a running cluster.
pub enum Shards {
    Single(Redis),
    Cluster(RedisCluster),
}

impl Shards {
    /// Starts Redis with its data and logs in `folder`.
    ///
    /// # Errors
    /// When a server does not start.
    pub async fn start_in(folder: &Path, layout: RedisLayout) -> Result<Shards> {
        Ok(match layout {
            RedisLayout::Single => Shards::Single(Redis::start_in(folder).await?),
            RedisLayout::Cluster { masters, replicas_per_master } => {
                let folder = folder.join("redis-cluster");
                Shards::Cluster(RedisCluster::start_in(&folder, masters, replicas_per_master).await?)
            }
        })
    }

    /// The only Redis; `None` in a cluster.
    pub fn single(&self) -> Option<&Redis> {
        match self {
            Shards::Single(redis) => Some(redis),
            Shards::Cluster(_) => None,
        }
    }

    /// The cluster; `None` if there is only one Redis.
    pub fn cluster(&self) -> Option<&RedisCluster> {
        match self {
            Shards::Single(_) => None,
            Shards::Cluster(cluster) => Some(cluster),
        }
    }

    /// All servers, also replicas.
    pub fn nodes(&self) -> &[Redis] {
        match self {
            Shards::Single(redis) => std::slice::from_ref(redis),
            Shards::Cluster(cluster) => cluster.nodes(),
        }
    }

    /// The URL of the first server. The services find the others with it.
    pub fn url(&self) -> String {
        self.nodes()[0].url()
    }

    /// The URL for the services, which names all nodes of a cluster.
    pub fn services_url(&self) -> String {
        match self {
            Shards::Single(redis) => redis.url(),
            Shards::Cluster(cluster) => cluster_url(cluster.nodes().iter().map(Redis::port)),
        }
    }

    /// The server that owns a partition, also while it is down.
    ///
    /// # Errors
    /// When no node of the cluster answers.
    pub async fn of_partition(&self, partition: u16) -> Result<&Redis> {
        match self {
            Shards::Single(redis) => Ok(redis),
            Shards::Cluster(cluster) => Ok(cluster.node(cluster.master_of(partition).await?)),
        }
    }

    /// The server that owns the partition of a room or user.
    ///
    /// # Errors
    /// When no node of the cluster answers.
    pub async fn of_id(&self, id: &str) -> Result<&Redis> {
        self.of_partition(partition_of(id)).await
    }

    /// Runs a command at the server that owns its key. A command without a key runs at the first server.
    ///
    /// # Errors
    /// When Redis does not answer in time, or refuses the command.
    pub async fn command<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T> {
        let error = match self.nodes()[0].command(command).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let moved = error.downcast_ref::<redis::RedisError>().and_then(redis::RedisError::redirect_node);
        let Some((address, _)) = moved else { return Err(error) };
        let is_owner = |node: &&Redis| address.ends_with(&format!(":{}", node.port()));
        let owner = self.nodes().iter().find(is_owner).context("the owner is another cluster's node")?;
        owner.command(command).await
    }

    /// Closes all pub/sub connections of all servers.
    ///
    /// # Errors
    /// When a server does not answer.
    pub async fn cut_pub_sub(&self) -> Result<()> {
        let mut cut = redis::cmd("CLIENT");
        cut.arg("KILL").arg("TYPE").arg("pubsub");
        try_join_all(self.nodes().iter().map(|node| node.command::<()>(&cut))).await.map(drop)
    }

    /// Kills all servers: see [`Redis::kill`].
    pub fn kill(&self) {
        self.nodes().iter().for_each(Redis::kill);
    }

    /// Pauses all servers with SIGSTOP.
    ///
    /// # Errors
    /// When one does not run.
    pub fn pause(&self) -> Result<()> {
        self.nodes().iter().try_for_each(Redis::pause)
    }

    /// Resumes all servers with SIGCONT.
    ///
    /// # Errors
    /// When one does not run.
    pub fn resume(&self) -> Result<()> {
        self.nodes().iter().try_for_each(Redis::resume)
    }

    /// Stops all servers: see [`Redis::stop`].
    ///
    /// # Errors
    /// When one does not end in time.
    pub async fn stop(&self) -> Result<()> {
        try_join_all(self.nodes().iter().map(Redis::stop)).await.map(drop)
    }

    /// Starts all servers again with their data. Running servers are stopped first.
    ///
    /// # Errors
    /// When one does not start, or the nodes of a cluster do not agree in time.
    pub async fn restart(&self) -> Result<()> {
        try_join_all(self.nodes().iter().map(Redis::restart)).await?;
        self.until_serving().await
    }

    /// Starts all servers again without any data. Running servers are killed first.
    ///
    /// # Errors
    /// When one does not start, or the nodes of a cluster do not agree in time.
    pub async fn restart_empty(&self) -> Result<()> {
        try_join_all(self.nodes().iter().map(Redis::restart_empty)).await?;
        self.until_serving().await
    }

    async fn until_serving(&self) -> Result<()> {
        match self {
            Shards::Single(_) => Ok(()),
            Shards::Cluster(cluster) => cluster.until_serving().await,
        }
    }
}

/// The URL of a cluster of nodes on these ports of 127.0.0.1.
pub(crate) fn cluster_url(ports: impl Iterator<Item = u16>) -> String {
    let nodes: Vec<String> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
    format!("redis+cluster://{}", nodes.join(","))
}

/// The partition of a room or user: the FNV-1a 64 hash of the id, modulo the number of partitions.
pub(crate) fn partition_of(id: &str) -> u16 {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    u16::try_from(hash % PARTITIONS).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_those_of_the_services() {
        for (id, partition) in [("a", 12), ("general", 11), ("alice", 7), ("zoë", 28), ("auth0|5f7c8ec7", 39)]
        {
            assert_eq!(partition_of(id), partition, "{id}");
        }
    }
}
