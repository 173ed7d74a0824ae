//! Reads the state from which a membership change is decided: the room, the requester, the affected user. One statement
//! reads all of this state, as one snapshot.
//! Reads `rooms`, `members`, `rejoin_roles` and `users`.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use tidings_shared::{
    ids::{RoomId, UserId},
    role::OWNER,
};

use crate::sql::statement;

/// The state of a room and two users, as of the room's stored head.
#[derive(Clone, Debug, Default, PartialEq, Eq, FromQueryResult)]
pub struct MembershipContext {
    /// The kind of the room: `direct`, `private` or `public`.
    pub kind: String,
    pub archived: bool,
    pub head_seq: i64,
    pub member_count: i32,
    /// The role of the requester; None if they are not a member.
    pub requester: Option<String>,
    /// The role of the affected user; None if they are not a member.
    pub user: Option<String>,
    /// The role with which the affected user may join, `removed` if not at all; None if nothing restricts the user.
    pub rejoin_role: Option<String>,
    /// The name and the picture of the affected user.
    pub name: Option<String>,
    pub picture: Option<String>,
    /// Whether the affected user is erased or being erased.
    pub erased: bool,
    /// The number of owners, where 2 means two or more. Counted only if the affected user is an owner.
    pub owners: i64,
    /// The number of the affected user's rooms, up to `max_rooms`. If the requester is somebody else, the rooms to
    /// which others added the user; otherwise those that the user created or joined. Counted only if the user is not in
    /// this room.
    pub rooms: i64,
}

/// The state for a request of `requester` about `user`; None if the room does not exist.
pub async fn membership_context(
    db: &impl ConnectionTrait,
    room: &RoomId,
    requester: &UserId,
    user: &UserId,
    max_rooms: i64,
) -> Result<Option<MembershipContext>, DbErr> {
    let values = [room.as_str().into(), requester.as_str().into(), user.as_str().into(), max_rooms.into()];
    let sql = format!(
        "SELECT s.*, \
           CASE WHEN s.\"user\" = '{OWNER}' THEN (SELECT count(*) FROM (SELECT FROM members o \
             WHERE o.room_id = $1 AND o.role = '{OWNER}' LIMIT 2) o) ELSE 0 END AS owners, \
           CASE WHEN s.\"user\" IS NULL THEN (SELECT count(*) FROM (SELECT FROM members i \
             WHERE i.user_id = $3 AND i.by_others = ($2 <> $3) LIMIT $4) i) ELSE 0 END AS rooms \
         FROM (SELECT r.kind, r.archived, r.head_seq, r.member_count, \
             (SELECT role FROM members WHERE room_id = $1 AND user_id = $2) AS requester, \
             (SELECT role FROM members WHERE room_id = $1 AND user_id = $3) AS \"user\", \
             (SELECT role FROM rejoin_roles WHERE user_id = $3 AND room_id = $1) AS rejoin_role, \
             u.name, u.picture, u.erasing_at IS NOT NULL AS erased \
           FROM rooms r LEFT JOIN users u ON u.id = $3 WHERE r.id = $1) s"
    );
    MembershipContext::find_by_statement(statement(&sql, values)).one(db).await
}
