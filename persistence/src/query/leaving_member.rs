//! Reads the membership of an erased user in a room, and selects the next owner if the user is the only owner.

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::{
    ids::{RoomId, Seq, UserId},
    role::OWNER,
};

use crate::sql::{role_rank_sql, seq_column, statement, user_column};

/// The membership of a user in a room, as of the stored head of the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeavingMember {
    pub head: Seq,
    pub role: String,
    /// The member who becomes owner when the user leaves. Some if the user is the only owner and the room has another
    /// member who is not being erased. Prefers members who are not blocked, then the highest role, then who joined
    /// first.
    pub successor: Option<UserId>,
}

/// The user's membership in a room, or None if the user is not a member.
pub async fn leaving_member(
    db: &impl ConnectionTrait,
    room: &RoomId,
    user: &UserId,
) -> Result<Option<LeavingMember>, DbErr> {
    let sql = format!(
        "SELECT r.head_seq, mb.role, CASE WHEN mb.role = '{OWNER}' THEN (\
           SELECT h.user_id FROM members h JOIN users u ON u.id = h.user_id AND u.erasing_at IS NULL \
           WHERE h.room_id = $1 AND h.user_id <> $2 \
             AND NOT EXISTS (SELECT FROM members o WHERE o.room_id = $1 AND o.user_id <> $2 AND o.role = '{OWNER}') \
           ORDER BY u.blocked, {} DESC, h.joined_at, h.user_id LIMIT 1) END AS successor \
         FROM rooms r JOIN members mb ON mb.room_id = r.id AND mb.user_id = $2 WHERE r.id = $1",
        role_rank_sql("h.role")
    );
    let values = [room.as_str().into(), user.as_str().into()];
    let Some(row) = db.query_one_raw(statement(&sql, values)).await? else { return Ok(None) };
    let successor = row.try_get_by::<Option<String>, _>("successor")?;
    let successor = successor.map(|_| user_column(&row, "successor")).transpose()?;
    Ok(Some(LeavingMember { head: seq_column(&row, "head_seq")?, role: row.try_get_by("role")?, successor }))
}
