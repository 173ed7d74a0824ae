//! The scripts of presence on a private Redis: expired node leases, reaping, grace, and publishing of changes.
//! Tests let time pass by moving stored times into the past.

use std::time::Duration;

use anyhow::Result;
use redis::AsyncCommands;
use tidings_harness::redis::Redis;
use tidings_shared::{
    ids::{RoomId, UserId},
    log::{Layout, RedisConnection},
    presence::{self, HoldKind, NodeLease, NodeState, PresencePartition, PresenceState, WriteOutcome},
    protocol::Status,
};

struct PresenceStore {
    connection: RedisConnection,
    user: UserId,
    _redis: Redis,
}

const ONLINE: Option<Status> = Some(Status::Online);
const AWAY: Option<Status> = Some(Status::Away);
/// Longer than a lease and its grace.
const EXPIRY_SHIFT_MS: i64 = 60_000;

fn all() -> Vec<PresencePartition> {
    PresencePartition::all().collect()
}

impl PresenceStore {
    async fn new() -> Result<Self> {
        let redis = Redis::start().await?;
        let connection = ::redis::Client::open(redis.url())?.get_multiplexed_async_connection().await?;
        let connection = RedisConnection::new(connection, Layout::Single);
        Ok(Self { connection, user: UserId::parse("alice")?, _redis: redis })
    }

    fn key(&self, name: &str) -> String {
        format!("{{u{:02}}}:presence:{name}", PresencePartition::of(&self.user).index())
    }

    async fn new_lease(&mut self) -> Result<NodeLease> {
        let lease = NodeLease::generate();
        assert!(presence::begin_lease(&mut self.connection, &all(), &lease).await?);
        Ok(lease)
    }

    async fn write_state(
        &mut self,
        lease: &NodeLease,
        status: Option<Status>,
        grace: Option<Status>,
    ) -> Result<WriteOutcome> {
        self.write_after_silence(lease, status, grace, 0).await
    }

    /// Like `write_state`, with the last sign of life of the closed connections this long ago.
    async fn write_after_silence(
        &mut self,
        lease: &NodeLease,
        status: Option<Status>,
        grace: Option<Status>,
        silence_ms: u32,
    ) -> Result<WriteOutcome> {
        // The clock of the node has wrapped around since then.
        let (now_ms, last_sign_ms) = (5, 5_u32.wrapping_sub(silence_ms));
        let put = NodeState { user: self.user.clone(), status, grace, last_sign_ms };
        Ok(presence::write_states(&mut self.connection, lease, &[put], now_ms).await?.remove(0))
    }

    async fn publish(&mut self) -> Result<bool> {
        let users = [(self.user.clone(), vec![RoomId::parse("r")?])];
        Ok(presence::publish_states(&mut self.connection, &users).await?.remove(0))
    }

    async fn state(&mut self) -> Result<PresenceState> {
        Ok(presence::states(&mut self.connection, std::slice::from_ref(&self.user)).await?.remove(0))
    }

    async fn status(&mut self) -> Result<Option<Status>> {
        Ok(self.state().await?.status)
    }

    /// Moves the end of a node lease and its grace into the past.
    async fn expire_lease(&mut self, lease: &NodeLease) -> Result<()> {
        let key = self.key("lives");
        let _: f64 = self.connection.zincr(key, lease.to_string(), -EXPIRY_SHIFT_MS).await?;
        Ok(())
    }

    /// Moves the end of a presence state without a connection (a hold) into the past.
    async fn expire_hold(&mut self, kind: &str) -> Result<()> {
        let (key, field) = (self.key(&format!("user:{}", self.user)), format!("x:{kind}"));
        let held: String = self.connection.hget(&key, &field).await?;
        let parts: Vec<&str> = held.split(' ').collect();
        let past = |ms: &str| ms.parse::<i64>().map(|ms| ms - EXPIRY_SHIFT_MS);
        let over = format!("{} {} {}", parts[0], past(parts[1])?, past(parts[2])?);
        let _: i64 = self.connection.hset(key, field, over).await?;
        Ok(())
    }

    async fn presence_keys(&mut self) -> Result<Vec<String>> {
        Ok(self.connection.keys(self.key("*")).await?)
    }
}

#[tokio::test]
async fn expired_node_lease_accepts_nothing_and_cannot_be_renewed() -> Result<()> {
    let mut store = PresenceStore::new().await?;
    let lease = store.new_lease().await?;
    assert_eq!(
        store.write_state(&NodeLease::generate(), ONLINE, None).await?,
        WriteOutcome::LeaseExpired,
        "a lease that never began"
    );
    assert_eq!(store.write_state(&lease, ONLINE, None).await?, WriteOutcome::MustPublish);
    assert!(presence::renew_lease(&mut store.connection, &all(), &lease).await?);
    store.expire_lease(&lease).await?;
    assert_eq!(store.status().await?, None, "an expired lease must not count, even before it is reaped");
    assert!(!presence::renew_lease(&mut store.connection, &all(), &lease).await?);
    assert_eq!(store.write_state(&lease, ONLINE, None).await?, WriteOutcome::LeaseExpired);
    assert!(
        !presence::begin_lease(&mut store.connection, &all(), &lease).await?,
        "an expired lease must not begin again"
    );
    Ok(())
}

