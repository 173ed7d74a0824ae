//! The viewer of a room, and whether they may see the room. Reads `rooms` and `members`.
//! A room that the viewer may not see and a room that does not exist give the same answer.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use tidings_shared::ids::{RoomId, Seq, UserId};
use tokio::time::{Instant, sleep};

use crate::sql::{seq_column, statement};

/// The user for whom a query reads. With `admin` (scope `tidings.admin`) the user may read every room, but not messages
/// that are private to others.
#[derive(Clone, Copy, Debug)]
pub struct Viewer<'a> {
    pub user: &'a UserId,
    pub admin: bool,
}

/// The state of a room that a viewer may see, and their membership in it.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Access {
    /// The viewer's role; None for an admin who is not a member.
    pub role: Option<String>,
    /// The viewer's read mark; None for an admin who is not a member.
    pub read_seq: Option<i64>,
    pub head_seq: i64,
}

/// The viewer's access to a room; None if the room does not exist or the viewer may not see it.
pub async fn access(
    db: &impl ConnectionTrait,
    viewer: Viewer<'_>,
    room: &RoomId,
) -> Result<Option<Access>, DbErr> {
    let sql = "SELECT mb.role, mb.read_seq, r.head_seq FROM rooms r \
               LEFT JOIN members mb ON mb.room_id = r.id AND mb.user_id = $2 \
               WHERE r.id = $1 AND (mb.user_id IS NOT NULL OR $3)";
    let values = [room.as_str().into(), viewer.user.as_str().into(), viewer.admin.into()];
    Access::find_by_statement(statement(sql, values)).one(db).await
}

/// The stored head of a room; None if the room does not exist.
pub async fn stored_head(db: &impl ConnectionTrait, room: &RoomId) -> Result<Option<Seq>, DbErr> {
    let sql = "SELECT head_seq FROM rooms WHERE id = $1";
    let row = db.query_one_raw(statement(sql, [room.as_str().into()])).await?;
    row.map(|row| seq_column(&row, "head_seq")).transpose()
}

/// The pauses between reads of the stored head double from the first to the longest. The first is short, because a
/// batch is stored within milliseconds unless the backlog is long.
const FIRST_POLL_PAUSE: Duration = Duration::from_millis(5);
const MAX_POLL_PAUSE: Duration = Duration::from_millis(160);

/// Waits until the room is stored up to `seq`. Returns false if the deadline passes first. Holds no connection between
/// the reads. Returns true for a missing room, because no event of it will be stored.
pub async fn wait_until_stored(
    db: &impl ConnectionTrait,
    room: &RoomId,
    seq: Seq,
    deadline: Instant,
) -> Result<bool, DbErr> {
    let mut pause = FIRST_POLL_PAUSE;
    while stored_head(db, room).await?.is_some_and(|head| head < seq) {
        if Instant::now() + pause >= deadline {
            return Ok(false);
        }
        sleep(pause).await;
        pause = (pause * 2).min(MAX_POLL_PAUSE);
    }
    Ok(true)
}
