//! Writes last-seen times of users. No other stored data depends on these times.

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::ids::UserId;

use crate::sql::statement;

/// Stores last-seen times (ms since 1970) of users who went offline. Keeps a later stored time. Skips erased users.
pub async fn store_last_seen(db: &impl ConnectionTrait, seen: &[(UserId, i64)]) -> Result<(), DbErr> {
    let (users, at_ms): (Vec<String>, Vec<i64>) =
        seen.iter().map(|(user, at_ms)| (user.as_str().to_owned(), *at_ms)).unzip();
    // Every replica writes the rows in the order of their ids, so that two replicas cannot deadlock.
    let sql = "INSERT INTO presence (user_id, status, last_seen) \
               SELECT s.id, 'offline', to_timestamp(s.at_ms / 1000.0) \
               FROM unnest($1::text[], $2::bigint[]) AS s (id, at_ms) \
               WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = s.id AND u.erasing_at IS NOT NULL) ORDER BY s.id COLLATE \"C\" \
               ON CONFLICT (user_id) DO UPDATE SET status = EXCLUDED.status, last_seen = EXCLUDED.last_seen \
               WHERE presence.last_seen IS NULL OR presence.last_seen < EXCLUDED.last_seen";
    db.execute_raw(statement(sql, [users.into(), at_ms.into()])).await.map(drop)
}
