//! Reads the members of a room and their read and delivered marks from `members` and `users`.
//! The caller has checked that the viewer may see the room.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use serde::Serialize;
use tidings_shared::ids::RoomId;
use utoipa::ToSchema;

use super::cursor::pack_id;
use super::json::{optional_time, time};
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
    #[serde(serialize_with = "time")]
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
    let limit = usize::try_from(limit).unwrap_or_default();
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| pack_id(&last.user));
    Ok(Members { members: found, next })
}

/// How far a member has read and received messages.
#[derive(Debug, Serialize, ToSchema, FromQueryResult)]
pub struct Receipt {
    pub user: String,
    pub read_seq: i64,
    #[serde(serialize_with = "optional_time")]
    #[schema(required)]
    pub read_at: Option<DateTime<Utc>>,
    pub delivered_seq: i64,
    #[serde(serialize_with = "optional_time")]
    #[schema(required)]
    pub delivered_at: Option<DateTime<Utc>>,
}

/// Number of receipts in an answer at most. In a larger room these are the members who read last.
const MAX_RECEIPTS: i64 = 1000;

/// The read and delivered marks of up to [`MAX_RECEIPTS`] members, ordered by user id.
pub async fn receipts(db: &impl ConnectionTrait, room: &RoomId) -> Result<Vec<Receipt>, DbErr> {
    let sql = "SELECT user_id AS \"user\", read_seq, read_at, delivered_seq, delivered_at FROM members \
               WHERE room_id = $1 ORDER BY read_at DESC NULLS LAST, user_id LIMIT $2";
    let values = [room.as_str().into(), MAX_RECEIPTS.into()];
    let mut latest = Receipt::find_by_statement(statement(sql, values)).all(db).await?;
    latest.sort_unstable_by(|a, b| a.user.cmp(&b.user));
    Ok(latest)
}
