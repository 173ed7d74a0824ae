//! The members of a small room, cached in Redis so that a storm of joins needs no SQL queries:
//! `<epoch> <stored head> <user> …`. The list is valid until a membership changes after that head.

use redis::{RedisResult, aio::MultiplexedConnection as Connection};

use crate::{
    ids::{Epoch, RoomId, Seq, UserId},
    log::keys,
};

/// A list is read again after this time, even if no membership changed.
const TTL_S: u64 = 3600;

/// The cached members of a room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cached {
    /// `None`: not cached, or out of date.
    pub users: Option<Vec<UserId>>,
    /// Seq of the last membership change.
    pub changed: Seq,
}

pub async fn cached(connection: &mut Connection, room: &RoomId, epoch: Epoch) -> RedisResult<Cached> {
    let mut pipe = redis::pipe();
    // The list is read first: a change between the two reads can only make the list count as out of date.
    pipe.cmd("GET").arg(keys::members(room));
    pipe.cmd("HGET").arg(keys::room(room)).arg("members_seq");
    let (kept, changed): (Option<String>, Option<u64>) = pipe.query_async(connection).await?;
    let changed = Seq(changed.unwrap_or(0));
    let users = kept.and_then(|kept| read(&kept, epoch, changed));
    Ok(Cached { users, changed })
}

fn read(kept: &str, epoch: Epoch, changed: Seq) -> Option<Vec<UserId>> {
    let mut parts = kept.split(' ');
    let of_epoch = parts.next()? == epoch.to_string();
    let head = Seq(parts.next()?.parse().ok()?);
    if !of_epoch || head < changed {
        return None;
    }
    parts.map(|user| UserId::parse(user).ok()).collect()
}

/// Caches the members of a room as of a stored head.
pub async fn keep(
    connection: &mut Connection,
    room: &RoomId,
    epoch: Epoch,
    head: Seq,
    users: &[UserId],
) -> RedisResult<()> {
    let mut kept = format!("{epoch} {head}");
    for user in users {
        kept.push(' ');
        kept.push_str(user.as_str());
    }
    redis::cmd("SET").arg(keys::members(room)).arg(kept).arg("EX").arg(TTL_S).query_async(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_is_valid_in_its_epoch_until_a_membership_changes() {
        let users = Some(vec![UserId::parse("a").unwrap(), UserId::parse("é:b").unwrap()]);
        assert_eq!(read("7 41 a é:b", Epoch(7), Seq(41)), users);
        assert_eq!(read("7 41 a é:b", Epoch(7), Seq(42)), None);
        assert_eq!(read("7 41 a é:b", Epoch(8), Seq(0)), None);
        assert_eq!(read("7 41", Epoch(7), Seq(0)), Some(Vec::new()));
        assert_eq!(read("", Epoch(7), Seq(0)), None);
    }
}