#[tokio::test]
async fn claimed_node_lease_cannot_be_renewed() -> Result<()> {
    let mut store = PresenceStore::new().await?;
    let lease = store.new_lease().await?;
    store.write_state(&lease, ONLINE, None).await?;
    let partition = PresencePartition::of(&store.user);
    assert!(
        presence::users_of_expired_lease(&mut store.connection, partition, &lease, 10).await?.is_empty(),
        "a live lease must not be claimed"
    );
    store.expire_lease(&lease).await?;
    assert_eq!(
        presence::users_of_expired_lease(&mut store.connection, partition, &lease, 10).await?,
        [store.user.clone()]
    );
    // The reaper's mark is negative, so the lease stays expired even if the clock was set back.
    let key = store.key("lives");
    let marked: f64 = store.connection.zscore(key, lease.to_string()).await?;
    assert!(marked < 0.0 && !presence::renew_lease(&mut store.connection, &all(), &lease).await?);
    Ok(())
}

#[tokio::test]
async fn reaping_node_lease_removes_only_its_entries() -> Result<()> {
    let mut store = PresenceStore::new().await?;
    let (old, other) = (store.new_lease().await?, store.new_lease().await?);
    store.write_state(&old, ONLINE, None).await?;
    store.write_state(&other, AWAY, None).await?;
    assert!(store.publish().await?);
    assert_eq!(store.status().await?, ONLINE);
    store.expire_lease(&old).await?;
    assert_eq!(store.status().await?, AWAY);
    let (partition, user) = (PresencePartition::of(&store.user), [store.user.clone()]);
    // Reaping a live lease changes nothing.
    assert_eq!(
        presence::remove_states(&mut store.connection, &other, &user).await?,
        [WriteOutcome::UpToDate]
    );
    assert_eq!(store.status().await?, AWAY);
    assert_eq!(presence::users_of_expired_lease(&mut store.connection, partition, &old, 10).await?, user);
    assert_eq!(
        presence::remove_states(&mut store.connection, &old, &user).await?,
        [WriteOutcome::MustPublish]
    );
    assert_eq!(presence::users_of_expired_lease(&mut store.connection, partition, &old, 10).await?, []);
    assert!(store.publish().await?);
    assert_eq!(store.status().await?, AWAY);
    let lives: Vec<String> = { store.connection.zrange(store.key("lives"), 0, -1).await? };
    assert_eq!(lives, [other.to_string()], "a reaped lease must be removed");
    Ok(())
}

#[tokio::test]
async fn concurrent_publishers_publish_change_once() -> Result<()> {
    let mut store = PresenceStore::new().await?;
    let lease = store.new_lease().await?;
    store.write_state(&lease, ONLINE, None).await?;
    let users = [(store.user.clone(), vec![RoomId::parse("r")?])];
    let all = (0..20).map(|_| {
        let (mut connection, users) = (store.connection.clone(), users.clone());
        tokio::spawn(async move { presence::publish_states(&mut connection, &users).await })
    });
    let mut published = 0;
    for one in all.collect::<Vec<_>>() {
        published += usize::from(one.await??[0]);
    }
    assert_eq!(published, 1);
    assert_eq!(
        store.write_state(&lease, ONLINE, None).await?,
        WriteOutcome::UpToDate,
        "the status did not change"
    );
    let kept: usize = { store.connection.xlen(store.key("told")).await? };
    assert_eq!(kept, 1, "the change must be kept for nodes that missed it");
    Ok(())
}

#[tokio::test]
async fn closed_connection_counts_for_grace_unless_user_returns() -> Result<()> {
    let mut store = PresenceStore::new().await?;
    let (here, there) = (store.new_lease().await?, store.new_lease().await?);
    store.write_state(&here, ONLINE, None).await?;
    store.publish().await?;
    assert_eq!(
        store.write_state(&here, None, ONLINE).await?,
        WriteOutcome::UpToDate,
        "the grace must keep the status"
    );
    assert_eq!(store.status().await?, ONLINE);
    // After a reconnect to another node a status set there counts at once.
    assert_eq!(store.write_state(&there, ONLINE, None).await?, WriteOutcome::UpToDate);
    assert_eq!(store.write_state(&there, AWAY, None).await?, WriteOutcome::MustPublish);
    assert!(store.publish().await?);
    assert_eq!(store.status().await?, AWAY);

    assert_eq!(store.write_state(&there, None, AWAY).await?, WriteOutcome::UpToDate);
    store.expire_hold("a").await?;
    assert_eq!(store.status().await?, None);
    assert!(store.publish().await?);
    assert!(!store.publish().await?, "a change must be published once");
    assert!(store.state().await?.last_seen_ms.is_some());
    // For an offline user, Redis keeps only `last_seen`, the published changes and the leases.
    let left: Vec<String> = store.presence_keys().await?;
    assert!(
        !left.iter().any(|key| key.contains(":user:") || key.ends_with(":due") || key.contains(":life:")),
        "{left:?}"
    );
    Ok(())
}

