//! Starts the erasure of a user, and reads its state. A background job carries out the erasure.

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::ids::UserId;

use crate::sql::statement;

/// The state of a user's erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErasureStatus {
    UnknownUser,
    /// The user exists, blocked or not, and no erasure was requested.
    Present,
    UnderWay,
    Erased,
}

/// Reads the state of a user's erasure.
pub async fn erasure_status(db: &impl ConnectionTrait, user: &UserId) -> Result<ErasureStatus, DbErr> {
    let sql =
        "SELECT erasing_at IS NOT NULL AS erasing, erased_at IS NOT NULL AS erased FROM users WHERE id = $1";
    let row = db.query_one_raw(statement(sql, [user.as_str().into()])).await?;
    let Some(row) = row else { return Ok(ErasureStatus::UnknownUser) };
    Ok(match (row.try_get_by("erasing")?, row.try_get_by("erased")?) {
        (_, true) => ErasureStatus::Erased,
        (true, false) => ErasureStatus::UnderWay,
        (false, false) => ErasureStatus::Present,
    })
}

/// Removes the name and picture of a user, blocks the user, and records that the erasure has begun.
pub async fn begin_erasure(db: &impl ConnectionTrait, user: &UserId) -> Result<(), DbErr> {
    let sql = "UPDATE users SET blocked = true, name = NULL, picture = NULL, updated_at = now(), \
               erasing_at = COALESCE(erasing_at, now()) WHERE id = $1 AND erased_at IS NULL";
    db.execute_raw(statement(sql, [user.as_str().into()])).await.map(drop)
}
