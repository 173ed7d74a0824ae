//! Reads the members of a room and their read and delivered marks from `members` and `users`.
//! The caller has checked that the viewer may see the room, if there is a viewer.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use serde::Serialize;
use tidings_shared::ids::{RoomId, Seq, UserId};
use tidings_shared::log::StoredMarks;
use utoipa::ToSchema;

use super::cursor::pack_id;
use super::json::{serialize_optional_time, serialize_time};
use super::page_budget::truncate_page;
use crate::sql::statement;

/// A member as other members of the room see them.
#[derive(Debug, Serialize, ToSchema, FromQueryResult)]
pub struct Member {
    pub user: String,
    #[schema(required)]
    pub name: Option<String>,
    #[schema(required)]
    pub picture: Option<String>,
    pub role: String,
    #[serde(serialize_with = "serialize_time")]
    pub joined_at: DateTime<Utc>,
}

/// A page of members, ordered by user id.
#[derive(Debug, Serialize, ToSchema)]
pub struct Members {
    pub members: Vec<Member>,
    /// The cursor of the next page, null on the last page.
    #[schema(required)]
    pub next: Option<String>,
}

/// The next page of a room's members, after the user id `after`.
pub async fn members(
    db: &impl ConnectionTrait,
    room: &RoomId,
    after: Option<&str>,
    limit: i64,
) -> Result<Members, DbErr> {
    let sql = "SELECT m.user_id AS \"user\", u.name, u.picture, m.role, m.joined_at \
               FROM members m JOIN users u ON u.id = m.user_id \
               WHERE m.room_id = $1 AND m.user_id > $2 ORDER BY m.user_id LIMIT $3 + 1";
    let values = [room.as_str().into(), after.unwrap_or_default().into(), limit.into()];
    let mut found = Member::find_by_statement(statement(sql, values)).all(db).await?;
    let more = truncate_page(&mut found, limit);
    let next = found.last().filter(|_| more).map(|last| pack_id(&last.user));
    Ok(Members { members: found, next })
}

/// How far a member has read and received messages.
#[derive(Debug, Serialize, ToSchema, FromQueryResult)]
pub struct Receipt {
    pub user: String,
    pub read_seq: i64,
    #[serde(serialize_with = "serialize_optional_time")]
    #[schema(required)]
    pub read_at: Option<DateTime<Utc>>,
    pub delivered_seq: i64,
    #[serde(serialize_with = "serialize_optional_time")]
    #[schema(required)]
    pub delivered_at: Option<DateTime<Utc>>,
}

/// Maximum number of receipts in an answer. In a larger room the answer has the members who read last.
const MAX_RECEIPTS: i64 = 1000;

/// The read and delivered marks of up to [`MAX_RECEIPTS`] members, ordered by user id. The read mark of a member who has
/// read nothing since the join is 0, because the messages before the join were not read.
pub async fn receipts(db: &impl ConnectionTrait, room: &RoomId) -> Result<Vec<Receipt>, DbErr> {
    let sql = "SELECT user_id AS \"user\", \
               CASE WHEN read_at IS NULL THEN 0 ELSE read_seq END AS read_seq, read_at, delivered_seq, delivered_at FROM members \
               WHERE room_id = $1 ORDER BY read_at DESC NULLS LAST, user_id LIMIT $2";
    let values = [room.as_str().into(), MAX_RECEIPTS.into()];
    let mut latest = Receipt::find_by_statement(statement(sql, values)).all(db).await?;
    latest.sort_unstable_by(|a, b| a.user.cmp(&b.user));
    Ok(latest)
}

#[derive(FromQueryResult)]
struct MarksRow {
    head_seq: i64,
    read_seq: Option<i64>,
    delivered_seq: Option<i64>,
}

/// The read and delivered marks of users in a room and the room's stored head, as one snapshot. If the room does not
/// exist, all marks are None.
pub async fn stored_marks(
    db: &impl ConnectionTrait,
    room: &RoomId,
    users: &[UserId],
) -> Result<StoredMarks, DbErr> {
    let sql = "SELECT r.head_seq, mb.read_seq, mb.delivered_seq \
               FROM rooms r CROSS JOIN unnest($2::text[]) WITH ORDINALITY AS v (member, n) \
               LEFT JOIN members mb ON mb.room_id = r.id AND mb.user_id = v.member \
               WHERE r.id = $1 ORDER BY v.n";
    let names: Vec<String> = users.iter().map(|user| user.as_str().to_owned()).collect();
    let rows = MarksRow::find_by_statement(statement(sql, [room.as_str().into(), names.into()]));
    let seq = |number: i64| Seq(u64::try_from(number).unwrap_or(0));
    let mut stored = StoredMarks { head: Seq(0), marks: Vec::with_capacity(users.len()) };
    for MarksRow { head_seq, read_seq, delivered_seq } in rows.all(db).await? {
        stored.head = seq(head_seq);
        stored.marks.push(read_seq.zip(delivered_seq).map(|(read, delivered)| (seq(read), seq(delivered))));
    }
    stored.marks.resize(users.len(), None);
    Ok(stored)
}
