//! When people were seen last. Nothing that is stored hangs on it.

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::ids::UserId;

use super::sql::statement;

/// Writes down when users who went were seen last (ms); what is there and later stays. Nothing is kept of whoever is
/// erased.
///
/// # Errors
/// When the database cannot be written.
pub async fn seen(db: &impl ConnectionTrait, seen: &[(UserId, i64)]) -> Result<(), DbErr> {
    let (users, at_ms): (Vec<String>, Vec<i64>) =
        seen.iter().map(|(user, at_ms)| (user.as_str().to_owned(), *at_ms)).unzip();
    // In one order, so that two replicas never wait for each other in a ring.
    db.execute_raw(statement(
        "INSERT INTO presence (user_id, status, last_seen) \
         SELECT s.id, 'offline', to_timestamp(s.at_ms / 1000.0) \
         FROM unnest($1::text[], $2::bigint[]) AS s (id, at_ms) \
         WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = s.id AND u.erasing_at IS NOT NULL) ORDER BY s.id COLLATE \"C\" \
         ON CONFLICT (user_id) DO UPDATE SET status = EXCLUDED.status, last_seen = EXCLUDED.last_seen \
         WHERE presence.last_seen IS NULL OR presence.last_seen < EXCLUDED.last_seen",
        [users.into(), at_ms.into()],
    ))
    .await
    .map(drop)
}
