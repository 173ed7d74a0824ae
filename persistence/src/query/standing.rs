//! What a membership change is decided by: the room, who asks, whose membership it is. One statement, one snapshot.
//! Reads `rooms`, `members` and `users`.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use tidings_shared::ids::{RoomId, UserId};

use super::sql::statement;

/// How things stand in a room, as of its stored head.
#[derive(Clone, Debug, Default, PartialEq, Eq, FromQueryResult)]
pub struct Standing {
    /// `direct`, `private` or `public`.
    pub kind: String,
    pub archived: bool,
    pub head_seq: i64,
    pub member_count: i32,
    /// Role of who asks; None: no member.
    pub asker: Option<String>,
    /// Role of whose membership it is; None: no member.
    pub user: Option<String>,
    /// The user is being erased, or was.
    pub erased: bool,
    /// How many owners there are; two stands for more. Counted where the user is one.
    pub owners: i64,
    /// In how many rooms the user is, up to `most_rooms`. Counted where they are not in this one.
    pub rooms: i64,
}

const STANDING: &str = "SELECT s.*, \
    CASE WHEN s.\"user\" = 'owner' THEN (SELECT count(*) FROM (SELECT FROM members o \
      WHERE o.room_id = $1 AND o.role = 'owner' LIMIT 2) o) ELSE 0 END AS owners, \
    CASE WHEN s.\"user\" IS NULL THEN (SELECT count(*) FROM (SELECT FROM members i \
      WHERE i.user_id = $3 LIMIT $4) i) ELSE 0 END AS rooms \
  FROM (SELECT r.kind, r.archived, r.head_seq, r.member_count, \
      (SELECT role FROM members WHERE room_id = $1 AND user_id = $2) AS asker, \
      (SELECT role FROM members WHERE room_id = $1 AND user_id = $3) AS \"user\", \
      EXISTS (SELECT FROM users u WHERE u.id = $3 AND u.erasing_at IS NOT NULL) AS erased \
    FROM rooms r WHERE r.id = $1) s";

/// How `asker` and `user` stand in a room; None when there is no such room.
///
/// # Errors
/// When the database cannot be read.
pub async fn standing(
    db: &impl ConnectionTrait,
    room: &RoomId,
    asker: &UserId,
    user: &UserId,
    most_rooms: i64,
) -> Result<Option<Standing>, DbErr> {
    let values = [room.as_str().into(), asker.as_str().into(), user.as_str().into(), most_rooms.into()];
    Standing::find_by_statement(statement(STANDING, values)).one(db).await
}
