//! The rooms that users have muted.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, FromQueryResult};
use tidings_persistence::sql::statement;
use tidings_shared::ids::{RoomId, UserId};

/// A muted room.
#[derive(Debug, FromQueryResult)]
pub struct MutedRoom {
    pub room: String,
    /// When the room stops being muted; None if it stays muted.
    pub until: Option<DateTime<Utc>>,
}

const SELECT_SQL: &str =
    "SELECT room_id AS room, until FROM push_mutes WHERE user_id = $1 AND (until IS NULL OR until > now())";

/// The rooms that a user has muted now, in the order of their ids.
pub async fn list(db: &impl ConnectionTrait, user: &UserId) -> Result<Vec<MutedRoom>, DbErr> {
    let sql = format!("{SELECT_SQL} ORDER BY room_id");
    MutedRoom::find_by_statement(statement(&sql, [user.as_str().into()])).all(db).await
}

/// A room, if the user has muted it.
pub async fn get(db: &impl ConnectionTrait, user: &UserId, room: &str) -> Result<Option<MutedRoom>, DbErr> {
    let sql = format!("{SELECT_SQL} AND room_id = $2");
    MutedRoom::find_by_statement(statement(&sql, [user.as_str().into(), room.into()])).one(db).await
}

/// Mutes a room for a user whose account is locked. Returns false if the user has muted `limit` other rooms already.
pub async fn put(
    db: &DatabaseTransaction,
    user: &UserId,
    room: &RoomId,
    until: Option<DateTime<Utc>>,
    limit: i64,
) -> Result<bool, DbErr> {
    let sql = "DELETE FROM push_mutes WHERE user_id = $1 AND until <= now()";
    db.execute_raw(statement(sql, [user.as_str().into()])).await?;
    let sql = "INSERT INTO push_mutes (user_id, room_id, until) SELECT $1, $2, $3 \
          WHERE (SELECT count(*) FROM push_mutes WHERE user_id = $1 AND room_id <> $2) < $4 \
        ON CONFLICT (user_id, room_id) DO UPDATE SET until = excluded.until";
    let values = [user.as_str().into(), room.as_str().into(), until.into(), limit.into()];
    Ok(db.execute_raw(statement(sql, values)).await?.rows_affected() == 1)
}

/// Unmutes a room. Returns whether it was muted.
pub async fn delete(db: &impl ConnectionTrait, user: &UserId, room: &str) -> Result<bool, DbErr> {
    let sql = "DELETE FROM push_mutes WHERE user_id = $1 AND room_id = $2";
    let deleted = db.execute_raw(statement(sql, [user.as_str().into(), room.into()])).await?;
    Ok(deleted.rows_affected() == 1)
}
