//! The caches of memberships and accounts in Redis, so that a reconnect needs no SQL query. The cached memberships of a
//! user are the user's rooms, each with role and read position. A value that was read from PostgreSQL before the latest
//! change is not cached.
//!
//! A new epoch may lack records of changes that PostgreSQL has, and these changes may never be announced. So a cached
//! account is valid only in the epoch in which it was written. Cached memberships hold the newest epoch of all
//! partitions that had been opened before they were read. They are valid for a room, also for one that they do not
//! contain, while neither the user's partition nor the room's partition is in a later epoch.
//!
//! | key | type | content |
//! | --- | --- | --- |
//! | `rooms:{<user>}` | hash | room → `<role> <read seq>`; the field with the empty name holds the newest epoch |
//! | `rooms:{<user>}:v` | number | version, which rises with every change of the user's memberships; a time in ms, so that no version is used twice |
//! | `rooms:{<user>}:m` | counter | moves: incremented when a read position of the user moves |
//! | `account:{<user>}` | string | the account in PostgreSQL as JSON, with the epoch |
//! | `account:{<user>}:v` | number | version of the account, which rises with every change of the account |
//!
//! In the keys of an id that begins with `}`, U+001F comes before the id, because Redis ignores an empty hash tag.
//! In a cluster the keys begin with the tag of the user's partition, and U+001F comes before a suffix:
//! `{07}:rooms:<user>`, `{07}:rooms:<user>␟v`.

#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::LazyLock};

use redis::{RedisResult, Script};
use serde::{Deserialize, Serialize};

use crate::{
    auth::Reason,
    error::{ErrorCode, Refusal},
    ids::{Epoch, RoomId, Seq, UserId},
    log::{Layout, RedisConnection as Connection, keys::Partition},
    sabotage,
};

/// Expiry of cached values and of versions. A version must not expire between a read of PostgreSQL and the write of its
/// result into the cache. After a version has expired, the next request creates a new one.
const CACHE_TTL_S: u64 = 3600;
const VERSION_TTL_S: u64 = 7 * 86_400;
/// Expiry of the counter of moves, which must be longer than a read of PostgreSQL plus the write into the cache.
const READ_POSITION_COUNTER_TTL_S: u64 = 600;

static FILL_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("membership/fill.lua")));
const ADVANCE_LUA: &str = include_str!("membership/advance.lua");
const CHANGED_LUA: &str = include_str!("membership/changed.lua");
const VERSION_LUA: &str = include_str!("membership/version.lua");
static REMEMBER_SCRIPT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("membership/remember.lua")));

/// A user's membership of one room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    pub role: String,
    /// The user's read mark: all events up to this seq are read.
    pub read_seq: Seq,
}

/// A user's account as stored in PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub name: Option<String>,
    pub picture: Option<String>,
    pub blocked: bool,
}

impl Account {
    /// The rule of all services for the user of a valid token, whose account is `account`: refuses an unknown user, and
    /// a user who is blocked, erased or being erased.
    ///
    /// # Errors
    /// When the user is refused.
    pub fn admitted(account: Option<Self>) -> Result<Self, Refusal> {
        let account = account.ok_or(Reason::UnknownUser)?;
        if account.blocked {
            return Err(Refusal::new(ErrorCode::Forbidden, "this user is blocked"));
        }
        Ok(account)
    }
}

/// A key of a user; the suffix may be empty. All keys of one user with the same `name` are in one cluster slot.
pub(crate) fn user_key(layout: Layout, name: &str, user: &UserId, suffix: &str) -> String {
    // No user id contains U+001F.
    if layout == Layout::Cluster {
        let separator = if suffix.is_empty() { "" } else { "\u{1f}" };
        return Partition::of_user(user).join_key(&[name, ":", user.as_str(), separator, suffix]);
    }
    // Redis hashes only the text between `{` and the first `}`, unless this text is empty.
    let mark = if user.as_str().starts_with('}') { "\u{1f}" } else { "" };
    let separator = if suffix.is_empty() { "" } else { ":" };
    format!("{name}:{{{mark}{user}}}{separator}{suffix}")
}

pub(crate) fn rooms_key(layout: Layout, user: &UserId) -> String {
    user_key(layout, "rooms", user, "")
}

fn version_key(layout: Layout, user: &UserId) -> String {
    user_key(layout, "rooms", user, "v")
}

fn moves_key(layout: Layout, user: &UserId) -> String {
    user_key(layout, "rooms", user, "m")
}

fn account_key(layout: Layout, user: &UserId) -> String {
    user_key(layout, "account", user, "")
}

fn account_version_key(layout: Layout, user: &UserId) -> String {
    user_key(layout, "account", user, "v")
}

