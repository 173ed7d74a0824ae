//! The table of endpoints.

use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use tidings_persistence::sql::statement;

use crate::endpoint::Endpoint;

const COLUMNS: &str = "id, url, description, rooms, types, ordered, disabled_because, secret, previous_secret, \
    previous_until, cursor, created_at, updated_at";

fn endpoint(row: &QueryResult) -> Result<Endpoint, DbErr> {
    let rooms: Vec<String> = row.try_get_by("rooms")?;
    Ok(Endpoint {
        id: row.try_get_by("id")?,
        url: row.try_get_by("url")?,
        description: row.try_get_by("description")?,
        rooms: rooms.into_iter().collect(),
        types: row.try_get_by("types")?,
        ordered: row.try_get_by("ordered")?,
        disabled_because: row.try_get_by("disabled_because")?,
        secret: row.try_get_by("secret")?,
        previous_secret: row.try_get_by("previous_secret")?,
        previous_until: row.try_get_by("previous_until")?,
        cursor: row.try_get_by("cursor")?,
        created_at: row.try_get_by("created_at")?,
        updated_at: row.try_get_by("updated_at")?,
    })
}

/// All endpoints, in the order in which they were registered.
pub async fn list(db: &impl ConnectionTrait) -> Result<Vec<Endpoint>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM webhooks ORDER BY created_at, id");
    db.query_all_raw(statement(&sql, [])).await?.iter().map(endpoint).collect()
}

pub async fn get(db: &impl ConnectionTrait, id: &str) -> Result<Option<Endpoint>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM webhooks WHERE id = $1");
    let row = db.query_one_raw(statement(&sql, [id.into()])).await?;
    row.as_ref().map(endpoint).transpose()
}

/// Locks an endpoint for the rest of the transaction. Waits for other holders.
pub async fn lock(db: &impl ConnectionTrait, id: &str) -> Result<Option<Endpoint>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM webhooks WHERE id = $1 FOR UPDATE");
    let row = db.query_one_raw(statement(&sql, [id.into()])).await?;
    row.as_ref().map(endpoint).transpose()
}

/// Locks an enabled endpoint for the rest of the transaction. None if it is disabled or deleted, or if another replica
/// holds it.
pub async fn lock_enabled(db: &impl ConnectionTrait, id: &str) -> Result<Option<Endpoint>, DbErr> {
    let sql = format!(
        "SELECT {COLUMNS} FROM webhooks WHERE id = $1 AND disabled_because IS NULL FOR UPDATE SKIP LOCKED"
    );
    let row = db.query_one_raw(statement(&sql, [id.into()])).await?;
    row.as_ref().map(endpoint).transpose()
}

/// Stores a new endpoint if there are fewer than `limit`. The lock makes simultaneous requests count each other.
pub async fn insert(db: &impl ConnectionTrait, new: &Endpoint, limit: i64) -> Result<bool, DbErr> {
    db.execute_unprepared("LOCK TABLE webhooks IN SHARE ROW EXCLUSIVE MODE").await?;
    let sql = "INSERT INTO webhooks (id, url, description, rooms, types, ordered, secret, cursor) \
        SELECT $1, $2, $3, $4, $5, $6, $7, $8 WHERE (SELECT count(*) FROM webhooks) < $9";
    let rooms: Vec<String> = new.rooms.iter().cloned().collect();
    let values = [
        new.id.as_str().into(),
        new.url.as_str().into(),
        new.description.as_str().into(),
        rooms.into(),
        new.types.clone().into(),
        new.ordered.into(),
        new.secret.as_str().into(),
        new.cursor.as_str().into(),
        limit.into(),
    ];
    Ok(db.execute_raw(statement(sql, values)).await?.rows_affected() == 1)
}

/// Stores the fields that an admin may change. Returns the changed endpoint, or None if the id is unknown.
pub async fn update(db: &impl ConnectionTrait, changed: &Endpoint) -> Result<Option<Endpoint>, DbErr> {
    let sql = format!(
        "UPDATE webhooks SET url = $2, description = $3, rooms = $4, types = $5, ordered = $6, \
           disabled_because = $7, updated_at = now() WHERE id = $1 RETURNING {COLUMNS}"
    );
    let rooms: Vec<String> = changed.rooms.iter().cloned().collect();
    let values = [
        changed.id.as_str().into(),
        changed.url.as_str().into(),
        changed.description.as_str().into(),
        rooms.into(),
        changed.types.clone().into(),
        changed.ordered.into(),
        changed.disabled_because.clone().into(),
    ];
    let row = db.query_one_raw(statement(&sql, values)).await?;
    row.as_ref().map(endpoint).transpose()
}

/// Replaces the secret. The secret before it stays valid for `overlap_s` seconds.
pub async fn rotate(
    db: &impl ConnectionTrait,
    id: &str,
    secret: &str,
    overlap_s: i64,
) -> Result<Option<Endpoint>, DbErr> {
    let sql = format!(
        "UPDATE webhooks SET previous_secret = secret, previous_until = now() + make_interval(secs => $3), \
           secret = $2, updated_at = now() WHERE id = $1 RETURNING {COLUMNS}"
    );
    #[allow(clippy::cast_precision_loss, reason = "the number is small")]
    let values = [id.into(), secret.into(), (overlap_s as f64).into()];
    let row = db.query_one_raw(statement(&sql, values)).await?;
    row.as_ref().map(endpoint).transpose()
}

/// Disables an enabled endpoint, with `url` only if it still has this URL. Returns whether the endpoint was disabled.
pub async fn disable(
    db: &impl ConnectionTrait,
    id: &str,
    reason: &str,
    url: Option<&str>,
) -> Result<bool, DbErr> {
    let sql = "UPDATE webhooks SET disabled_because = $2, updated_at = now() \
        WHERE id = $1 AND disabled_because IS NULL AND url = COALESCE($3, url)";
    let values = [id.into(), reason.into(), url.into()];
    Ok(db.execute_raw(statement(sql, values)).await?.rows_affected() == 1)
}

/// Stores the cursor after a page. The caller holds the lock of the endpoint.
pub async fn set_cursor(db: &impl ConnectionTrait, id: &str, cursor: &str) -> Result<(), DbErr> {
    let sql = "UPDATE webhooks SET cursor = $2 WHERE id = $1";
    db.execute_raw(statement(sql, [id.into(), cursor.into()])).await.map(drop)
}

/// Deletes an endpoint with its deliveries. Returns whether there was one.
pub async fn delete(db: &impl ConnectionTrait, id: &str) -> Result<bool, DbErr> {
    let sql = "DELETE FROM webhooks WHERE id = $1";
    Ok(db.execute_raw(statement(sql, [id.into()])).await?.rows_affected() == 1)
}
