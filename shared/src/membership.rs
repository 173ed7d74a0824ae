//! The membership cache in Redis: which rooms a user is in, with role and read position, so that a reconnect costs
//! no query. It counts only in the epoch in which it was filled, and a fill only when nothing changed meanwhile.
//!
//! | key | type | what |
//! | --- | --- | --- |
//! | `rooms:{<user>}` | hash | room → `<role> <read seq>`; the field `` holds the epoch of the fill |
//! | `rooms:{<user>}:v` | counter | counted up at every change of the user's memberships |
//! | `account:{<user>}` | string | what PostgreSQL knows of the user, JSON; the epoch of the fill inside |

use std::{collections::HashMap, sync::LazyLock};

use redis::{RedisError, Script, aio::MultiplexedConnection};
use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, RoomId, Seq, UserId};

/// A cache entry of someone who does not come back goes after this; the version must outlive any fill by far.
const CACHE_TTL_S: u64 = 3600;
const VERSION_TTL_S: u64 = 7 * 86_400;

static FILL: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("membership/fill.lua")));
static ADVANCE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("membership/advance.lua")));

/// A user's standing in one room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    pub role: String,
    pub read_seq: Seq,
}

/// What PostgreSQL knows of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub name: Option<String>,
    pub picture: Option<String>,
    pub blocked: bool,
}

fn rooms_key(user: &UserId) -> String {
    format!("rooms:{{{user}}}")
}

fn version_key(user: &UserId) -> String {
    format!("rooms:{{{user}}}:v")
}

fn account_key(user: &UserId) -> String {
    format!("account:{{{user}}}")
}

/// The wire's `rooms_version`: epoch and counter.
#[must_use]
pub fn wire_version(epoch: Epoch, counter: u64) -> String {
    format!("{epoch}.{counter}")
}

/// The counter of a user's memberships; read before a fill and before listing their rooms.
///
/// # Errors
/// When Redis does not answer.
pub async fn version(connection: &mut MultiplexedConnection, user: &UserId) -> Result<u64, RedisError> {
    let counter: Option<u64> = redis::cmd("GET").arg(version_key(user)).query_async(connection).await?;
    Ok(counter.unwrap_or(0))
}

/// Drops what is cached of users whose memberships changed, and shuts out fills that are under way.
///
/// # Errors
/// When Redis does not answer.
pub async fn changed<'a>(
    connection: &mut MultiplexedConnection,
    users: impl IntoIterator<Item = &'a UserId>,
) -> Result<(), RedisError> {
    let mut pipe = redis::pipe();
    for user in users {
        pipe.cmd("INCR").arg(version_key(user)).ignore();
        pipe.cmd("EXPIRE").arg(version_key(user)).arg(VERSION_TTL_S).ignore();
        pipe.cmd("UNLINK").arg(rooms_key(user)).ignore();
    }
    if pipe.is_empty() { Ok(()) } else { pipe.query_async(connection).await }
}

/// Puts a user's memberships into the cache, unless they changed since `version` was read.
///
/// # Errors
/// When Redis does not answer.
pub async fn fill(
    connection: &mut MultiplexedConnection,
    user: &UserId,
    epoch: Epoch,
    version: u64,
    rooms: &HashMap<RoomId, Membership>,
) -> Result<bool, RedisError> {
    let mut call = FILL.key(rooms_key(user));
    call.key(version_key(user)).arg(version).arg(epoch.0).arg(CACHE_TTL_S);
    for (room, membership) in rooms {
        call.arg(room.as_str()).arg(format!("{} {}", membership.role, membership.read_seq));
    }
    call.invoke_async(connection).await
}

/// The cached memberships of a user: all, or in one room. `None`: not cached in this epoch.
///
/// # Errors
/// When Redis does not answer.
pub async fn all(
    connection: &mut MultiplexedConnection,
    user: &UserId,
    epoch: Epoch,
) -> Result<Option<HashMap<RoomId, Membership>>, RedisError> {
    let mut fields: HashMap<String, String> =
        redis::cmd("HGETALL").arg(rooms_key(user)).query_async(connection).await?;
    if fields.remove("").as_deref() != Some(epoch.to_string().as_str()) {
        return Ok(None);
    }
    let read = |(room, value): (String, String)| Some((RoomId::parse(&room).ok()?, read_membership(&value)?));
    Ok(Some(fields.into_iter().filter_map(read).collect()))
}

/// The cached membership in some rooms. `None`: not cached in this epoch; an inner `None`: not a member.
///
/// # Errors
/// When Redis does not answer.
pub async fn of(
    connection: &mut MultiplexedConnection,
    user: &UserId,
    epoch: Epoch,
    rooms: &[RoomId],
) -> Result<Option<Vec<Option<Membership>>>, RedisError> {
    let mut command = redis::cmd("HMGET");
    command.arg(rooms_key(user)).arg("");
    for room in rooms {
        command.arg(room.as_str());
    }
    let mut values: Vec<Option<String>> = command.query_async(connection).await?;
    if values.is_empty() || values.remove(0).as_deref() != Some(epoch.to_string().as_str()) {
        return Ok(None);
    }
    Ok(Some(values.into_iter().map(|value| read_membership(&value?)).collect()))
}

/// Moves the cached read position forward; never back, and never into a cache that was not filled.
///
/// # Errors
/// When Redis does not answer.
pub async fn advance_read(
    connection: &mut MultiplexedConnection,
    user: &UserId,
    room: &RoomId,
    seq: Seq,
) -> Result<(), RedisError> {
    ADVANCE.key(rooms_key(user)).arg(room.as_str()).arg(seq.0).invoke_async(connection).await
}

fn read_membership(value: &str) -> Option<Membership> {
    let (role, read_seq) = value.split_once(' ')?;
    Some(Membership { role: role.to_owned(), read_seq: Seq(read_seq.parse().ok()?) })
}

#[derive(Serialize, Deserialize)]
struct CachedAccount {
    epoch: u64,
    #[serde(flatten)]
    account: Account,
}

/// The cached account of a user, when it was cached in this epoch.
///
/// # Errors
/// When Redis does not answer.
pub async fn account(
    connection: &mut MultiplexedConnection,
    user: &UserId,
    epoch: Epoch,
) -> Result<Option<Account>, RedisError> {
    let cached: Option<String> = redis::cmd("GET").arg(account_key(user)).query_async(connection).await?;
    let cached = cached.and_then(|json| serde_json::from_str::<CachedAccount>(&json).ok());
    Ok(cached.filter(|cached| cached.epoch == epoch.0).map(|cached| cached.account))
}

/// Caches an account.
///
/// # Errors
/// When Redis does not answer.
pub async fn remember_account(
    connection: &mut MultiplexedConnection,
    user: &UserId,
    epoch: Epoch,
    account: &Account,
) -> Result<(), RedisError> {
    let cached = CachedAccount { epoch: epoch.0, account: account.clone() };
    let json = serde_json::to_string(&cached).unwrap_or_default();
    redis::cmd("SET")
        .arg(account_key(user))
        .arg(json)
        .arg("EX")
        .arg(CACHE_TTL_S)
        .query_async(connection)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cached_membership_is_read_back() {
        let read = read_membership("custom-role 42");
        assert_eq!(read, Some(Membership { role: "custom-role".into(), read_seq: Seq(42) }));
        assert_eq!(read_membership("member"), None);
    }
}
