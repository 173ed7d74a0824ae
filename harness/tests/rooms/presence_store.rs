//! The scripts of presence against a Redis of their own: lives that are over, reapers, grace, and who tells.
//! Time is made to pass by moving what is kept into the past.

use std::time::Duration;

use anyhow::Result;
use redis::{AsyncCommands, aio::MultiplexedConnection};
use tidings_harness::redis::Redis;
use tidings_shared::{
    ids::{RoomId, UserId},
    presence::{self, Hold, Life, Partition, Put, PutOutcome, State},
    protocol::Status,
};

/// A Redis with a connection, and somebody.
struct Store {
    connection: MultiplexedConnection,
    user: UserId,
    _redis: Redis,
}

const ONLINE: Option<Status> = Some(Status::Online);
const AWAY: Option<Status> = Some(Status::Away);
/// Above a lease and its grace.
const LONG_MS: i64 = 60_000;

impl Store {
    async fn new() -> Result<Self> {
        let redis = Redis::start().await?;
        let connection = ::redis::Client::open(redis.url())?.get_multiplexed_async_connection().await?;
        Ok(Self { connection, user: UserId::parse("alice")?, _redis: redis })
    }

    fn key(&self, name: &str) -> String {
        format!("{{u{:02}}}:presence:{name}", Partition::of(&self.user).index())
    }

    async fn life(&mut self) -> Result<Life> {
        let life = Life::fresh();
        assert!(presence::begin(&mut self.connection, &life).await?);
        Ok(life)
    }

    async fn put(
        &mut self,
        life: &Life,
        status: Option<Status>,
        grace: Option<Status>,
    ) -> Result<PutOutcome> {
        let put = Put { user: self.user.clone(), status, grace };
        Ok(presence::put(&mut self.connection, life, &[put]).await?.remove(0))
    }

    async fn tell(&mut self) -> Result<bool> {
        let users = [(self.user.clone(), vec![RoomId::parse("r")?])];
        Ok(presence::tell(&mut self.connection, &users).await?.remove(0))
    }

    async fn state(&mut self) -> Result<State> {
        Ok(presence::states(&mut self.connection, std::slice::from_ref(&self.user)).await?.remove(0))
    }

    async fn status(&mut self) -> Result<Option<Status>> {
        Ok(self.state().await?.status)
    }

    /// Lets the lease of a life be over, with its grace.
    async fn end_lease(&mut self, life: &Life) -> Result<()> {
        let key = self.key("lives");
        let _: f64 = self.connection.zincr(key, life.to_string(), -LONG_MS).await?;
        Ok(())
    }

    /// Lets what holds for a time run out.
    async fn run_out(&mut self, kind: &str) -> Result<()> {
        let (key, field) = (self.key(&format!("user:{}", self.user)), format!("x:{kind}"));
        let held: String = self.connection.hget(&key, &field).await?;
        let parts: Vec<&str> = held.split(' ').collect();
        let past = |ms: &str| ms.parse::<i64>().map(|ms| ms - LONG_MS);
        let over = format!("{} {} {}", parts[0], past(parts[1])?, past(parts[2])?);
        let _: i64 = self.connection.hset(key, field, over).await?;
        Ok(())
    }

    async fn keys(&mut self) -> Result<Vec<String>> {
        Ok(self.connection.keys(self.key("*")).await?)
    }
}

#[tokio::test]
async fn a_life_that_is_over_takes_nothing_is_never_renewed_and_counts_no_more() -> Result<()> {
    let mut store = Store::new().await?;
    let life = store.life().await?;
    assert_eq!(store.put(&Life::fresh(), ONLINE, None).await?, PutOutcome::LifeOver, "never begun");
    assert_eq!(store.put(&life, ONLINE, None).await?, PutOutcome::Tell);
    assert!(presence::renew(&mut store.connection, &life).await?);
    store.end_lease(&life).await?;
    assert_eq!(store.status().await?, None, "whether or not anybody has reaped it");
    assert!(!presence::renew(&mut store.connection, &life).await?);
    assert_eq!(store.put(&life, ONLINE, None).await?, PutOutcome::LifeOver);
    assert!(!presence::begin(&mut store.connection, &life).await?, "it cannot begin again");
    Ok(())
}