/// The version and the counter of moves of a user's memberships when a caller reads them from PostgreSQL. [`fill`]
/// caches nothing if one of the two has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheStamp {
    version: u64,
    moves: u64,
}

/// The wire form of `rooms_version`: `<epoch>.<version>`.
pub fn wire_version(epoch: Epoch, version: u64) -> String {
    format!("{epoch}.{version}")
}

/// Reads the stamp of a user's cached memberships. Call this before reading the memberships for [`fill`].
pub async fn stamp(connection: &mut Connection, user: &UserId) -> RedisResult<CacheStamp> {
    let layout = connection.layout();
    let keys = (version_key(layout, user), moves_key(layout, user));
    let counters: (Option<u64>, Option<u64>) =
        redis::cmd("MGET").arg(keys.0).arg(keys.1).query_async(connection).await?;
    Ok(CacheStamp { version: counters.0.unwrap_or(0), moves: counters.1.unwrap_or(0) })
}

/// Reads the version of a user's memberships; different memberships never have the same version. Call this before
/// listing the rooms to which the version belongs.
pub async fn version(connection: &mut Connection, user: &UserId) -> RedisResult<u64> {
    let mut call = redis::cmd("EVAL");
    call.arg(VERSION_LUA).arg(1).arg(version_key(connection.layout(), user)).arg(VERSION_TTL_S);
    call.query_async(connection).await
}

/// The versions of a user's memberships and account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Versions {
    pub rooms: u64,
    pub account: u64,
}

/// Reads the versions of the memberships and accounts of users, in the order of the users. Missing versions of
/// memberships are created, as in [`version`].
pub async fn versions(connection: &mut Connection, users: &[UserId]) -> RedisResult<Vec<Versions>> {
    let layout = connection.layout();
    let mut pipe = redis::pipe();
    for user in users {
        pipe.cmd("MGET").arg(version_key(layout, user)).arg(account_version_key(layout, user));
    }
    let found: Vec<(Option<u64>, Option<u64>)> = pipe.query_async(connection).await?;
    // If Redis has lost its data, all users lack a version. So all missing versions are created in one pipeline.
    let mut pipe = redis::pipe();
    for (user, _) in users.iter().zip(&found).filter(|(_, (rooms, _))| rooms.is_none()) {
        pipe.cmd("EVAL").arg(VERSION_LUA).arg(1).arg(version_key(layout, user)).arg(VERSION_TTL_S);
    }
    let created: Vec<u64> = if pipe.is_empty() { Vec::new() } else { pipe.query_async(connection).await? };
    let mut created = created.into_iter();
    let versions = |(rooms, account): (Option<u64>, Option<u64>)| Versions {
        rooms: rooms.or_else(|| created.next()).unwrap_or(0),
        account: account.unwrap_or(0),
    };
    Ok(found.into_iter().map(versions).collect())
}

/// Drops the cached memberships of users after a change, and raises their versions, so that a [`fill`] with memberships
/// that were read before the change is refused.
pub async fn invalidate<'a>(
    connection: &mut Connection,
    users: impl IntoIterator<Item = &'a UserId>,
) -> RedisResult<()> {
    let layout = connection.layout();
    let mut pipe = redis::pipe();
    for user in users {
        pipe.cmd("EVAL").arg(CHANGED_LUA).arg(2).arg(rooms_key(layout, user)).arg(version_key(layout, user));
        pipe.arg(VERSION_TTL_S).ignore();
    }
    if pipe.is_empty() { Ok(()) } else { pipe.query_async(connection).await }
}

/// Caches a user's memberships, unless memberships or read positions of the user changed after `stamp` was read.
/// Returns whether the memberships were cached. `newest` is an epoch that was opened before the memberships were read,
/// and each partition of the rooms was in its newest epoch at that time.
pub async fn fill(
    connection: &mut Connection,
    user: &UserId,
    newest: Epoch,
    stamp: CacheStamp,
    rooms: &HashMap<RoomId, Membership>,
) -> RedisResult<bool> {
    let layout = connection.layout();
    let mut call = FILL_SCRIPT.key(rooms_key(layout, user));
    call.key(version_key(layout, user)).key(moves_key(layout, user)).arg(stamp.version).arg(stamp.moves);
    call.arg(newest.0).arg(CACHE_TTL_S);
    for (room, membership) in rooms {
        call.arg(room.as_str()).arg(format!("{} {}", membership.role, membership.read_seq));
    }
    call.invoke_async(connection).await
}

