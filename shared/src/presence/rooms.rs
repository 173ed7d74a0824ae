//! Whom a change is told to: the rooms of a user that are small enough.

use redis::{RedisError, Value, aio::MultiplexedConnection};

use super::{
    ROOMS_LOOKED_AT, SMALL_ROOM,
    scripts::{self, ROOMS},
};
use crate::{
    ids::{Epoch, RoomId, UserId},
    log::keys,
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
        answer => match redis::from_redis_value::<Vec<String>>(answer) {
            Ok(rooms) => CachedRooms::Rooms(rooms.iter().filter_map(|room| RoomId::parse(room).ok()).collect()),
            Err(_) => CachedRooms::Many,
        },
    }
}

/// Keeps the rooms with up to [`SMALL_ROOM`] members. A room that Redis does not know has nobody in it who could be told.
///
/// # Errors
/// When Redis does not answer.
pub async fn small(
    connection: &mut MultiplexedConnection,
    rooms: &mut [Vec<RoomId>],
) -> Result<(), RedisError> {
    let mut pipe = redis::pipe();
    for room in rooms.iter().flatten() {
        pipe.cmd("HGET").arg(keys::room(room)).arg("members");
    }
    if pipe.is_empty() {
        return Ok(());
    }
    let members: Vec<Option<usize>> = pipe.query_async(connection).await?;
    let mut members = members.into_iter();
    for rooms in rooms {
        rooms.retain(|_| members.next().flatten().is_some_and(|members| members <= SMALL_ROOM));
    }
    Ok(())
}