#[tokio::test]
async fn a_life_that_a_reaper_has_begun_with_does_not_come_back() -> Result<()> {
    let mut store = Store::new().await?;
    let life = store.life().await?;
    store.put(&life, ONLINE, None).await?;
    let partition = Partition::of(&store.user);
    assert!(presence::claim(&mut store.connection, partition, &life, 10).await?.is_empty(), "it is alive");
    store.end_lease(&life).await?;
    assert_eq!(presence::claim(&mut store.connection, partition, &life, 10).await?, [store.user.clone()]);
    // As if the clock had been set back: the mark of the reaper counts.
    let key = store.key("lives");
    let marked: f64 = store.connection.zscore(key, life.to_string()).await?;
    assert!(marked < 0.0 && !presence::renew(&mut store.connection, &life).await?);
    Ok(())
}

#[tokio::test]
async fn reaping_a_life_takes_away_what_it_held_and_nothing_else() -> Result<()> {
    let mut store = Store::new().await?;
    let (old, other) = (store.life().await?, store.life().await?);
    store.put(&old, ONLINE, None).await?;
    store.put(&other, AWAY, None).await?;
    assert!(store.tell().await?);
    assert_eq!(store.status().await?, ONLINE);
    store.end_lease(&old).await?;
    assert_eq!(store.status().await?, AWAY);
    let (partition, user) = (Partition::of(&store.user), [store.user.clone()]);
    // A reaper that takes the wrong life does no harm.
    assert_eq!(presence::reap(&mut store.connection, &other, &user).await?, [PutOutcome::Told]);
    assert_eq!(store.status().await?, AWAY);
    assert_eq!(presence::claim(&mut store.connection, partition, &old, 10).await?, user);
    assert_eq!(presence::reap(&mut store.connection, &old, &user).await?, [PutOutcome::Tell]);
    assert_eq!(presence::claim(&mut store.connection, partition, &old, 10).await?, []);
    assert!(store.tell().await?);
    assert_eq!(store.status().await?, AWAY);
    let lives: Vec<String> = { store.connection.zrange(store.key("lives"), 0, -1).await? };
    assert_eq!(lives, [other.to_string()], "what is reaped is forgotten");
    Ok(())
}

#[tokio::test]
async fn of_all_who_tell_at_once_one_does() -> Result<()> {
    let mut store = Store::new().await?;
    let life = store.life().await?;
    store.put(&life, ONLINE, None).await?;
    let users = [(store.user.clone(), vec![RoomId::parse("r")?])];
    let all = (0..20).map(|_| {
        let (mut connection, users) = (store.connection.clone(), users.clone());
        tokio::spawn(async move { presence::tell(&mut connection, &users).await })
    });
    let mut told = 0;
    for one in all.collect::<Vec<_>>() {
        told += usize::from(one.await??[0]);
    }
    assert_eq!(told, 1);
    assert_eq!(store.put(&life, ONLINE, None).await?, PutOutcome::Told, "nothing new");
    let kept: usize = { store.connection.xlen(store.key("told")).await? };
    assert_eq!(kept, 1, "it is kept for those who did not hear it");
    Ok(())
}

