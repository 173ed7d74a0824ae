//! Lives of nodes, and what the sweep looks for: lives that are over, users with something that runs out, and users
//! who went and are still to be written down.

use std::{fmt, time::Duration};

use redis::{RedisError, aio::MultiplexedConnection};

use super::{
    keys::Partition,
    scripts::{self, CLAIM, DRAINED, LEASE},
};
use crate::ids::UserId;

/// One life of a node: from the beginning of a lease to its end. A node that finds its life over begins another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life(String);

impl Life {
    #[must_use]
    pub fn fresh() -> Self {
        Self(uuid::Uuid::now_v7().simple().to_string())
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Begins a life.
///
/// # Errors
/// When Redis does not answer.
pub async fn begin(connection: &mut MultiplexedConnection, life: &Life) -> Result<bool, RedisError> {
    lease(connection, life, "begin").await
}

/// Renews the lease of a life in all partitions, whatever the number of its users; false: it is over.
///
/// # Errors
/// When Redis does not answer.
pub async fn renew(connection: &mut MultiplexedConnection, life: &Life) -> Result<bool, RedisError> {
    lease(connection, life, "renew").await
}

/// Ends a life that is not needed any more: what it still holds goes after the grace.
///
/// # Errors
/// When Redis does not answer.
pub async fn end(connection: &mut MultiplexedConnection, life: &Life) -> Result<(), RedisError> {
    lease(connection, life, "end").await.map(drop)
}

async fn lease(connection: &mut MultiplexedConnection, life: &Life, what: &str) -> Result<bool, RedisError> {
    let mut pipe = redis::pipe();
    for partition in Partition::all() {
        scripts::call(&mut pipe, &LEASE, &[partition.lives()]).arg(&life.0).arg(what);
    }
    let alive: Vec<bool> = scripts::run(connection, &pipe).await?;
    Ok(alive.into_iter().all(|alive| alive))
}

/// Work that any node may do, one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Of gateways: looking for lives that are over and for what ran out.
    Sweep,
    /// Of persistence: writing down when those who went were seen last.
    WriteDown,
}

/// Takes a turn, for so long; `None`: it is another's. With the turn comes Redis's time, ms.
/// Two who do the same at once do no harm: the turn only spares work.
///
/// # Errors
/// When Redis does not answer.
pub async fn turn(
    connection: &mut MultiplexedConnection,
    turn: Turn,
    time: Duration,
) -> Result<Option<u64>, RedisError> {
    let key = match turn {
        Turn::Sweep => "presence:sweeper",
        Turn::WriteDown => "presence:writer",
    };
    let mut pipe = redis::pipe();
    let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    pipe.cmd("SET").arg(key).arg(1).arg("NX").arg("PX").arg(time_ms);
    pipe.cmd("TIME");
    let (mine, (seconds, micros)): (Option<String>, (u64, u64)) = pipe.query_async(connection).await?;
    Ok(mine.map(|_| seconds * 1000 + micros / 1000))
}

/// Lives whose lease and grace are over at `now_ms`, some of each partition.
///
/// # Errors
/// When Redis does not answer.
pub async fn lapsed(
    connection: &mut MultiplexedConnection,
    now_ms: u64,
    most: usize,
) -> Result<Vec<(Partition, Vec<Life>)>, RedisError> {
    let over = now_ms.saturating_sub(GRACE_MS);
    let mut pipe = redis::pipe();
    for partition in Partition::all() {
        pipe.cmd("ZRANGEBYSCORE").arg(partition.lives()).arg("-inf").arg(over).arg("LIMIT").arg(0).arg(most);
    }
    let lives: Vec<Vec<String>> = pipe.query_async(connection).await?;
    let named = lives.into_iter().map(|lives| lives.into_iter().map(Life).collect());
    Ok(Partition::all().zip(named).collect())
}

/// As in `weigh.lua`.
const GRACE_MS: u64 = 10_000;

/// Some users whom a life that is over still holds, each to be reaped; none: there is nothing left of it.
///
/// # Errors
/// When Redis does not answer.
pub async fn claim(
    connection: &mut MultiplexedConnection,
    partition: Partition,
    life: &Life,
    most: usize,
) -> Result<Vec<UserId>, RedisError> {
    let mut pipe = redis::pipe();
    let keys = [partition.lives(), partition.users_of(life)];
    scripts::call(&mut pipe, &CLAIM, &keys).arg(&life.0).arg(most);
    let (users,): (Vec<String>,) = scripts::run(connection, &pipe).await?;
    Ok(users_of(users))
}

/// Users of whom something ran out, or is to be told and was not: up to `most` of each partition.
///
/// # Errors
/// When Redis does not answer.
pub async fn dues(
    connection: &mut MultiplexedConnection,
    now_ms: u64,
    most: usize,
) -> Result<Vec<UserId>, RedisError> {
    let mut pipe = redis::pipe();
    for partition in Partition::all() {
        pipe.cmd("ZRANGEBYSCORE").arg(partition.due()).arg("-inf").arg(now_ms).arg("LIMIT").arg(0).arg(most);
    }
    let users: Vec<Vec<String>> = pipe.query_async(connection).await?;
    Ok(users.into_iter().flat_map(users_of).collect())
}

/// Looks at users who are due again only after a pause.
///
/// # Errors
/// When Redis does not answer.
pub async fn put_off(
    connection: &mut MultiplexedConnection,
    users: &[UserId],
    pause: Duration,
) -> Result<(), RedisError> {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(connection).await?;
    let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    let at_ms = (seconds * 1000 + micros / 1000).saturating_add(pause_ms);
    let mut pipe = redis::pipe();
    for user in users {
        // Not who was told meanwhile: they are not due any more.
        let key = Partition::of(user).due();
        pipe.cmd("ZADD").arg(key).arg("XX").arg("GT").arg(at_ms).arg(user.as_str()).ignore();
    }
    pipe.query_async(connection).await
}

/// Users who went, with when they were seen last (ms), as far as that is not written down yet: up to `most` of each
/// partition.
///
/// # Errors
/// When Redis does not answer.
pub async fn gone(
    connection: &mut MultiplexedConnection,
    most: usize,
) -> Result<Vec<(UserId, i64)>, RedisError> {
    let mut pipe = redis::pipe();
    for partition in Partition::all() {
        pipe.cmd("HRANDFIELD").arg(partition.gone()).arg(most).arg("WITHVALUES");
    }
    let gone: Vec<Vec<String>> = pipe.query_async(connection).await?;
    let pair = |pair: &[String]| Some((UserId::parse(&pair[0]).ok()?, pair[1].parse().ok()?));
    Ok(gone.iter().flat_map(|fields| fields.chunks_exact(2).filter_map(pair)).collect())
}

/// Says that these were written down.
///
/// # Errors
/// When Redis does not answer; then they are written down again.
pub async fn drained(
    connection: &mut MultiplexedConnection,
    written: &[(UserId, i64)],
) -> Result<(), RedisError> {
    let mut pipe = redis::pipe();
    for partition in Partition::all() {
        let mut of_partition = written.iter().filter(|(user, _)| Partition::of(user) == partition).peekable();
        if of_partition.peek().is_some() {
            scripts::call(&mut pipe, &DRAINED, &[partition.gone()]);
            for (user, at_ms) in of_partition {
                pipe.arg(user.as_str()).arg(at_ms);
            }
        }
    }
    if pipe.is_empty() { Ok(()) } else { scripts::run::<Vec<i64>>(connection, &pipe).await.map(drop) }
}

/// Ids that are none are of nobody: they are looked at as little as they can be.
fn users_of(users: Vec<String>) -> Vec<UserId> {
    users.iter().filter_map(|user| UserId::parse(user).ok()).collect()
}
