//! Node leases, under which gateways report their users as present. Also finds work: expired leases, users with an
//! expired state, and users whose last-seen time persistence must store.

use std::time::Duration;

use redis::RedisResult;

use super::{
    keys::{NodeLease, PresencePartition},
    scripts::{self, CLAIM, DRAINED, LEASE},
};
use crate::{
    ids::UserId,
    log::{Layout, RedisConnection as Connection, keys::COMMON_PARTITION},
    named_enum::named_enum,
};

/// Begins a node lease in partitions. Returns false if the lease has already expired in one of them.
pub async fn begin_lease(
    connection: &mut Connection,
    partitions: &[PresencePartition],
    lease: &NodeLease,
) -> RedisResult<bool> {
    call_lease_script(connection, partitions, lease, "begin").await
}

/// Renews a node lease in partitions. The cost does not depend on the number of users. Returns false if the lease has
/// expired in one of the partitions.
pub async fn renew_lease(
    connection: &mut Connection,
    partitions: &[PresencePartition],
    lease: &NodeLease,
) -> RedisResult<bool> {
    call_lease_script(connection, partitions, lease, "renew").await
}

/// Ends a node lease in partitions, e.g. when the node stops. The presence states under the lease stay valid for the
/// grace period.
pub async fn end_lease(
    connection: &mut Connection,
    partitions: &[PresencePartition],
    lease: &NodeLease,
) -> RedisResult<()> {
    call_lease_script(connection, partitions, lease, "end").await.map(drop)
}

async fn call_lease_script(
    connection: &mut Connection,
    partitions: &[PresencePartition],
    lease: &NodeLease,
    what: &str,
) -> RedisResult<bool> {
    let mut pipe = redis::pipe();
    for partition in partitions {
        let key = partition.leases(connection.layout());
        scripts::add_call(&mut pipe, &LEASE, &[key]).arg(&lease.0).arg(what);
    }
    let alive: Vec<bool> = scripts::run_calls(connection, &pipe).await?;
    Ok(alive.into_iter().all(|alive| alive))
}

named_enum! {
    /// Regular work for all users that only one node at a time needs to do, with the key that reserves it. In a cluster
    /// the tag of [`COMMON_PARTITION`] comes before the key.
    pub enum ExclusiveTask {
        /// A gateway removes expired node leases and expired presence states of users, and publishes the changes.
        Sweep = "presence:sweeper",
        /// A replica of persistence stores when users were last seen.
        StoreLastSeen = "presence:writer",
    }
}

/// Reserves a task for a time. Returns false if another node has reserved the task. The reservation only saves work,
/// because two nodes may safely do the same task at once.
pub async fn claim_task(
    connection: &mut Connection,
    task: ExclusiveTask,
    time: Duration,
) -> RedisResult<bool> {
    let key = match connection.layout() {
        Layout::Single => task.as_str().to_owned(),
        Layout::Cluster => COMMON_PARTITION.join_key(&[task.as_str()]),
    };
    let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut command = redis::cmd("SET");
    command.arg(key).arg(1).arg("NX").arg("PX").arg(time_ms);
    let reserved: Option<String> = command.query_async(connection).await?;
    Ok(reserved.is_some())
}

/// Reads the clock of Redis, in ms.
pub async fn clock_ms(connection: &mut Connection) -> RedisResult<u64> {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(connection).await?;
    Ok(seconds * 1000 + micros / 1000)
}

/// Returns the node leases of partitions whose grace period has ended at `now_ms`, up to `most` of each partition.
pub async fn expired_leases(
    connection: &mut Connection,
    partitions: &[PresencePartition],
    now_ms: u64,
    most: usize,
) -> RedisResult<Vec<(PresencePartition, Vec<NodeLease>)>> {
    let expired_before = now_ms.saturating_sub(GRACE_MS);
    let mut pipe = redis::pipe();
    for partition in partitions {
        pipe.cmd("ZRANGEBYSCORE")
            .arg(partition.leases(connection.layout()))
            .arg("-inf")
            .arg(expired_before)
            .arg("LIMIT")
            .arg(0)
            .arg(most);
    }
    let lease_ids: Vec<Vec<String>> = pipe.query_async(connection).await?;
    let leases = lease_ids.into_iter().map(|lease_ids| lease_ids.into_iter().map(NodeLease).collect());
    Ok(partitions.iter().copied().zip(leases).collect())
}

