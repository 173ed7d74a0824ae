//! The members of a room and their receipts.
//! Reads `members` and `users`; the caller has checked that the viewer may see the room.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::NullOrdering;
use sea_orm::{ColumnTrait, JoinType, Order, RelationTrait};
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect};
use serde::Serialize;
use tidings_shared::ids::RoomId;
use utoipa::ToSchema;

use super::cursor::pack_id;
use super::json::{optional_time, time};
use crate::entity::{member, user};

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

/// A page of members, by user id.
#[derive(Debug, Serialize, ToSchema)]
pub struct Members {
    pub members: Vec<Member>,
    /// Null at the end.
    #[schema(required)]
    pub next: Option<String>,
}

/// The members whose user id comes after `after`.
pub async fn members(
    db: &impl ConnectionTrait,
    room: &RoomId,
    after: Option<&str>,
    limit: i64,
) -> Result<Members, DbErr> {
    let mut found = member::Entity::find()
        .select_only()
        .column_as(member::Column::UserId, "user")
        .columns([user::Column::Name, user::Column::Picture])
        .columns([member::Column::Role, member::Column::JoinedAt])
        .join(JoinType::InnerJoin, member::Relation::User.def())
        .filter(member::Column::RoomId.eq(room.as_str()))
        .filter(member::Column::UserId.gt(after.unwrap_or_default()))
        .order_by_asc(member::Column::UserId)
        .limit(Some(limit.unsigned_abs() + 1))
        .into_model::<Member>()
        .all(db)
        .await?;
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

/// Most receipts in an answer; in larger rooms those of the members who read last.
const MAX_RECEIPTS: u64 = 1000;

/// The watermarks of the members, up to [`MAX_RECEIPTS`] of them, by user id.
pub async fn receipts(db: &impl ConnectionTrait, room: &RoomId) -> Result<Vec<Receipt>, DbErr> {
    let mut latest = member::Entity::find()
        .select_only()
        .column_as(member::Column::UserId, "user")
        .columns([member::Column::ReadSeq, member::Column::ReadAt])
        .columns([member::Column::DeliveredSeq, member::Column::DeliveredAt])
        .filter(member::Column::RoomId.eq(room.as_str()))
        .order_by_with_nulls(member::Column::ReadAt, Order::Desc, NullOrdering::Last)
        .order_by_asc(member::Column::UserId)
        .limit(Some(MAX_RECEIPTS))
        .into_model::<Receipt>()
        .all(db)
        .await?;
    latest.sort_unstable_by(|a, b| a.user.cmp(&b.user));
    Ok(latest)
}