/// Reads the cached memberships of a user in some rooms; returns `None` if they are not cached, or not valid in
/// `epoch`, the latest epoch of the partitions of the user and of the rooms. An inner `None` means that the user is not
/// a member of the room.
pub async fn cached_in(
    connection: &mut Connection,
    user: &UserId,
    epoch: Epoch,
    rooms: &[RoomId],
) -> RedisResult<Option<Vec<Option<Membership>>>> {
    let mut command = redis::cmd("HMGET");
    command.arg(rooms_key(connection.layout(), user)).arg("");
    for room in rooms {
        command.arg(room.as_str());
    }
    let mut values: Vec<Option<String>> = command.query_async(connection).await?;
    if values.is_empty() || !is_valid_in(epoch, values.remove(0).as_deref()) {
        return Ok(None);
    }
    Ok(Some(values.into_iter().map(|value| parse_membership(&value?)).collect()))
}

/// Whether memberships that were cached with this newest epoch are valid in `epoch`.
fn is_valid_in(epoch: Epoch, newest: Option<&str>) -> bool {
    let epoch = if sabotage::is_removed("cached memberships count up to their newest epoch") {
        Epoch(0)
    } else {
        epoch
    };
    newest.and_then(Epoch::parse).is_some_and(|newest| newest >= epoch)
}

/// Moves the cached read positions of users in a room forward, never back. Skips users without a cached membership of
/// the room.
pub async fn advance_read<'a>(
    connection: &mut Connection,
    room: &RoomId,
    read: impl IntoIterator<Item = (&'a UserId, Seq)>,
) -> RedisResult<()> {
    let layout = connection.layout();
    let mut pipe = redis::pipe();
    for (user, seq) in read {
        pipe.cmd("EVAL").arg(ADVANCE_LUA).arg(2).arg(rooms_key(layout, user)).arg(moves_key(layout, user));
        pipe.arg(room.as_str()).arg(seq.0).arg(READ_POSITION_COUNTER_TTL_S).ignore();
    }
    if pipe.is_empty() { Ok(()) } else { pipe.query_async(connection).await }
}

/// Parses `<role> <read seq>`.
fn parse_membership(value: &str) -> Option<Membership> {
    let (role, read_seq) = value.split_once(' ')?;
    Some(Membership { role: role.to_owned(), read_seq: Seq(read_seq.parse().ok()?) })
}

/// An account in the cache, with the epoch in which it was written.
#[derive(Serialize, Deserialize)]
struct CachedAccount {
    epoch: u64,
    #[serde(flatten)]
    account: Account,
}

/// Reads the cached account of a user; returns `None` if it is not cached in this epoch.
pub async fn cached_account(
    connection: &mut Connection,
    user: &UserId,
    epoch: Epoch,
) -> RedisResult<Option<Account>> {
    let key = account_key(connection.layout(), user);
    let cached: Option<String> = redis::cmd("GET").arg(key).query_async(connection).await?;
    let cached = cached.and_then(|json| serde_json::from_str::<CachedAccount>(&json).ok());
    Ok(cached.filter(|cached| cached.epoch == epoch.0).map(|cached| cached.account))
}

/// Reads the version of a user's account. Call this before reading the account that is passed to [`cache_account`].
pub async fn account_version(connection: &mut Connection, user: &UserId) -> RedisResult<u64> {
    let key = account_version_key(connection.layout(), user);
    let counter: Option<u64> = redis::cmd("GET").arg(key).query_async(connection).await?;
    Ok(counter.unwrap_or(0))
}

/// Drops a cached account after a change, and raises its version, so that an account that was read before the change is
/// not cached. Returns the new version.
pub async fn invalidate_account(connection: &mut Connection, user: &UserId) -> RedisResult<u64> {
    let layout = connection.layout();
    let mut call = redis::cmd("EVAL");
    call.arg(CHANGED_LUA).arg(2).arg(account_key(layout, user)).arg(account_version_key(layout, user));
    call.arg(VERSION_TTL_S);
    call.query_async(connection).await
}

/// Caches an account, unless the account changed after `version` was read. Returns whether the account was cached. Soon
/// after a change it is cached only briefly, because the change may not be committed yet: see `remember.lua`.
pub async fn cache_account(
    connection: &mut Connection,
    user: &UserId,
    epoch: Epoch,
    version: u64,
    account: &Account,
) -> RedisResult<bool> {
    let cached = CachedAccount { epoch: epoch.0, account: account.clone() };
    let json = serde_json::to_string(&cached).unwrap_or_default();
    let layout = connection.layout();
    let mut call = REMEMBER_SCRIPT.key(account_key(layout, user));
    call.key(account_version_key(layout, user)).arg(version).arg(json).arg(CACHE_TTL_S);
    call.invoke_async(connection).await
}
