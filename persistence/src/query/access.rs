//! The viewer of a room, and whether they may see it.
//! Reads `rooms` and `members`. A room that the viewer may not see and a room that does not exist give the same answer.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use tidings_shared::ids::{RoomId, UserId};

use super::sql::statement;

/// The user on whose behalf a query reads. With `admin` (scope `tidings.admin`) any room may be read, but not messages
/// that are private to others.
#[derive(Clone, Copy, Debug)]
pub struct Viewer<'a> {
    pub user: &'a UserId,
    pub admin: bool,
}

/// The access of a viewer to a room.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Access {
    /// None for an admin who is not a member.
    pub role: Option<String>,
    /// None for an admin who is not a member.
    pub read_seq: Option<i64>,
    pub head_seq: i64,
}

/// The viewer's access to a room; None when the room does not exist or they may not see it.
///
/// # Errors
/// When the database cannot be read.
pub async fn access(
    db: &impl ConnectionTrait,
    viewer: Viewer<'_>,
    room: &RoomId,
) -> Result<Option<Access>, DbErr> {
    let sql = "SELECT mb.role, mb.read_seq, r.head_seq FROM rooms r \
               LEFT JOIN members mb ON mb.room_id = r.id AND mb.user_id = $2 \
               WHERE r.id = $1 AND (mb.user_id IS NOT NULL OR $3)";
    Access::find_by_statement(statement(
        sql,
        [room.as_str().into(), viewer.user.as_str().into(), viewer.admin.into()],
    ))
    .one(db)
    .await
}

/// The stored head of a room; None when there is no such room.
///
/// # Errors
/// When the database cannot be read.
pub async fn stored_head(db: &impl ConnectionTrait, room: &RoomId) -> Result<Option<i64>, DbErr> {
    let row = db
        .query_one_raw(statement("SELECT head_seq FROM rooms WHERE id = $1", [room.as_str().into()]))
        .await?;
    row.map(|row| row.try_get_by("head_seq")).transpose()
}
