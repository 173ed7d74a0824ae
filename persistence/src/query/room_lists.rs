//! Reads lists of rooms, newest activity first: the rooms of a member, and the public rooms.
//! A page continues exactly after the previous one, unless rooms have new activity in between.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Value};
use serde::Serialize;
use tidings_shared::ids::UserId;
use tokio::task::coop::consume_budget;
use utoipa::ToSchema;

use super::cursor::ActivityCursor;
use super::page_budget::{PageBudget, truncate_page};
use super::room::{MyRoom, Room, my_room, room_columns, select_my_rooms};
use super::sql::{budget_begin, budget_end, epoch_of, message_bytes, message_columns, reactions, visible};
use crate::search::fold::fold;
use crate::sql::{column, statement};

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
/// 5,000 of the longest names need 4 MB.
const MAX_NAMES_PER_PAGE: i64 = 5_000;

/// A public room at its position in the list.
#[derive(FromQueryResult)]
struct ListedRoom {
    id: String,
    updated_at: DateTime<Utc>,
    name: Option<String>,
}

impl ListedRoom {
    /// The cursor of the page after the one that ends with this room.
    fn cursor(&self) -> String {
        ActivityCursor { updated_at: self.updated_at, room: self.id.clone() }.pack()
    }
}

/// `$1` and `$2` are the activity time and room id of the cursor or NULL, `$3` is the number of rooms to read. Rooms
/// with the cursor's time and older rooms are two ranges of one index.
const LISTED_ROOMS_SQL: &str = "\
    SELECT l.id, l.updated_at, (SELECT r.name FROM rooms r WHERE r.id = l.id) AS name FROM (SELECT * FROM (\
      (SELECT p.room_id AS id, p.updated_at FROM public_rooms p WHERE p.updated_at = $1::timestamptz \
        AND p.room_id > $2 ORDER BY p.room_id LIMIT $3) UNION ALL \
      (SELECT p.room_id, p.updated_at FROM public_rooms p WHERE p.updated_at < COALESCE($1::timestamptz, 'infinity') \
        ORDER BY p.updated_at DESC, p.room_id LIMIT $3)) u \
      ORDER BY updated_at DESC, id LIMIT $3) l ORDER BY l.updated_at DESC, l.id";

/// The rooms `$1`, in this order.
const ROOMS_SQL: &str = concat!(
    "SELECT ",
    room_columns!(),
    " FROM unnest($1::text[]) WITH ORDINALITY AS v (room, place) \
      CROSS JOIN LATERAL (SELECT * FROM rooms w WHERE w.id = v.room LIMIT 1) r ORDER BY v.place"
);

/// A page of the public rooms whose names contain `query`, in the folded form of both. One page reads a limited number
/// of names, so it may hold fewer rooms than match, or none, and still have a next page.
pub async fn public_rooms(
    db: &impl ConnectionTrait,
    query: Option<&str>,
    cursor: Option<&ActivityCursor>,
    limit: i64,
) -> Result<PublicRooms, DbErr> {
    let [at, room] = cursor_values(cursor);
    let read_limit = if query.is_some() { MAX_NAMES_PER_PAGE } else { limit + 1 };
    let values = [at, room, read_limit.into()];
    let listed = ListedRoom::find_by_statement(statement(LISTED_ROOMS_SQL, values)).all(db).await?;
    let is_end = usize::try_from(read_limit).is_ok_and(|read_limit| listed.len() < read_limit);
    let end = listed.last().filter(|_| !is_end).map(ListedRoom::cursor);
    let listed = match query {
        Some(query) => find_named(listed, query, usize::try_from(limit + 1).unwrap_or_default()).await,
        None => listed,
    };
    let ids = column(&listed, |room| room.id.clone());
    let rows = db.query_all_raw(statement(ROOMS_SQL, [ids])).await?;
    let rooms = rows.iter().map(|row| Room::from_query_result(row, "r_"));
    let mut rooms = rooms.collect::<Result<Vec<_>, DbErr>>()?;
    let more = truncate_page(&mut rooms, limit);
    // The cursor has the time from the first statement. If the room became active before the second one, its new time
    // would move the next page to the top.
    let last = rooms.last().filter(|_| more);
    let last = last.and_then(|last| listed.iter().find(|room| room.id == last.room));
    let next = last.map(ListedRoom::cursor).or(end);
    Ok(PublicRooms { rooms, next })
}

/// The first `limit` of the rooms whose names contain `query`, in the folded form of both. Folds no more names than it
/// needs. Yields to other tasks after each 128 names, because long names need much time.
async fn find_named(listed: Vec<ListedRoom>, query: &str, limit: usize) -> Vec<ListedRoom> {
    let query = fold(query);
    let mut found = Vec::new();
    for room in listed {
        if found.len() >= limit {
            break;
        }
        if room.name.as_deref().is_some_and(|name| fold(name).contains(&query)) {
            found.push(room);
        }
        consume_budget().await;
    }
    found
}

fn cursor_values(cursor: Option<&ActivityCursor>) -> [Value; 2] {
    [cursor.map(|cursor| cursor.updated_at).into(), cursor.map(|cursor| cursor.room.as_str()).into()]
}

/// The cursor of the page after the one that ends with this room.
fn cursor_after(last: &Room) -> String {
    ActivityCursor { updated_at: last.updated_at, room: last.room.clone() }.pack()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn search_of_room_names_yields_to_other_tasks() {
        let room = |number: usize| ListedRoom {
            id: number.to_string(),
            updated_at: DateTime::<Utc>::UNIX_EPOCH,
            name: Some("Café".to_owned()),
        };
        let listed = || (0..1_000).map(room).collect::<Vec<_>>();
        assert!(find_named(listed(), "x", 10).now_or_never().is_none());
        assert_eq!(find_named(listed(), "CAFE", 10).await.len(), 10);
    }
}
