//! Dead letters: deliveries whose last attempt failed. They stay until they are replayed or removed.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use tidings_persistence::sql::statement;

/// A dead letter.
#[derive(Debug)]
pub struct DeadLetter {
    pub room: String,
    pub after: i64,
    pub upto: i64,
    pub attempts: i32,
    pub dead_at: DateTime<Utc>,
    pub last_status: Option<i32>,
    pub last_error: Option<String>,
}

/// The dead letters after a position, in the order of room and seq.
pub async fn page(
    db: &impl ConnectionTrait,
    webhook: &str,
    after: Option<(&str, i64)>,
    limit: i64,
) -> Result<Vec<DeadLetter>, DbErr> {
    let sql = "SELECT room_id, after_seq, upto_seq, attempts, dead_at, last_status, last_error \
        FROM webhook_deliveries WHERE webhook_id = $1 AND dead_at IS NOT NULL AND (room_id, upto_seq) > ($2, $3) \
        ORDER BY room_id, upto_seq LIMIT $4";
    let (room, seq) = after.unwrap_or_default();
    let values = [webhook.into(), room.into(), seq.into(), limit.into()];
    let letter = |row: &QueryResult| {
        Ok(DeadLetter {
            room: row.try_get_by("room_id")?,
            after: row.try_get_by("after_seq")?,
            upto: row.try_get_by("upto_seq")?,
            attempts: row.try_get_by("attempts")?,
            dead_at: row.try_get_by("dead_at")?,
            last_status: row.try_get_by("last_status")?,
            last_error: row.try_get_by("last_error")?,
        })
    };
    db.query_all_raw(statement(sql, values)).await?.iter().map(letter).collect()
}

/// Which dead letters a request selects: all of an endpoint, or those of a room, or one event.
#[derive(Debug, Default)]
pub struct Selection {
    pub room: Option<String>,
    pub seq: Option<i64>,
}

const SELECTED: &str = "webhook_id = $1 AND dead_at IS NOT NULL AND room_id = COALESCE($2, room_id) \
    AND upto_seq = COALESCE($3, upto_seq)";

/// Queues dead letters again, with all their attempts. Returns how many.
pub async fn replay(db: &impl ConnectionTrait, webhook: &str, selection: &Selection) -> Result<u64, DbErr> {
    let sql = format!(
        "UPDATE webhook_deliveries SET dead_at = NULL, attempts = 0, next_attempt_at = now() WHERE {SELECTED}"
    );
    execute(db, &sql, webhook, selection).await
}

/// Removes dead letters. Returns how many.
pub async fn remove(db: &impl ConnectionTrait, webhook: &str, selection: &Selection) -> Result<u64, DbErr> {
    execute(db, &format!("DELETE FROM webhook_deliveries WHERE {SELECTED}"), webhook, selection).await
}

async fn execute(
    db: &impl ConnectionTrait,
    sql: &str,
    webhook: &str,
    selection: &Selection,
) -> Result<u64, DbErr> {
    let values = [webhook.into(), selection.room.clone().into(), selection.seq.into()];
    Ok(db.execute_raw(statement(sql, values)).await?.rows_affected())
}
