//! Lists of rooms, newest activity first: mine, and the public ones.
//! Promises that a page goes on exactly behind the last one as long as no room moves.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, QueryResult, Value};
use serde::Serialize;
use tidings_shared::ids::UserId;
use utoipa::ToSchema;

use super::cursor::ActivityCursor;
use super::room::{MyRoom, Role, Room, RoomRow, mine, my_room, room_columns};
use super::sql::{epoch_of, message_columns, reactions, statement, visible};

/// Public rooms, whoever asks.
#[derive(Debug, Serialize, ToSchema)]
pub struct PublicRooms {
    /// Without `role`.
    pub rooms: Vec<Room>,
    /// Null at the end.
    #[schema(required)]
    pub next: Option<String>,
}

/// Rooms of which I am a member.
#[derive(Debug)]
pub struct MyRooms {
    pub rooms: Vec<MyRoom>,
    pub next: Option<String>,
}

/// `$1` activity and `$2`/`$3` id of the cursor: the page goes on behind it. Both NULL: from the start.
const MY_ROOMS: &str = concat!(
    "SELECT ",
    room_columns!(),
    ", r.role AS r_role, r.read_seq AS r_read_seq, n.unread AS r_unread, n.capped AS r_capped, ",
    message_columns!(),
    ", ",
    reactions!(),
    " FROM (SELECT r.*, mb.role, mb.read_seq FROM members mb JOIN rooms r ON r.id = mb.room_id \
      WHERE mb.user_id = $2 AND ($1::timestamptz IS NULL OR r.updated_at < $1 \
        OR (r.updated_at = $1 AND r.id > $3)) \
      ORDER BY r.updated_at DESC, r.id LIMIT $4 + 1) r ",
    mine!(),
    " ORDER BY r.updated_at DESC, r.id"
);

/// A page of the user's rooms.
///
/// # Errors
/// When the database cannot be read.
pub async fn my_rooms(
    db: &impl ConnectionTrait,
    user: &UserId,
    cursor: Option<&ActivityCursor>,
    limit: i64,
) -> Result<MyRooms, DbErr> {
    let [at, room] = parts(cursor);
    let values = [at, user.as_str().into(), room, limit.into()];
    let mut rows = db.query_all_raw(statement(MY_ROOMS, values)).await?;
    let next = next(&mut rows, limit)?;
    Ok(MyRooms { rooms: rows.iter().map(my_room).collect::<Result<_, _>>()?, next })
}

const PUBLIC_ROOMS: &str = concat!(
    "SELECT ",
    room_columns!(),
    " FROM (SELECT r.* FROM rooms r WHERE r.kind = 'public' AND ($2::text IS NULL OR r.name ILIKE $2) \
      AND ($1::timestamptz IS NULL OR r.updated_at < $1 OR (r.updated_at = $1 AND r.id > $3)) \
      ORDER BY r.updated_at DESC, r.id LIMIT $4 + 1) r ORDER BY r.updated_at DESC, r.id"
);

/// A page of the public rooms whose name holds `query`, in any case.
///
/// # Errors
/// When the database cannot be read.
pub async fn public_rooms(
    db: &impl ConnectionTrait,
    query: Option<&str>,
    cursor: Option<&ActivityCursor>,
    limit: i64,
) -> Result<PublicRooms, DbErr> {
    let [at, room] = parts(cursor);
    let values = [at, query.map(pattern).into(), room, limit.into()];
    let mut rows = db.query_all_raw(statement(PUBLIC_ROOMS, values)).await?;
    let next = next(&mut rows, limit)?;
    let room = |row: &QueryResult| RoomRow::from_query_result(row, "r_")?.room(Role::Untold);
    Ok(PublicRooms { rooms: rows.iter().map(room).collect::<Result<_, _>>()?, next })
}

fn parts(cursor: Option<&ActivityCursor>) -> [Value; 2] {
    [cursor.map(|cursor| cursor.updated_at).into(), cursor.map(|cursor| cursor.room.as_str()).into()]
}

/// Drops the row that was read one too many and packs where the page ends; None when it was not there.
fn next(rows: &mut Vec<QueryResult>, limit: i64) -> Result<Option<String>, DbErr> {
    let limit = usize::try_from(limit).unwrap_or_default();
    if rows.len() <= limit {
        return Ok(None);
    }
    rows.truncate(limit);
    let Some(last) = rows.last() else { return Ok(None) };
    let cursor =
        ActivityCursor { updated_at: last.try_get("", "r_updated_at")?, room: last.try_get("", "r_id")? };
    Ok(Some(cursor.pack()))
}

/// A LIKE pattern that finds `text` anywhere, taken literally.
fn pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn what_is_searched_for_is_taken_literally() {
        assert_eq!(pattern("50%_a\\b"), "%50\\%\\_a\\\\b%");
    }
}
