//! Whom a change is told to: the rooms of a user that are small enough.

use redis::{RedisError, Value, aio::MultiplexedConnection};

use super::{
    ROOMS_LOOKED_AT, SMALL_ROOM,
    scripts::{self, ROOMS},
};
use crate::{
    ids::{Epoch, RoomId, UserId},
    log::{Mark, keys, mark_field},
    membership,
};

/// What the membership cache tells of a user's rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachedRooms {
    Rooms(Vec<RoomId>),
    /// More than are looked at.
    Many,
    NotCached,
}

/// The rooms of users, from the membership cache.
///
/// # Errors
/// When Redis does not answer.
pub async fn cached_rooms(
    connection: &mut MultiplexedConnection,
    users: &[UserId],
    epoch: Epoch,
) -> Result<Vec<CachedRooms>, RedisError> {
    let mut pipe = redis::pipe();
    for user in users {
        scripts::call(&mut pipe, &ROOMS, &[membership::rooms_key(user)]).arg(epoch.0).arg(ROOMS_LOOKED_AT);
    }
    let answers: Vec<Value> = scripts::run(connection, &pipe).await?;
    Ok(answers.into_iter().map(read).collect())
}

fn read(answer: Value) -> CachedRooms {
    match answer {
        Value::Nil => CachedRooms::NotCached,
        Value::Array(rooms) => {
            let room = |room| RoomId::parse(&redis::from_redis_value::<String>(room).ok()?).ok();
            CachedRooms::Rooms(rooms.into_iter().filter_map(room).collect())
        }
        // A text: see the script.
        _ => CachedRooms::Many,
    }
}

/// Keeps of each user the rooms with up to [`SMALL_ROOM`] members, less those that they were removed from, whatever
/// the cache still says. A room that Redis does not know has nobody in it who could be told.
///
/// # Errors
/// When Redis does not answer.
pub async fn small(
    connection: &mut MultiplexedConnection,
    users: &mut [(UserId, Vec<RoomId>)],
) -> Result<(), RedisError> {
    let mut pipe = redis::pipe();
    for (user, rooms) in users.iter() {
        for room in rooms {
            pipe.cmd("HMGET").arg(keys::room(room)).arg("members").arg(mark_field(user.as_str()));
        }
    }
    if pipe.is_empty() {
        return Ok(());
    }
    let told: Vec<(Option<usize>, Option<String>)> = pipe.query_async(connection).await?;
    let mut told = told.into_iter();
    for (_, rooms) in users {
        rooms.retain(|_| told.next().is_some_and(|(members, mark)| is_told(members, mark.as_deref())));
    }
    Ok(())
}

fn is_told(members: Option<usize>, mark: Option<&str>) -> bool {
    let removed = mark.and_then(Mark::parse).is_some_and(|mark| mark.role.is_none());
    members.is_some_and(|members| members <= SMALL_ROOM) && !removed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_answers_of_the_script_are_told_apart() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let rooms = CachedRooms::Rooms(vec![RoomId::parse("many").unwrap()]);
        assert_eq!(read(Value::Array(vec![text(""), text("many")])), rooms);
        assert_eq!(read(text("many")), CachedRooms::Many);
        assert_eq!(read(Value::Nil), CachedRooms::NotCached);
    }

    #[test]
    fn small_rooms_are_told_of_those_who_were_not_removed() {
        assert!(is_told(Some(100), None) && is_told(Some(2), Some("member 7 1-1")));
        assert!(!is_told(Some(101), None) && !is_told(None, None));
        assert!(!is_told(Some(2), Some("removed 7 1-1")));
    }
}
