//! Who asks, and whether a room is theirs.
//! Reads `rooms` and `members`. Promises that a room one may not see and a room that does not exist
//! give the same answer.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use tidings_shared::ids::{RoomId, UserId};

use super::sql::statement;

/// The user on whose behalf is read. With `admin` (scope `tidings.admin`) any room may be read, though
/// not what is private to others in it.
#[derive(Clone, Copy, Debug)]
pub struct Viewer<'a> {
    pub user: &'a UserId,
    pub admin: bool,
}

/// What a viewer is in a room that they may see.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Access {
    /// None for an admin who is not a member.
    pub role: Option<String>,
    /// None for an admin who is not a member.
    pub read_seq: Option<i64>,
    pub head_seq: i64,
}

/// The viewer's access to a room; None when there is no such room or it is not theirs.
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
    row.map(|row| row.try_get_by_index(0)).transpose()
}
