//! The feed cursor, which all replicas share.

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};
use tidings_persistence::sql::{scalar, statement};

/// The cursor; None before the program has begun to read.
pub async fn get(db: &impl ConnectionTrait) -> Result<Option<String>, DbErr> {
    scalar(db, statement("SELECT cursor FROM push_cursor", [])).await
}

/// Locks the cursor for the rest of the transaction. None if another replica holds it.
pub async fn lock(db: &DatabaseTransaction) -> Result<Option<String>, DbErr> {
    scalar(db, statement("SELECT cursor FROM push_cursor FOR UPDATE SKIP LOCKED", [])).await
}

/// Stores the first cursor, unless there is one already.
pub async fn begin(db: &impl ConnectionTrait, cursor: &str) -> Result<(), DbErr> {
    let sql = "INSERT INTO push_cursor (cursor) VALUES ($1) ON CONFLICT DO NOTHING";
    db.execute_raw(statement(sql, [cursor.into()])).await.map(drop)
}

/// Moves the cursor.
pub async fn set(db: &DatabaseTransaction, cursor: &str) -> Result<(), DbErr> {
    db.execute_raw(statement("UPDATE push_cursor SET cursor = $1", [cursor.into()])).await.map(drop)
}
