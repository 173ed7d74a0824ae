//! The system of a run: a stack behind proxies, and a second Redis that replicates the first one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::Plan;
use crate::folder::Folder;
use crate::proxy::{LinkConditions, Proxy};
use crate::redis::Redis;
use crate::wall_clock::WallClock;
use crate::{Nodes, Stack};

/// Pause between two steps of a failover.
const FAILOVER_PAUSE: Duration = Duration::from_secs(1);
const SYNC_TIMEOUT: Duration = Duration::from_secs(30);

/// The system of a run.
pub struct World {
    /// The nodes, and the first Redis.
    pub stack: Arc<Stack>,
    second_redis: Redis,
    /// The proxy for the replication between the two Redis servers.
    replication_proxy: Proxy,
    /// Whether the second Redis is the primary.
    swapped: AtomicBool,
    _folder: Folder,
}

impl World {
    pub(super) async fn start(plan: &Plan) -> Result<World> {
        let stack = super::start_stack(&plan.settings).await?;
        let replication_proxy = Proxy::start(stack.redis().port()).await?;
        let folder = Folder::new()?;
        WallClock::of(folder.path(), "redis").prepare()?;
        let second_redis = Redis::follow(folder.path(), replication_proxy.port()).await?;
        let world = World {
            stack,
            second_redis,
            replication_proxy,
            swapped: AtomicBool::new(false),
            _folder: folder,
        };
        world.wait_until_in_sync().await?;
        Ok(world)
    }

    /// The primary and its replica.
    fn primary_and_replica(&self) -> (&Redis, &Redis) {
        if self.swapped.load(Ordering::Relaxed) {
            (&self.second_redis, self.stack.redis())
        } else {
            (self.stack.redis(), &self.second_redis)
        }
    }

    /// The primary.
    pub fn redis(&self) -> &Redis {
        self.primary_and_replica().0
    }

    /// The nodes with the addresses of the proxies through which clients reach them.
    pub fn nodes(&self) -> Nodes {
        let links = self.stack.links();
        let ws = |proxy: &Proxy| format!("ws://127.0.0.1:{}/v1/ws", proxy.port());
        let url = |proxy: &Proxy| format!("http://127.0.0.1:{}", proxy.port());
        Nodes {
            gateways: links.clients_gateways.iter().map(ws).collect(),
            persistence: links.clients_persistence.iter().map(url).collect(),
            jwt_secret: self.stack.jwt_secret().to_owned(),
            http: crate::http::client(),
        }
    }

    async fn wait_until_in_sync(&self) -> Result<()> {
        let begun = Instant::now();
        while !self.primary_and_replica().1.is_in_sync().await {
            ensure!(begun.elapsed() < SYNC_TIMEOUT, "the second Redis is not in sync");
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// The replica takes over with data that lag by this time. The old primary is paused while the services are moved
    /// to the new one. Then it continues without clients, and becomes the replica of the new primary.
    pub(super) async fn fail_over(&self, lag: Duration) -> Result<()> {
        self.wait_until_in_sync().await?;
        let (old, new) = self.primary_and_replica();
        self.replication_proxy.set(LinkConditions { holds_down: true, ..LinkConditions::default() });
        sleep(lag).await;
        old.pause()?;
        // Replication data in flight is lost with the link.
        self.replication_proxy.set(LinkConditions { refuses: true, ..LinkConditions::BLACK_HOLE });
        self.replication_proxy.cut();
        new.promote().await?;
        let links = self.stack.links();
        for link in [&links.gateways_redis, &links.persistence_redis] {
            link.point_to(new.port());
            link.cut();
        }
        self.swapped.fetch_xor(true, Ordering::Relaxed);
        sleep(FAILOVER_PAUSE).await;
        old.resume()?;
        sleep(FAILOVER_PAUSE).await;
        self.start_replication(old, new).await
    }

    /// The replica takes over for persistence at once. Gateways use the old primary, which still works, for this time.
    pub(super) async fn split_brain(&self, time: Duration) -> Result<()> {
        self.wait_until_in_sync().await?;
        let (old, new) = self.primary_and_replica();
        self.replication_proxy.set(LinkConditions { refuses: true, ..LinkConditions::BLACK_HOLE });
        self.replication_proxy.cut();
        new.promote().await?;
        let links = self.stack.links();
        links.persistence_redis.point_to(new.port());
        links.persistence_redis.cut();
        sleep(time).await;
        links.gateways_redis.point_to(new.port());
        links.gateways_redis.cut();
        self.swapped.fetch_xor(true, Ordering::Relaxed);
        sleep(FAILOVER_PAUSE).await;
        self.start_replication(old, new).await
    }

    async fn start_replication(&self, old: &Redis, new: &Redis) -> Result<()> {
        self.replication_proxy.point_to(new.port());
        self.replication_proxy.heal();
        let follow = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(self.replication_proxy.port()).clone();
        old.command::<()>(&follow).await
    }
}
