//! Reads which users may see each other's presence, the members of small rooms, and last-seen times.
//! Reads `members`, `rooms` and `presence`.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use tidings_shared::ids::{RoomId, Seq, UserId};
use tidings_shared::internal::presence::{LastSeen, MembersAnswer};
use tidings_shared::presence::{MAX_NOTIFIED_ROOMS, MAX_SMALL_ROOM_MEMBERS};

use crate::sql::{IdColumn, scalars, statement};

#[derive(FromQueryResult)]
struct MembersRow {
    head_seq: i64,
    users: Vec<String>,
}

#[derive(FromQueryResult)]
struct LastSeenRow {
    id: IdColumn<UserId>,
    last_seen: Option<DateTime<Utc>>,
}

/// The members of a room with its stored head, as one snapshot. The list is missing if the room has too many members.
/// None if the room does not exist.
pub async fn members(db: &impl ConnectionTrait, room: &RoomId) -> Result<Option<MembersAnswer>, DbErr> {
    // A negative head counts as 0, because a damaged row must not fail the whole answer.
    let sql = "SELECT greatest(r.head_seq, 0) AS head_seq, \
                 ARRAY(SELECT mb.user_id FROM members mb WHERE mb.room_id = r.id \
                   ORDER BY mb.user_id LIMIT $2) AS users FROM rooms r WHERE r.id = $1";
    let limit = i64::try_from(MAX_SMALL_ROOM_MEMBERS + 1).unwrap_or(i64::MAX);
    let members = MembersRow::find_by_statement(statement(sql, [room.as_str().into(), limit.into()]));
    let Some(MembersRow { head_seq, users }) = members.one(db).await? else { return Ok(None) };
    let users = (users.len() <= MAX_SMALL_ROOM_MEMBERS)
        .then(|| users.iter().map(|id| UserId::parse(id)).collect::<Result<Vec<_>, _>>());
    let users = users.transpose().map_err(|error| DbErr::Custom(error.to_string()))?;
    Ok(Some(MembersAnswer { head: Seq(head_seq.unsigned_abs()), users }))
}

/// The users in `others` who share a room with the user `me`, with their last-seen times. Includes `me` if `others`
/// includes `me`.
pub async fn users_sharing_room(
    db: &impl ConnectionTrait,
    me: &UserId,
    others: &[UserId],
) -> Result<Vec<LastSeen>, DbErr> {
    // Joins the rooms of `others` with the rooms of `me`, because the cost must not depend on the size of a room.
    let sql = "WITH mine AS MATERIALIZED (SELECT room_id FROM members WHERE user_id = $1), \
               known AS (SELECT $1 AS id WHERE $1 = ANY ($2) UNION \
                 SELECT o.user_id FROM members o JOIN mine USING (room_id) WHERE o.user_id = ANY ($2)) \
               SELECT known.id, p.last_seen FROM known LEFT JOIN presence p ON p.user_id = known.id";
    let others: Vec<String> = others.iter().map(|other| other.as_str().to_owned()).collect();
    let known = LastSeenRow::find_by_statement(statement(sql, [me.as_str().into(), others.into()]));
    let last_seen = |LastSeenRow { id, last_seen }| LastSeen {
        user: id.0,
        at_ms: last_seen.map(|at| at.timestamp_millis()),
    };
    Ok(known.all(db).await?.into_iter().map(last_seen).collect())
}

/// The small rooms of a user with the latest activity, at most `MAX_NOTIFIED_ROOMS`.
pub async fn small_rooms(db: &impl ConnectionTrait, me: &UserId) -> Result<Vec<RoomId>, DbErr> {
    let sql = "SELECT r.id FROM members mb JOIN rooms r ON r.id = mb.room_id \
               WHERE mb.user_id = $1 AND r.member_count <= $2 ORDER BY r.updated_at DESC, r.id LIMIT $3";
    let [members, limit] =
        [MAX_SMALL_ROOM_MEMBERS, MAX_NOTIFIED_ROOMS].map(|number| i64::try_from(number).unwrap_or(0));
    let statement = statement(sql, [me.as_str().into(), members.into(), limit.into()]);
    Ok(scalars::<IdColumn<_>>(db, statement).await?.into_iter().map(|room| room.0).collect())
}
