//! Planned and unplanned changes of a cluster: slots that move, failovers, and replicas that take over with older data.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use super::{RedisCluster, newest_owner};
use crate::redis::Redis;
use crate::redis::cluster_nodes::ClusterNode;
use crate::redis::forming::AGREE_TIMEOUT;
use crate::redis::slot_move::{Master, SlotMove};

impl RedisCluster {
    /// Moves the slot of a partition with its keys to another master.
    ///
    /// # Errors
    /// When a node refuses a step, or the nodes do not agree in time.
    pub async fn move_slot(&self, partition: u16, to: usize) -> Result<()> {
        self.begin_move(partition, to).await?;
        self.finish_move(partition, to).await
    }

    /// Begins to move the slot of a partition. All keys are still at the old master until
    /// [`RedisCluster::finish_move`].
    ///
    /// # Errors
    /// When a node refuses it.
    pub async fn begin_move(&self, partition: u16, to: usize) -> Result<()> {
        let from = self.master_of(partition).await?;
        ensure!(from != to, "node {to} has the slot already");
        let (slot, from, to) =
            (self.slot(partition)?, self.as_master(from).await?, self.as_master(to).await?);
        SlotMove { slot, from: &from, to: &to }.begin().await
    }

    /// Moves the keys of a slot whose move has begun, and ends the move.
    ///
    /// # Errors
    /// When a node refuses a step, or the nodes do not agree in time.
    pub async fn finish_move(&self, partition: u16, to: usize) -> Result<()> {
        let (from, slot) = (self.master_of(partition).await?, self.slot(partition)?);
        let (from, to) = (self.as_master(from).await?, self.as_master(to).await?);
        SlotMove { slot, from: &from, to: &to }.finish().await?;
        self.until("the slot has moved", |views| {
            newest_owner(views, slot).is_some_and(|owner| owner.port() == Some(to.port)) && self.agree(views)
        })
        .await
    }

    async fn as_master(&self, number: usize) -> Result<Master> {
        let (node, id) = (&self.nodes[number], self.id(number).await?);
        Ok(Master { url: node.url(), id, host: "127.0.0.1".to_owned(), port: node.port() })
    }

    /// Replaces a running master by its replica without loss: the master stops writes until the replica has them all.
    /// Returns the number of the new master.
    ///
    /// # Errors
    /// When the master has no running replica, or the failover takes too long.
    pub async fn failover(&self, master: usize) -> Result<usize> {
        let replica = self.replica_of(master).await?;
        self.run(replica, redis::cmd("CLUSTER").arg("FAILOVER")).await?;
        self.until_master(replica).await?;
        Ok(replica)
    }

    /// Ends the replication from a running master to its replica. The replica has all writes before this call. It
    /// misses all later ones, and does not take over before [`RedisCluster::promote_older`]. Returns its number.
    ///
    /// # Errors
    /// When the master has no running replica, or the replica does not get the earlier writes in time.
    pub async fn cut_replica(&self, master: usize) -> Result<usize> {
        let number = self.replica_of(master).await?;
        let replica = &self.nodes[number];
        let written = replication_offset(&self.nodes[master], "master_repl_offset").await?;
        let begun = Instant::now();
        while replication_offset(replica, "slave_repl_offset").await? < written {
            ensure!(begun.elapsed() < AGREE_TIMEOUT, "node {number} does not follow node {master}");
            sleep(Duration::from_millis(20)).await;
        }
        // The master refuses this user, so the replica cannot connect again.
        self.set_replication(number, "nobody", "yes").await?;
        self.run(number, redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("master")).await?;
        replica.daemon.until_ready(AGREE_TIMEOUT, || async move { !replica.is_in_sync().await }).await?;
        Ok(number)
    }

    /// Makes a replica the master without a vote, although [`RedisCluster::cut_replica`] has cut it off. If the old
    /// master still runs, it becomes a replica of the new one and loses its later writes.
    ///
    /// # Errors
    /// When the replica refuses, or the nodes do not agree in time.
    pub async fn promote_older(&self, replica: usize) -> Result<()> {
        self.run(replica, redis::cmd("CLUSTER").arg("FAILOVER").arg("TAKEOVER")).await?;
        // Only now, because the replica would get the writes that it missed.
        self.set_replication(replica, "", "no").await?;
        self.until_master(replica).await
    }

    /// Sets whether a replica may take over on its own when its master fails.
    ///
    /// # Errors
    /// When the replica refuses.
    pub async fn allow_takeover(&self, replica: usize, is_allowed: bool) -> Result<()> {
        self.set_replication(replica, "", if is_allowed { "no" } else { "yes" }).await
    }

    /// Waits until a node that was replaced and runs again is a replica of this master and has its data.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn until_replica_follows(&self, replica: usize, master: usize) -> Result<()> {
        let (port, id) = (Some(self.nodes[replica].port()), Some(self.id(master).await?));
        let follows =
            |view: &Vec<ClusterNode>| view.iter().any(|node| node.port() == port && node.master == id);
        self.until("the node follows the master", |views| views.iter().all(follows)).await?;
        let replica = &self.nodes[replica];
        replica.daemon.until_ready(AGREE_TIMEOUT, || replica.is_in_sync()).await
    }

    /// Sets the user with which a replica connects to its master, and whether it never takes over on its own.
    async fn set_replication(&self, number: usize, user: &str, never_takes_over: &str) -> Result<()> {
        let mut command = redis::cmd("CONFIG");
        command.arg("SET").arg("masteruser").arg(user).arg("masterauth").arg(user);
        command.arg("cluster-replica-no-failover").arg(never_takes_over);
        self.run(number, &command).await
    }

    /// Waits until all nodes that answer know this node as a master with slots.
    async fn until_master(&self, number: usize) -> Result<()> {
        let port = Some(self.nodes[number].port());
        self.until("the replica is a master", |views| {
            let is_master = |view: &Vec<ClusterNode>| {
                view.iter().any(|node| node.port() == port && node.master.is_none() && !node.slots.is_empty())
            };
            views.iter().all(is_master) && self.agree(views)
        })
        .await
    }
}

/// A position in the stream of replication, from INFO.
async fn replication_offset(redis: &Redis, field: &str) -> Result<u64> {
    let info: redis::InfoDict = redis.command(redis::cmd("INFO").arg("replication")).await?;
    info.get(field).with_context(|| format!("INFO has no {field}"))
}
