//! Finds the small rooms of a user, whose members receive changes of the user's presence.

use redis::{RedisResult, Value};

use super::{
    MAX_NOTIFIED_ROOMS, MAX_SMALL_ROOM_MEMBERS,
    scripts::{self, ROOMS},
};
use crate::{
    ids::{Epoch, RoomId, UserId},
    log::{
        Log, MembershipMark, RedisConnection as Connection, RoundTrip, SessionError,
        keys::{self, Partition},
        mark_field,
    },
    membership,
};

/// The rooms of a user according to the membership cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachedRooms {
    Rooms(Vec<RoomId>),
    /// The user has more than [`MAX_NOTIFIED_ROOMS`] rooms.
    Many,
    NotCached,
}

/// Reads the rooms of users from the membership cache, in the order of the users. `newest` is the newest epoch that the
/// caller knows. Memberships that were cached with another newest epoch are not answered, because they may lack rooms.
pub async fn cached_rooms(
    connection: &mut Connection,
    users: &[UserId],
    newest: Epoch,
) -> RedisResult<Vec<CachedRooms>> {
    let mut pipe = redis::pipe();
    for user in users {
        scripts::add_call(&mut pipe, &ROOMS, &[membership::rooms_key(connection.layout(), user)])
            .arg(newest.0)
            .arg(MAX_NOTIFIED_ROOMS);
    }
    let answers: Vec<Value> = scripts::run_calls(connection, &pipe).await?;
    Ok(answers.into_iter().map(parse_answer).collect())
}

fn parse_answer(answer: Value) -> CachedRooms {
    match answer {
        Value::Nil => CachedRooms::NotCached,
        Value::Array(rooms) => {
            let room = |room| RoomId::parse(&redis::from_redis_value::<String>(room).ok()?).ok();
            CachedRooms::Rooms(rooms.into_iter().filter_map(room).collect())
        }
        // The script answers the text 'many'.
        _ => CachedRooms::Many,
    }
}

/// Keeps only rooms with at most [`MAX_SMALL_ROOM_MEMBERS`] members from which the user was not removed. The membership
/// marks in Redis show a removal even if the membership cache is out of date. Drops a room without a hash in Redis,
/// because no connection has joined it, and a room whose shard has no session, because its size is unknown. After an
/// error the rooms are lost.
pub async fn retain_small_rooms(log: &Log, users: &mut [(UserId, Vec<RoomId>)]) -> Result<(), SessionError> {
    let mut candidates = Vec::new();
    for (index, (_, rooms)) in users.iter_mut().enumerate() {
        candidates.extend(rooms.drain(..).map(|room| (index, room)));
    }
    for (session, candidates) in
        log.group_by_open_session(candidates, |(_, room)| Partition::of(room)).await?
    {
        let mut pipe = redis::pipe();
        for (index, room) in &candidates {
            let mark = mark_field(users[*index].0.as_str());
            pipe.cmd("HMGET").arg(keys::room(room)).arg("members").arg(mark);
        }
        let mut connection = session.connection();
        let found: RedisResult<Vec<(Option<usize>, Option<String>)>> =
            log.timed(RoundTrip::Presence, pipe.query_async(&mut connection)).await;
        let found = found.inspect_err(|error| log.discard_if_unusable(&session, error))?;
        for ((index, room), (members, mark)) in candidates.into_iter().zip(found) {
            if is_small_room_of_member(members, mark.as_deref()) {
                users[index].1.push(room);
            }
        }
    }
    Ok(())
}

/// Whether a room with this number of members is small, and the user's membership mark does not show a removal.
fn is_small_room_of_member(members: Option<usize>, mark: Option<&str>) -> bool {
    let removed = mark.and_then(MembershipMark::parse).is_some_and(|mark| mark.role.is_none());
    members.is_some_and(|members| members <= MAX_SMALL_ROOM_MEMBERS) && !removed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_answers_are_distinguished() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let rooms = CachedRooms::Rooms(vec![RoomId::parse("many").unwrap()]);
        assert_eq!(parse_answer(Value::Array(vec![text(""), text("many")])), rooms);
        assert_eq!(parse_answer(text("many")), CachedRooms::Many);
        assert_eq!(parse_answer(Value::Nil), CachedRooms::NotCached);
    }

    #[test]
    fn large_rooms_and_rooms_of_removed_members_are_left_out() {
        assert!(
            is_small_room_of_member(Some(100), None)
                && is_small_room_of_member(Some(2), Some("member 7 1-1"))
        );
        assert!(!is_small_room_of_member(Some(101), None) && !is_small_room_of_member(None, None));
        assert!(!is_small_room_of_member(Some(2), Some("removed 7 1-1")));
    }
}
