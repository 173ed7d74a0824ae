//! How a member who goes for good stands in a room, and who takes their place when they are its last owner.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use tidings_shared::ids::{RoomId, UserId};

use super::sql::statement;

/// How things stand, as of the stored head.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Leaving {
    pub head_seq: i64,
    /// None: no member.
    pub role: Option<String>,
    /// Who becomes owner when they go: set when they are the only one, and not alone. The admin who has been there
    /// longest, else the member, else the guest. Nobody who is being erased.
    pub heir: Option<String>,
}

const LEAVING: &str = "\
    SELECT r.head_seq, mb.role, CASE WHEN mb.role = 'owner' THEN (\
        SELECT h.user_id FROM members h JOIN users u ON u.id = h.user_id AND u.erasing_at IS NULL \
        WHERE h.room_id = $1 AND h.user_id <> $2 \
          AND NOT EXISTS (SELECT FROM members o WHERE o.room_id = $1 AND o.user_id <> $2 AND o.role = 'owner') \
        ORDER BY u.blocked, CASE h.role WHEN 'admin' THEN 0 WHEN 'guest' THEN 2 ELSE 1 END, h.joined_at, h.user_id LIMIT 1) \
      END AS heir \
    FROM rooms r LEFT JOIN members mb ON mb.room_id = r.id AND mb.user_id = $2 WHERE r.id = $1";

/// How the user stands in a room; None when there is no such room.
///
/// # Errors
/// When the database cannot be read.
pub async fn leaving(
    db: &impl ConnectionTrait,
    room: &RoomId,
    user: &UserId,
) -> Result<Option<Leaving>, DbErr> {
    Leaving::find_by_statement(statement(LEAVING, [room.as_str().into(), user.as_str().into()])).one(db).await
}
