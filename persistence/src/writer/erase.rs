//! Starts the erasure of a user, and reads its state. A background job carries out the erasure.

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::ids::UserId;

use crate::sql::statement;

/// Whether a user exists, and how far their erasure has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErasureStatus {
    Unknown,
    /// The user exists, and no erasure was requested.
    Present {
        blocked: bool,
    },
    UnderWay,
    Erased,
}

/// Reads how far the erasure of a user has come. `Unknown`: there is no such user.
pub async fn status(db: &impl ConnectionTrait, user: &UserId) -> Result<ErasureStatus, DbErr> {
    let sql = "SELECT blocked, erasing_at IS NOT NULL AS erasing, erased_at IS NOT NULL AS erased FROM users WHERE id = $1";
    let row = db.query_one_raw(statement(sql, [user.as_str().into()])).await?;
    let Some(row) = row else { return Ok(ErasureStatus::Unknown) };
    Ok(match (row.try_get_by("erasing")?, row.try_get_by("erased")?) {
        (_, true) => ErasureStatus::Erased,
        (true, false) => ErasureStatus::UnderWay,
        (false, false) => ErasureStatus::Present { blocked: row.try_get_by("blocked")? },
    })
}

/// Removes the name and picture of a user, blocks the user, and records that the erasure has begun.
pub async fn begin(db: &impl ConnectionTrait, user: &UserId) -> Result<(), DbErr> {
    let sql = "UPDATE users SET blocked = true, name = NULL, picture = NULL, updated_at = now(), \
               erasing_at = COALESCE(erasing_at, now()) WHERE id = $1 AND erased_at IS NULL";
    db.execute_raw(statement(sql, [user.as_str().into()])).await.map(drop)
}