/// How long states stay valid after their node lease has expired, as in `combine.lua`.
const GRACE_MS: u64 = 10_000;

/// Returns at most `most` users with a state under an expired node lease, for [`remove_states`](super::remove_states).
/// If there is no such user, the lease is deleted.
pub async fn users_of_expired_lease(
    connection: &mut Connection,
    partition: PresencePartition,
    lease: &NodeLease,
    most: usize,
) -> RedisResult<Vec<UserId>> {
    let mut pipe = redis::pipe();
    let layout = connection.layout();
    let keys = [partition.leases(layout), partition.users_of(layout, lease)];
    scripts::add_call(&mut pipe, &CLAIM, &keys).arg(&lease.0).arg(most);
    let (users,): (Vec<String>,) = scripts::run_calls(connection, &pipe).await?;
    Ok(parse_users(users))
}

/// Returns users of partitions with an expired state, or with a change that was not published within 2 s, up to `most`
/// of each partition.
pub async fn due_users(
    connection: &mut Connection,
    partitions: &[PresencePartition],
    now_ms: u64,
    most: usize,
) -> RedisResult<Vec<UserId>> {
    let mut pipe = redis::pipe();
    for partition in partitions {
        let key = partition.due(connection.layout());
        pipe.cmd("ZRANGEBYSCORE").arg(key).arg("-inf").arg(now_ms).arg("LIMIT").arg(0).arg(most);
    }
    let users: Vec<Vec<String>> = pipe.query_async(connection).await?;
    Ok(users.into_iter().flat_map(parse_users).collect())
}

/// Postpones users of [`due_users`], so that they are due again after `pause`.
pub async fn postpone_users(
    connection: &mut Connection,
    users: &[UserId],
    pause: Duration,
) -> RedisResult<()> {
    let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    let at_ms = clock_ms(connection).await?.saturating_add(pause_ms);
    let mut pipe = redis::pipe();
    for user in users {
        // `XX` changes only users who are still due, and adds none.
        let key = PresencePartition::of(user).due(connection.layout());
        pipe.cmd("ZADD").arg(key).arg("XX").arg("GT").arg(at_ms).arg(user.as_str()).ignore();
    }
    pipe.query_async(connection).await
}

/// Returns users of partitions whose last-seen time (milliseconds since the Unix epoch) is not stored yet, up to `most`
/// of each partition.
pub async fn unstored_last_seen(
    connection: &mut Connection,
    partitions: &[PresencePartition],
    most: usize,
) -> RedisResult<Vec<(UserId, i64)>> {
    let mut pipe = redis::pipe();
    for partition in partitions {
        pipe.cmd("HRANDFIELD").arg(partition.last_seen(connection.layout())).arg(most).arg("WITHVALUES");
    }
    let times: Vec<Vec<String>> = pipe.query_async(connection).await?;
    let pair = |pair: &[String]| Some((UserId::parse(&pair[0]).ok()?, pair[1].parse().ok()?));
    Ok(times.iter().flat_map(|fields| fields.chunks_exact(2).filter_map(pair)).collect())
}

/// Removes these last-seen times from Redis, because PostgreSQL has stored them. After an error they are stored again.
pub async fn remove_stored_last_seen(
    connection: &mut Connection,
    stored: &[(UserId, i64)],
) -> RedisResult<()> {
    let mut pipe = redis::pipe();
    for (user, at_ms) in stored {
        let key = PresencePartition::of(user).last_seen(connection.layout());
        scripts::add_call(&mut pipe, &DRAINED, &[key]).arg(user.as_str()).arg(at_ms);
    }
    if pipe.is_empty() { Ok(()) } else { scripts::run_calls::<Vec<i64>>(connection, &pipe).await.map(drop) }
}

/// Parses user ids, and skips invalid ones.
fn parse_users(users: Vec<String>) -> Vec<UserId> {
    users.iter().filter_map(|user| UserId::parse(user).ok()).collect()
}
