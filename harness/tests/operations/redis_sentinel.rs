//! Sentinels name the master: the services ask one after the other, use only the address of a process that is a master,
//! and follow a failover. The Sentinel is Debian's redis-server in its Sentinel mode.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidings_harness::Stack;
use tidings_harness::folder::Folder;
use tidings_harness::redis::{Redis, Sentinel};
use tidings_shared::log::{
    MasterSource, RedisClient,
    address::{SentinelAccess, client_with},
    sentinel::master_of,
};

/// Longer than Sentinel needs to replace a master, also on a busy machine.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(60);

/// A master with one replica, and Sentinels that watch them.
struct SentinelSystem {
    sentinels: Vec<Sentinel>,
    master: Redis,
    replica: Redis,
    _folders: [Folder; 2],
}

impl SentinelSystem {
    async fn start(sentinels: usize) -> Result<Self> {
        let folders = [Folder::new()?, Folder::new()?];
        let master = Redis::start_in(folders[0].path()).await?;
        let replica = Redis::follow(folders[1].path(), master.port()).await?;
        let begun = Instant::now();
        while !replica.is_in_sync().await {
            ensure!(begun.elapsed() < FAILOVER_TIMEOUT, "the replica is not in sync");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut started = Vec::new();
        for _ in 0..sentinels {
            started.push(Sentinel::start(master.port(), sentinels / 2 + 1, 1).await?);
        }
        Ok(Self { sentinels: started, master, replica, _folders: folders })
    }

    fn client(&self) -> Result<RedisClient> {
        let url = Sentinel::services_url(&self.sentinels);
        client_with(&url, None, None, SentinelAccess::default()).map_err(anyhow::Error::msg)
    }

    /// Waits until the last Sentinel names this port.
    async fn until_master(&self, port: u16) -> Result<()> {
        let (begun, last) = (Instant::now(), self.sentinels.last().context("a Sentinel")?);
        while last.master_port().await? != port {
            ensure!(begun.elapsed() < FAILOVER_TIMEOUT, "the replica was not promoted");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

async fn master_port(client: &RedisClient) -> Result<u16> {
    let MasterSource::Sentinels(sentinels) = client.source() else {
        anyhow::bail!("not a client of Sentinels: {client:?}")
    };
    Ok(master_of(sentinels, client).await?.port)
}

#[tokio::test]
async fn sentinels_are_asked_in_turn_for_the_promoted_replica() -> Result<()> {
    let system = SentinelSystem::start(3).await?;
    let client = system.client()?;
    ensure!(master_port(&client).await? == system.master.port());
    system.sentinels[0].kill();
    ensure!(master_port(&client).await? == system.master.port(), "the dead Sentinel is skipped");
    // The two others are a majority.
    system.master.kill();
    system.until_master(system.replica.port()).await?;
    let begun = Instant::now();
    while master_port(&client).await.ok() != Some(system.replica.port()) {
        ensure!(begun.elapsed() < FAILOVER_TIMEOUT, "the Sentinels do not agree");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

#[tokio::test]
async fn address_of_a_demoted_master_is_refused() -> Result<()> {
    let system = SentinelSystem::start(1).await?;
    let client = system.client()?;
    ensure!(master_port(&client).await? == system.master.port());
    // The Sentinel still names this process.
    let mut demote = redis::cmd("REPLICAOF");
    system.master.command::<()>(demote.arg("127.0.0.1").arg(system.replica.port())).await?;
    let error = master_port(&client).await.err().context("nobody is a master")?.to_string();
    ensure!(error.contains("is not a master"), "{error}");
    system.master.kill();
    let error = master_port(&client).await.err().context("nobody is a master")?.to_string();
    ensure!(error.contains("no Sentinel named a running master"), "{error}");
    Ok(())
}

#[tokio::test]
async fn services_follow_the_master_that_sentinel_promotes() -> Result<()> {
    let system = SentinelSystem::start(1).await?;
    let stack = Stack::builder().env("REDIS_URL", Sentinel::services_url(&system.sentinels)).start().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    ensure!(alice.send(&room, "before", "before").await?.status < 300);
    system.master.kill();
    system.until_master(system.replica.port()).await?;
    let begun = Instant::now();
    while alice.send(&room, "after", "after").await?.status >= 300 {
        ensure!(begun.elapsed() < FAILOVER_TIMEOUT, "the services do not use the new master");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}
