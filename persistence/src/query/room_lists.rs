//! Reads lists of rooms, newest activity first: the rooms of a member, and the public rooms.
//! A page continues exactly after the previous one, unless rooms have new activity in between.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Value};
use serde::Serialize;
use tidings_shared::ids::UserId;
use utoipa::ToSchema;

use super::cursor::ActivityCursor;
use super::page_budget::{PageBudget, truncate_page};
use super::room::{MyRoom, Room, my_room, room_columns, select_my_rooms};
use super::sql::{budget_begin, budget_end, epoch_of, message_bytes, message_columns, reactions, visible};
use crate::sql::statement;

/// A page of public rooms, the same for every viewer.
#[derive(Debug, Serialize, ToSchema)]
pub struct PublicRooms {
    /// The rooms of the page, without the field `role`.
    pub rooms: Vec<Room>,
    /// The cursor of the next page, null on the last page.
    #[schema(required)]
    pub next: Option<String>,
}

/// `$1` and `$3` are the activity time and room id of the cursor after which the page begins, or NULL. `$2`: user.
/// `$4`: limit. `$5`: the number of bytes at which the page ends.
const MY_ROOMS_SQL: &str = concat!(
    budget_begin!("$5", "p.r_updated_at DESC, p.r_room"),
    "(",
    select_my_rooms!(
        "SELECT r.*, mb.role, mb.read_seq, mb.notify FROM members mb JOIN rooms r ON r.id = mb.room_id \
          WHERE mb.user_id = $2 AND ($1::timestamptz IS NULL OR r.updated_at < $1 \
            OR (r.updated_at = $1 AND r.id > $3)) \
          ORDER BY r.updated_at DESC, r.id LIMIT $4 + 1"
    ),
    ")",
    budget_end!("$5"),
    " ORDER BY p.r_updated_at DESC, p.r_room"
);

/// A page of the rooms of which the user is a member, and the cursor of the next page.
pub async fn my_rooms(
    db: &impl ConnectionTrait,
    user: &UserId,
    cursor: Option<&ActivityCursor>,
    limit: i64,
) -> Result<(Vec<MyRoom>, Option<String>), DbErr> {
    let [at, room] = cursor_values(cursor);
    let mut budget = PageBudget::default();
    let values = [at, user.as_str().into(), room, limit.into(), budget.sql_value()];
    let rows = db.query_all_raw(statement(MY_ROOMS_SQL, values)).await?;
    let mut rooms = budget.admit_rows(&rows, my_room)?;
    let limit = usize::try_from(limit).unwrap_or_default();
    let more = budget.is_full() || rooms.len() > limit;
    rooms.truncate(limit);
    let next = rooms.last().filter(|_| more).map(|last| cursor_after(&last.room));
    Ok((rooms, next))
}

/// Maximum number of public rooms that a page of a search by name reads. Limited, because names are not indexed.
const MAX_NAMES_PER_PAGE: i64 = 5_000;

/// `$1` and `$3` are the activity time and room id of the cursor or NULL, `$2` is the name pattern or NULL, `$5` the
/// number of rooms to read. Rooms with the cursor's time and older rooms are two ranges of one index.
const PUBLIC_ROOMS_SQL: &str = concat!(
    "WITH looked AS MATERIALIZED (SELECT * FROM (\
      (SELECT p.room_id AS id, p.updated_at FROM public_rooms p WHERE p.updated_at = $1::timestamptz \
        AND p.room_id > $3 ORDER BY p.room_id LIMIT $5) UNION ALL \
      (SELECT p.room_id, p.updated_at FROM public_rooms p WHERE p.updated_at < COALESCE($1::timestamptz, 'infinity') \
        ORDER BY p.updated_at DESC, p.room_id LIMIT $5)) l \
      ORDER BY updated_at DESC, id LIMIT $5), \
     page AS (SELECT l.id, l.updated_at FROM looked l \
      WHERE $2::text IS NULL OR (SELECT r.name FROM rooms r WHERE r.id = l.id) ILIKE $2 \
      ORDER BY l.updated_at DESC, l.id LIMIT $4 + 1), \
     last AS (SELECT l.updated_at, l.id FROM looked l ORDER BY l.updated_at, l.id DESC LIMIT 1) \
     SELECT (SELECT count(*) FROM looked) AS looked, last.updated_at AS last_at, last.id AS last_id, ",
    room_columns!(),
    " FROM last LEFT JOIN page ON true LEFT JOIN rooms r ON r.id = page.id ORDER BY page.updated_at DESC, page.id"
);

/// A page of the public rooms whose names contain `query`, in any case. One page reads a limited number of names, so it
/// may hold fewer rooms than match, or none, and still have a next page.
pub async fn public_rooms(
    db: &impl ConnectionTrait,
    query: Option<&str>,
    cursor: Option<&ActivityCursor>,
    limit: i64,
) -> Result<PublicRooms, DbErr> {
    let [at, room] = cursor_values(cursor);
    let read_limit = if query.is_some() { MAX_NAMES_PER_PAGE } else { limit + 1 };
    let values = [at, query.map(like_pattern).into(), room, limit.into(), read_limit.into()];
    let mut rows = db.query_all_raw(statement(PUBLIC_ROOMS_SQL, values)).await?;
    // If no name matches, the result is one row that holds the position at which the read ended.
    let end = match rows.first() {
        Some(row) if row.try_get::<i64>("", "looked")? == read_limit => {
            let (updated_at, room) = (row.try_get("", "last_at")?, row.try_get("", "last_id")?);
            Some(ActivityCursor { updated_at, room }.pack())
        }
        _ => None,
    };
    rows.retain(|row| row.try_get::<Option<String>>("", "r_room").is_ok_and(|id| id.is_some()));
    let rooms = rows.iter().map(|row| Room::from_query_result(row, "r_"));
    let mut rooms = rooms.collect::<Result<Vec<_>, DbErr>>()?;
    let more = truncate_page(&mut rooms, limit);
    let next = rooms.last().filter(|_| more).map(cursor_after).or(end);
    Ok(PublicRooms { rooms, next })
}

fn cursor_values(cursor: Option<&ActivityCursor>) -> [Value; 2] {
    [cursor.map(|cursor| cursor.updated_at).into(), cursor.map(|cursor| cursor.room.as_str()).into()]
}

/// The cursor of the page after the one that ends with this room.
fn cursor_after(last: &Room) -> String {
    ActivityCursor { updated_at: last.updated_at, room: last.room.clone() }.pack()
}

/// A LIKE pattern that finds `text` anywhere in a name. Special characters of LIKE in `text` are escaped.
fn like_pattern(text: &str) -> String {
    let escape = |c: char| matches!(c, '%' | '_' | '\\').then_some('\\');
    let escaped: String = text.chars().flat_map(|c| escape(c).into_iter().chain([c])).collect();
    format!("%{escaped}%")
}

#[cfg(test)]
mod tests {
    use super::like_pattern;

    #[test]
    fn search_pattern_matches_literally() {
        assert_eq!(like_pattern("50%_a\\b"), "%50\\%\\_a\\\\b%");
    }
}
