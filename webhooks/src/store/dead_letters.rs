//! Dead letters: deliveries whose last attempt failed. They stay until they are replayed or removed.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use serde::{Serialize, Serializer};
use tidings_persistence::query::json::wire_time;
use tidings_persistence::sql::statement;
use utoipa::ToSchema;

/// A dead letter.
#[derive(Debug, Serialize, ToSchema, FromQueryResult)]
#[schema(as = DeadLetterForm)]
pub struct DeadLetter {
    pub room: String,
    /// The last seq of the event, or of the range of events that no longer exist.
    pub seq: i64,
    /// The event follows this seq.
    pub after: i64,
    pub attempts: i32,
    #[serde(serialize_with = "serialize_time")]
    #[schema(value_type = String)]
    pub dead_at: DateTime<Utc>,
    /// The status of the last answer, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub last_status: Option<i32>,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub last_error: Option<String>,
}

fn serialize_time<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&wire_time(at))
}

/// The dead letters after a position, in the order of room and seq.
pub async fn page(
    db: &impl ConnectionTrait,
    webhook: &str,
    after: Option<(&str, i64)>,
    limit: i64,
) -> Result<Vec<DeadLetter>, DbErr> {
    let sql = "SELECT room_id AS room, upto_seq AS seq, after_seq AS after, attempts, dead_at, last_status, last_error \
        FROM webhook_deliveries WHERE webhook_id = $1 AND dead_at IS NOT NULL AND (room_id, upto_seq) > ($2, $3) \
        ORDER BY room_id, upto_seq LIMIT $4";
    let (room, seq) = after.unwrap_or_default();
    let values = [webhook.into(), room.into(), seq.into(), limit.into()];
    DeadLetter::find_by_statement(statement(sql, values)).all(db).await
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
