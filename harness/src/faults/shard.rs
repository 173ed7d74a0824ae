//! Faults of one shard of a Redis Cluster, and how they are chosen at random. Each ends when all nodes of the cluster run
//! again and agree, and all replicas have the data of their masters.

use std::time::Duration;

use anyhow::{Context, Result};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::sleep;

use crate::redis::{Redis, RedisCluster};

/// Time between the takeover by a replica and the restart of the killed master.
const DOWNTIME: Duration = Duration::from_millis(500);
/// With this limit in bytes Redis refuses all writes that need memory.
const NO_MEMORY: u64 = 1;
/// With this limit Redis uses as much memory as it needs.
const UNLIMITED_MEMORY: u64 = 0;
/// How often the move of a partition begins before its error counts.
const MOVE_ATTEMPTS: usize = 3;

/// A fault of a shard, which is repaired afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardFault {
    /// SIGKILL of the master. After its replica has taken over, the killed node restarts as the replica.
    FailOver,
    /// SIGKILL of the master, whose replica may not take over. After this time the master restarts with its append-only
    /// file.
    Restart(Duration),
    /// The replica receives nothing for this time. Then the master is killed, and the replica takes over with its older
    /// data.
    OlderReplica(Duration),
    /// SIGSTOP of the master, then SIGCONT after this time. If this time is longer than the node timeout of the cluster,
    /// the replica takes over, and the old master continues with clients that still write to it.
    Pause(Duration),
    /// The master is at its memory limit for this time.
    Full(Duration),
    /// The slot of the room moves to another master.
    MoveSlot,
    /// Half of the master's partitions move to another master.
    MoveHalf,
}

impl ShardFault {
    /// Whether a replica may take over, which may lack the last data of its master.
    pub(super) fn may_lose_data(self) -> bool {
        matches!(self, ShardFault::FailOver | ShardFault::OlderReplica(_) | ShardFault::Pause(_))
    }

    pub(super) fn random(rng: &mut StdRng) -> ShardFault {
        // The node timeout is a second.
        let time = Duration::from_millis(rng.random_range(200..4000));
        match rng.random_range(0..8) {
            0 | 1 => ShardFault::FailOver,
            2 => ShardFault::Restart(time),
            3 => ShardFault::OlderReplica(time),
            4 => ShardFault::Pause(time),
            5 => ShardFault::Full(time),
            6 => ShardFault::MoveSlot,
            _ => ShardFault::MoveHalf,
        }
    }
}

/// Injects a fault of the shard that owns this partition, and repairs it.
pub(super) async fn inject_and_repair(
    cluster: &RedisCluster,
    partition: u16,
    fault: ShardFault,
) -> Result<()> {
    let number = cluster.master_of(partition).await?;
    let master = cluster.node(number);
    match fault {
        ShardFault::FailOver => {
            master.kill();
            cluster.until_replaced(partition, number).await?;
            sleep(DOWNTIME).await;
            master.restart().await?;
        }
        ShardFault::Restart(time) => {
            let replica = cluster.replica_of(number).await?;
            cluster.allow_takeover(replica, false).await?;
            master.kill();
            sleep(time).await;
            master.restart().await?;
            cluster.until_complete().await?;
            cluster.allow_takeover(replica, true).await?;
        }
        ShardFault::OlderReplica(time) => {
            let replica = cluster.cut_replica(number).await?;
            sleep(time).await;
            master.kill();
            cluster.promote_older(replica).await?;
            master.restart().await?;
        }
        ShardFault::Pause(time) => {
            master.pause()?;
            sleep(time).await;
            master.resume()?;
        }
        ShardFault::Full(time) => {
            limit_memory(master, NO_MEMORY).await?;
            sleep(time).await;
            limit_memory(master, UNLIMITED_MEMORY).await?;
        }
        ShardFault::MoveSlot => move_partitions(cluster, number, partition, |_| 1).await?,
        ShardFault::MoveHalf => {
            move_partitions(cluster, number, partition, |owned| owned.div_ceil(2)).await?;
        }
    }
    cluster.until_complete().await
}

/// Moves some partitions of a master, `first` among them, to the master that has the fewest. `count` gets the number of
/// partitions that the master owns, and returns how many of them move.
async fn move_partitions(
    cluster: &RedisCluster,
    from: usize,
    first: u16,
    count: fn(usize) -> usize,
) -> Result<()> {
    let mut shares = cluster.partitions_by_master().await?;
    let mut moving = shares.remove(&from).context("the master owns no partition")?;
    moving.sort_by_key(|partition| *partition != first);
    moving.truncate(count(moving.len()));
    let fewest = shares.into_values().min_by_key(Vec::len).context("there is one master")?;
    let neighbour = *fewest.first().context("the other master owns no partition")?;
    for partition in moving {
        move_beside(cluster, partition, neighbour).await?;
    }
    Ok(())
}

/// Moves a partition to the master of another partition. On an overloaded machine a replica may take over in the middle:
/// then the same move begins again between the masters of that moment.
async fn move_beside(cluster: &RedisCluster, partition: u16, neighbour: u16) -> Result<()> {
    let mut attempts = 1;
    loop {
        let to = cluster.master_of(neighbour).await?;
        if cluster.master_of(partition).await? == to {
            return Ok(());
        }
        match cluster.move_slot(partition, to).await {
            Ok(()) => return Ok(()),
            Err(error) if attempts == MOVE_ATTEMPTS => return Err(error),
            Err(_) => cluster.until_complete().await?,
        }
        attempts += 1;
    }
}

async fn limit_memory(redis: &Redis, bytes: u64) -> Result<()> {
    redis.command(redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes)).await
}
