//! The system of a run: a stack behind proxies. A stack with one Redis gets a second one that replicates the first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use super::Plan;
use crate::folder::Folder;
use crate::proxy::{LinkConditions, Proxy};
use crate::redis::{Redis, RedisCluster};
use crate::wall_clock::WallClock;
use crate::{Nodes, Stack};

/// Pause between two steps of a failover.
const FAILOVER_PAUSE: Duration = Duration::from_secs(1);
const SYNC_TIMEOUT: Duration = Duration::from_secs(30);

/// The system of a run.
pub struct World {
    /// The nodes, and the first Redis or the cluster.
    pub stack: Arc<Stack>,
    /// `None` if the stack has a cluster, which contains replicas.
    second: Option<SecondRedis>,
}

/// The second Redis, which begins as the replica of the stack's only Redis.
struct SecondRedis {
    redis: Redis,
    /// The proxy for the replication between the two Redis servers.
    replication_proxy: Proxy,
    /// Whether the second Redis is the primary.
    swapped: AtomicBool,
    _folder: Folder,
}

impl SecondRedis {
    async fn follow(first: &Redis) -> Result<SecondRedis> {
        let replication_proxy = Proxy::start(first.port()).await?;
        let folder = Folder::new()?;
        WallClock::of(folder.path(), "redis").prepare()?;
        let redis = Redis::follow(folder.path(), replication_proxy.port()).await?;
        Ok(SecondRedis { redis, replication_proxy, swapped: AtomicBool::new(false), _folder: folder })
    }
}

impl World {
    pub(super) async fn start(plan: &Plan) -> Result<World> {
        let stack = super::start_stack(plan).await?;
        let Some(first) = stack.shards().single() else { return Ok(World { stack, second: None }) };
        let second = Some(SecondRedis::follow(first).await?);
        let world = World { stack, second };
        world.wait_until_in_sync().await?;
        Ok(world)
    }

    fn second_redis(&self) -> Result<&SecondRedis> {
        self.second.as_ref().context("this fault needs a run with one Redis")
    }

    /// The cluster.
    ///
    /// # Errors
    /// When the stack has one Redis.
    pub fn cluster(&self) -> Result<&RedisCluster> {
        self.stack.shards().cluster().context("this fault needs a run with a cluster")
    }

    /// The primary and its replica.
    fn primary_and_replica(&self) -> Result<(&Redis, &Redis)> {
        let second = self.second_redis()?;
        let is_swapped = second.swapped.load(Ordering::Relaxed);
        let (first, second) = (self.stack.redis(), &second.redis);
        Ok(if is_swapped { (second, first) } else { (first, second) })
    }

    /// The primary.
    ///
    /// # Errors
    /// When the stack has a cluster.
    pub fn redis(&self) -> Result<&Redis> {
        Ok(self.primary_and_replica()?.0)
    }

    /// Runs a command at the primary, or at the master of the cluster that has the key.
    pub(super) async fn command<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T> {
        match self.second {
            Some(_) => self.redis()?.command(command).await,
            None => self.stack.shards().command(command).await,
        }
    }

    /// The nodes with the addresses of the proxies through which clients reach them.
    pub fn nodes(&self) -> Nodes {
        let links = self.stack.links();
        let ws = |proxy: &Proxy| format!("ws://127.0.0.1:{}/v1/ws", proxy.port());
        let url = |proxy: &Proxy| format!("http://127.0.0.1:{}", proxy.port());
        Nodes {
            gateways: links.clients_gateways.iter().map(ws).collect(),
            socket_io: None,
            persistence: links.clients_persistence.iter().map(url).collect(),
            jwt_secret: self.stack.jwt_secret().to_owned(),
            http: crate::http::client(),
        }
    }

    async fn wait_until_in_sync(&self) -> Result<()> {
        let begun = Instant::now();
        while !self.primary_and_replica()?.1.is_in_sync().await {
            ensure!(begun.elapsed() < SYNC_TIMEOUT, "the second Redis is not in sync");
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// The replica takes over with data that lag by this time. The old primary is paused while the services are moved
    /// to the new one. Then it continues without clients, and becomes the replica of the new primary.
    pub(super) async fn fail_over(&self, lag: Duration) -> Result<()> {
        self.wait_until_in_sync().await?;
        let ((old, new), second) = (self.primary_and_replica()?, self.second_redis()?);
        second.replication_proxy.set(LinkConditions { holds_down: true, ..LinkConditions::default() });
        sleep(lag).await;
        old.pause()?;
        // Replication data in flight is lost with the link.
        second.replication_proxy.set(LinkConditions { refuses: true, ..LinkConditions::BLACK_HOLE });
        second.replication_proxy.cut();
        new.promote().await?;
        let links = self.stack.links();
        for link in [links.gateways_redis(), links.persistence_redis()] {
            link.point_to(new.port());
            link.cut();
        }
        second.swapped.fetch_xor(true, Ordering::Relaxed);
        sleep(FAILOVER_PAUSE).await;
        old.resume()?;
        sleep(FAILOVER_PAUSE).await;
        self.start_replication(old, new).await
    }

    /// The replica takes over for persistence at once. Gateways use the old primary, which still works, for this time.
    pub(super) async fn split_brain(&self, time: Duration) -> Result<()> {
        self.wait_until_in_sync().await?;
        let ((old, new), second) = (self.primary_and_replica()?, self.second_redis()?);
        second.replication_proxy.set(LinkConditions { refuses: true, ..LinkConditions::BLACK_HOLE });
        second.replication_proxy.cut();
        new.promote().await?;
        let links = self.stack.links();
        links.persistence_redis().point_to(new.port());
        links.persistence_redis().cut();
        sleep(time).await;
        links.gateways_redis().point_to(new.port());
        links.gateways_redis().cut();
        second.swapped.fetch_xor(true, Ordering::Relaxed);
        sleep(FAILOVER_PAUSE).await;
        self.start_replication(old, new).await
    }

    async fn start_replication(&self, old: &Redis, new: &Redis) -> Result<()> {
        let proxy = &self.second_redis()?.replication_proxy;
        proxy.point_to(new.port());
        proxy.heal();
        let follow = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(proxy.port()).clone();
        old.command::<()>(&follow).await
    }
}
