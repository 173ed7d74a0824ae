//! The system of a run: a stack behind proxies, and a second Redis that replicates the first.

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
const IN_STEP_PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
pub struct World {
    /// The nodes, and the first Redis.
    pub stack: Arc<Stack>,
    second: Redis,
    /// The proxy for the replication between the two Redis.
    following: Proxy,
    /// Whether the second Redis is the primary.
    swapped: AtomicBool,
    _folder: Folder,
}

impl World {
    pub(super) async fn start(plan: &Plan) -> Result<World> {
        let stack = super::stack(&plan.settings).await?;
        let following = Proxy::start(stack.redis().port()).await?;
        let folder = Folder::new()?;
        WallClock::of(folder.path(), "redis").prepare()?;
        let second = Redis::follow(folder.path(), following.port()).await?;
        let world = World { stack, second, following, swapped: AtomicBool::new(false), _folder: folder };
        world.until_in_step().await?;
        Ok(world)
    }

    /// The primary and its replica.
    fn both(&self) -> (&Redis, &Redis) {
        if self.swapped.load(Ordering::Relaxed) {
            (&self.second, self.stack.redis())
        } else {
            (self.stack.redis(), &self.second)
        }
    }

    /// The primary.
    pub fn redis(&self) -> &Redis {
        self.both().0
    }

    /// The nodes as clients reach them: behind proxies.
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

    async fn until_in_step(&self) -> Result<()> {
        let begun = Instant::now();
        while !self.both().1.is_in_step().await {
            ensure!(begun.elapsed() < IN_STEP_PATIENCE, "the second Redis does not get in step");
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// The replica takes over with data that lag by this time. The old primary is paused while the address moves; then
    /// it continues without clients, and becomes the replica in the end.
    pub(super) async fn fail_over(&self, lag: Duration) -> Result<()> {
        self.until_in_step().await?;
        let (old, new) = self.both();
        self.following.set(LinkConditions { holds_down: true, ..LinkConditions::default() });
        sleep(lag).await;
        old.pause()?;
        // Replication data in flight is lost with the link.
        self.following.set(LinkConditions { refuses: true, ..LinkConditions::BLACK_HOLE });
        self.following.cut();
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
        self.follow(old, new).await
    }

    /// The replica takes over for persistence first; gateways use the old primary for this time, which works as before.
    pub(super) async fn split_brain(&self, time: Duration) -> Result<()> {
        self.until_in_step().await?;
        let (old, new) = self.both();
        self.following.set(LinkConditions { refuses: true, ..LinkConditions::BLACK_HOLE });
        self.following.cut();
        new.promote().await?;
        let links = self.stack.links();
        links.persistence_redis.point_to(new.port());
        links.persistence_redis.cut();
        sleep(time).await;
        links.gateways_redis.point_to(new.port());
        links.gateways_redis.cut();
        self.swapped.fetch_xor(true, Ordering::Relaxed);
        sleep(FAILOVER_PAUSE).await;
        self.follow(old, new).await
    }

    async fn follow(&self, old: &Redis, new: &Redis) -> Result<()> {
        self.following.point_to(new.port());
        self.following.heal();
        let follow = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(self.following.port()).clone();
        old.command::<()>(&follow).await
    }
}
