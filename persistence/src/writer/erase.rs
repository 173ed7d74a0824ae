//! Starts the erasure of a user, and reads its state. A background job carries out the erasure.

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::ids::UserId;

use super::audit;
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

/// Removes the name and picture of a user, blocks the user, and records that the erasure has begun. Only the first call
/// for a user writes an entry of the audit log. `actor` is None for an operator who uses a job.
pub async fn begin_erasure(
    db: &impl ConnectionTrait,
    user: &UserId,
    actor: Option<&UserId>,
) -> Result<(), DbErr> {
    // Of simultaneous calls, the later ones wait for the row, read it again and change nothing.
    let sql = "WITH begun AS (UPDATE users SET blocked = true, name = NULL, picture = NULL, updated_at = now(), \
                 erasing_at = now() WHERE id = $1 AND erasing_at IS NULL RETURNING id) \
               INSERT INTO audit_log (actor, action, target) SELECT $2::text, $3::text, b.id FROM begun b";
    let values = [user.as_str().into(), actor.map(UserId::as_str).into(), audit::USER_ERASE.into()];
    db.execute_raw(statement(sql, values)).await.map(drop)
}
