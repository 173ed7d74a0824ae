//! The system of a run: a stack behind proxies, and a second Redis that follows the first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::Plan;
use crate::folder::Folder;
use crate::proxy::{Proxy, Weather};
use crate::redis::Redis;
use crate::wall_clock::WallClock;
use crate::{Nodes, Stack};

/// Between two steps of a fail-over.
const UNHEARD: Duration = Duration::from_secs(1);
const IN_STEP_PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
pub struct World {
    /// The nodes, and the first Redis.
    pub stack: Arc<Stack>,
    second: Redis,
    /// What one Redis follows the other through.
    following: Proxy,
    /// The second Redis is the primary.
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

    /// The Redis in use, and the one that follows it.
    fn both(&self) -> (&Redis, &Redis) {
        if self.swapped.load(Ordering::Relaxed) {
            (&self.second, self.stack.redis())
        } else {
            (self.stack.redis(), &self.second)
        }
    }

    /// The Redis in use.
    pub fn redis(&self) -> &Redis {
        self.both().0
    }

    /// Where clients find the nodes: behind proxies.
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

    /// The second Redis takes over with what it has, which is what the first had so long ago. The first stands still
    /// while the address is moved, then goes on, unheard, and follows in the end.
    pub(super) async fn fail_over(&self, lag: Duration) -> Result<()> {
        self.until_in_step().await?;
        let (old, new) = self.both();
        self.following.set(Weather { holds_down: true, ..Weather::default() });
        sleep(lag).await;
        old.pause()?;
        // What was under way to it is lost with the link.
        self.following.set(Weather { refuses: true, ..Weather::BLACK_HOLE });
        self.following.cut();
        new.promote().await?;
        let links = self.stack.links();
        for link in [&links.gateways_redis, &links.persistence_redis] {
            link.point_to(new.port());
            link.cut();
        }
        self.swapped.fetch_xor(true, Ordering::Relaxed);
        sleep(UNHEARD).await;
        old.resume()?;
        sleep(UNHEARD).await;
        self.follow(old, new).await
    }

    /// The second Redis takes over, but only persistence hears of it at first: gateways go on for so long with the first,
    /// which is as well as ever.
    pub(super) async fn split_brain(&self, time: Duration) -> Result<()> {
        self.until_in_step().await?;
        let (old, new) = self.both();
        self.following.set(Weather { refuses: true, ..Weather::BLACK_HOLE });
        self.following.cut();
        new.promote().await?;
        let links = self.stack.links();
        links.persistence_redis.point_to(new.port());
        links.persistence_redis.cut();
        sleep(time).await;
        links.gateways_redis.point_to(new.port());
        links.gateways_redis.cut();
        self.swapped.fetch_xor(true, Ordering::Relaxed);
        sleep(UNHEARD).await;
        self.follow(old, new).await
    }

    async fn follow(&self, old: &Redis, new: &Redis) -> Result<()> {
        self.following.point_to(new.port());
        self.following.heal();
        let follow = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(self.following.port()).clone();
        old.command::<()>(&follow).await
    }
}
