//! The members of a small room, cached in Redis as `<epoch> <stored head> <user> …`, so that many joins at once need no
//! SQL queries. The list is valid in its epoch, until a membership changes above its stored head.

use redis::RedisResult;

use crate::{
    ids::{Epoch, RoomId, Seq, UserId},
    log::{RedisConnection as Connection, keys},
};

const MEMBERS_TTL_S: u64 = 3600;

/// The cached members of a small room, if they are up to date.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CachedMembers {
    /// The members of the room, or `None` if they are not cached, or out of date.
    pub users: Option<Vec<UserId>>,
    /// Seq of the room's last membership change.
    pub changed: Seq,
}

/// Reads the cached members of a small room, and the seq of its last membership change.
pub async fn cached_members(
    connection: &mut Connection,
    room: &RoomId,
    epoch: Epoch,
) -> RedisResult<CachedMembers> {
    let mut pipe = redis::pipe();
    // The list is read first, so a membership change between the two reads can only make the list count as out of date.
    pipe.cmd("GET").arg(keys::members(room));
    pipe.cmd("HGET").arg(keys::room(room)).arg("members_seq");
    let (cached, changed): (Option<String>, Option<u64>) = pipe.query_async(connection).await?;
    let changed = Seq(changed.unwrap_or(0));
    let users = cached.and_then(|cached| parse_members(&cached, epoch, changed));
    Ok(CachedMembers { users, changed })
}

/// Parses the cached members; returns `None` if they are malformed, of another epoch, or older than the last change.
fn parse_members(cached: &str, epoch: Epoch, changed: Seq) -> Option<Vec<UserId>> {
    let mut parts = cached.split(' ');
    let of_epoch = parts.next()? == epoch.to_string();
    let head = Seq(parts.next()?.parse().ok()?);
    if !of_epoch || head < changed {
        return None;
    }
    parts.map(|user| UserId::parse(user).ok()).collect()
}

/// Caches the members of a small room, which were read at the stored head `head`.
pub async fn cache_members(
    connection: &mut Connection,
    room: &RoomId,
    epoch: Epoch,
    head: Seq,
    users: &[UserId],
) -> RedisResult<()> {
    let mut cached = format!("{epoch} {head}");
    for user in users {
        cached.push(' ');
        cached.push_str(user.as_str());
    }
    redis::cmd("SET")
        .arg(keys::members(room))
        .arg(cached)
        .arg("EX")
        .arg(MEMBERS_TTL_S)
        .query_async(connection)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_is_valid_in_its_epoch_until_a_membership_changes() {
        let users = Some(vec![UserId::parse("a").unwrap(), UserId::parse("é:b").unwrap()]);
        assert_eq!(parse_members("7 41 a é:b", Epoch(7), Seq(41)), users);
        assert_eq!(parse_members("7 41 a é:b", Epoch(7), Seq(42)), None);
        assert_eq!(parse_members("7 41 a é:b", Epoch(8), Seq(0)), None);
        assert_eq!(parse_members("7 41", Epoch(7), Seq(0)), Some(Vec::new()));
        assert_eq!(parse_members("", Epoch(7), Seq(0)), None);
    }
}