#[tokio::test]
async fn a_closed_connection_counts_for_the_grace_and_who_is_back_needs_none() -> Result<()> {
    let mut store = Store::new().await?;
    let (here, there) = (store.life().await?, store.life().await?);
    store.put(&here, ONLINE, None).await?;
    store.tell().await?;
    assert_eq!(store.put(&here, None, ONLINE).await?, PutOutcome::Told, "it goes on");
    assert_eq!(store.status().await?, ONLINE);
    // Back on another node: what is said there counts at once.
    assert_eq!(store.put(&there, ONLINE, None).await?, PutOutcome::Told);
    assert_eq!(store.put(&there, AWAY, None).await?, PutOutcome::Tell);
    assert!(store.tell().await?);
    assert_eq!(store.status().await?, AWAY);

    assert_eq!(store.put(&there, None, AWAY).await?, PutOutcome::Told);
    store.run_out("a").await?;
    assert_eq!(store.status().await?, None);
    assert!(store.tell().await?);
    assert!(!store.tell().await?, "once");
    assert!(store.state().await?.last_seen_ms.is_some());
    // Nothing is left of somebody who went but when they were seen, what was told, and the lives.
    let left: Vec<String> = store.keys().await?;
    assert!(
        !left.iter().any(|key| key.contains(":user:") || key.ends_with(":due") || key.contains(":life:")),
        "{left:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_hold_keeps_what_was_said_until_it_runs_out() -> Result<()> {
    let mut store = Store::new().await?;
    let hold = async |store: &mut Store, status| {
        let holds = [(store.user.clone(), status)];
        let time = Duration::from_secs(30);
        presence::hold(&mut store.connection, Hold::Poll, time, &holds)
            .await
            .map(|mut outcomes| outcomes.remove(0))
    };
    assert_eq!(hold(&mut store, None).await?, PutOutcome::Tell);
    store.tell().await?;
    assert_eq!(store.status().await?, ONLINE);
    assert_eq!(hold(&mut store, AWAY).await?, PutOutcome::Tell);
    store.tell().await?;
    assert_eq!(hold(&mut store, None).await?, PutOutcome::Told);
    assert_eq!(store.status().await?, AWAY, "who says nothing stays what they are");
    store.run_out("poll").await?;
    assert_eq!(store.status().await?, None);
    assert_eq!(hold(&mut store, None).await?, PutOutcome::Tell);
    assert_eq!(store.status().await?, ONLINE, "what ran out says nothing any more");
    Ok(())
}

#[tokio::test]
async fn who_went_is_kept_until_it_is_written_down_and_a_later_time_longer() -> Result<()> {
    let mut store = Store::new().await?;
    let life = store.life().await?;
    let mut times = Vec::new();
    for _ in 0..2 {
        store.put(&life, ONLINE, None).await?;
        store.tell().await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        store.put(&life, None, None).await?;
        assert!(store.tell().await?);
        times.push(presence::gone(&mut store.connection, 10).await?);
    }
    assert!(times[0][0].0 == store.user && times[0][0].1 < times[1][0].1, "{times:?}");
    presence::drained(&mut store.connection, &times[0]).await?;
    assert_eq!(presence::gone(&mut store.connection, 10).await?, times[1], "it is another time by now");
    presence::drained(&mut store.connection, &times[1]).await?;
    assert_eq!(presence::gone(&mut store.connection, 10).await?, []);
    Ok(())
}

#[tokio::test]
async fn what_runs_out_and_what_nobody_told_is_found_by_the_sweep() -> Result<()> {
    let mut store = Store::new().await?;
    let life = store.life().await?;
    let now_ms = || u64::try_from(unix_ms()).unwrap_or(0);
    store.put(&life, ONLINE, None).await?;
    assert_eq!(presence::dues(&mut store.connection, now_ms(), 10).await?, [], "whoever put it tells it");
    let soon = now_ms() + 3000;
    assert_eq!(presence::dues(&mut store.connection, soon, 10).await?, [store.user.clone()]);
    store.tell().await?;
    assert_eq!(presence::dues(&mut store.connection, soon, 10).await?, []);
    store.put(&life, None, ONLINE).await?;
    assert_eq!(presence::dues(&mut store.connection, soon, 10).await?, []);
    let later = now_ms() + 11_000;
    assert_eq!(presence::dues(&mut store.connection, later, 10).await?, [store.user.clone()]);
    store.end_lease(&life).await?;
    let lapsed = presence::lapsed(&mut store.connection, now_ms(), 10).await?;
    let of_user = lapsed.into_iter().find(|(partition, _)| *partition == Partition::of(&store.user));
    assert_eq!(of_user.map(|(_, lives)| lives), Some(vec![life]));
    Ok(())
}

fn unix_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