#[tokio::test]
async fn timed_hold_keeps_status_until_it_expires() -> Result<()> {
    let mut store = PresenceStore::new().await?;
    let hold = async |store: &mut PresenceStore, status| {
        let holds = [(store.user.clone(), status)];
        let time = Duration::from_secs(30);
        presence::hold_states(&mut store.connection, HoldKind::Poll, time, &holds)
            .await
            .map(|mut outcomes| outcomes.remove(0))
    };
    assert_eq!(hold(&mut store, None).await?, WriteOutcome::MustPublish);
    store.publish().await?;
    assert_eq!(store.status().await?, ONLINE);
    assert_eq!(hold(&mut store, AWAY).await?, WriteOutcome::MustPublish);
    store.publish().await?;
    assert_eq!(hold(&mut store, None).await?, WriteOutcome::UpToDate);
    assert_eq!(store.status().await?, AWAY, "a hold without a status must keep the status");
    store.expire_hold("poll").await?;
    assert_eq!(store.status().await?, None);
    assert_eq!(hold(&mut store, None).await?, WriteOutcome::MustPublish);
    assert_eq!(store.status().await?, ONLINE, "an expired hold must not keep its status");
    Ok(())
}

#[tokio::test]
async fn last_seen_of_silent_user_is_last_sign_of_life() -> Result<()> {
    let mut store = PresenceStore::new().await?;
    let lease = store.new_lease().await?;
    for grace in [None, AWAY, ONLINE] {
        store.write_state(&lease, ONLINE, None).await?;
        store.publish().await?;
        store.write_after_silence(&lease, None, grace, 100_000).await?;
        if let Some(grace) = grace {
            store.expire_hold(if grace == Status::Away { "a" } else { "o" }).await?;
        }
        assert!(store.publish().await?);
        let times = presence::unstored_last_seen(&mut store.connection, &all(), 10).await?;
        let ago_ms = i64::try_from(presence::clock_ms(&mut store.connection).await?)? - times[0].1;
        assert!((100_000..110_000).contains(&ago_ms), "{grace:?}: {ago_ms} ms ago");
    }
    Ok(())
}

#[tokio::test]
async fn last_seen_is_kept_until_stored_and_newer_one_survives() -> Result<()> {
    let mut store = PresenceStore::new().await?;
    let lease = store.new_lease().await?;
    let mut times = Vec::new();
    for _ in 0..2 {
        store.write_state(&lease, ONLINE, None).await?;
        store.publish().await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        store.write_state(&lease, None, None).await?;
        assert!(store.publish().await?);
        times.push(presence::unstored_last_seen(&mut store.connection, &all(), 10).await?);
    }
    assert!(times[0][0].0 == store.user && times[0][0].1 < times[1][0].1, "{times:?}");
    presence::remove_stored_last_seen(&mut store.connection, &times[0]).await?;
    assert_eq!(
        presence::unstored_last_seen(&mut store.connection, &all(), 10).await?,
        times[1],
        "a newer last_seen must not be drained"
    );
    presence::remove_stored_last_seen(&mut store.connection, &times[1]).await?;
    assert_eq!(presence::unstored_last_seen(&mut store.connection, &all(), 10).await?, []);
    Ok(())
}

#[tokio::test]
async fn sweep_finds_expired_and_unpublished_users() -> Result<()> {
    let mut store = PresenceStore::new().await?;
    let lease = store.new_lease().await?;
    let now_ms = || u64::try_from(unix_ms()).unwrap_or(0);
    store.write_state(&lease, ONLINE, None).await?;
    assert_eq!(
        presence::due_users(&mut store.connection, &all(), now_ms(), 10).await?,
        [],
        "a fresh change is left to the node that made it"
    );
    let soon = now_ms() + 3000;
    assert_eq!(presence::due_users(&mut store.connection, &all(), soon, 10).await?, [store.user.clone()]);
    store.publish().await?;
    assert_eq!(presence::due_users(&mut store.connection, &all(), soon, 10).await?, []);
    store.write_state(&lease, None, ONLINE).await?;
    assert_eq!(presence::due_users(&mut store.connection, &all(), soon, 10).await?, []);
    let later = now_ms() + 11_000;
    assert_eq!(presence::due_users(&mut store.connection, &all(), later, 10).await?, [store.user.clone()]);
    store.expire_lease(&lease).await?;
    let lapsed = presence::expired_leases(&mut store.connection, &all(), now_ms(), 10).await?;
    let of_user = lapsed.into_iter().find(|(partition, _)| *partition == PresencePartition::of(&store.user));
    assert_eq!(of_user.map(|(_, lives)| lives), Some(vec![lease]));
    Ok(())
}

fn unix_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
