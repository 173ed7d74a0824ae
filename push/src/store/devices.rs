//! The table of devices.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, FromQueryResult, QueryResult};
use tidings_persistence::query::users::read_account;
use tidings_persistence::sql::{scalar, statement};
use tidings_shared::ids::UserId;
use tidings_shared::membership::Account;

use super::tickets;
use crate::device::{DeviceKind, PushAddress};

/// A registered device.
#[derive(Debug, Clone, FromQueryResult)]
pub struct Device {
    pub id: String,
    pub user: String,
    #[sea_orm(nested)]
    pub address: PushAddress,
    /// Failed attempts since the last success.
    pub failures: i32,
    pub created_at: DateTime<Utc>,
}

/// The columns of a [`Device`] `d`.
pub const DEVICE_COLUMNS: &str =
    "d.id, d.user_id AS \"user\", d.kind, d.address, d.p256dh, d.auth, d.failures, d.created_at";

impl FromQueryResult for PushAddress {
    fn from_query_result(row: &QueryResult, pre: &str) -> Result<Self, DbErr> {
        let text = |name: &str| row.try_get::<Option<String>>(pre, name).map(Option::unwrap_or_default);
        let kind = text("kind")?;
        let address = Self::from_stored(&kind, text("address")?, text("p256dh")?, text("auth")?);
        address.ok_or_else(|| DbErr::Custom(format!("the kind of device {kind} is unknown")))
    }
}

/// The devices of a user, in the order in which they were registered.
pub async fn list(db: &impl ConnectionTrait, user: &UserId) -> Result<Vec<Device>, DbErr> {
    let sql = format!(
        "SELECT {DEVICE_COLUMNS} FROM push_devices d WHERE d.user_id = $1 AND d.kind = ANY($2) \
         ORDER BY d.created_at, d.id"
    );
    let values = [user.as_str().into(), DeviceKind::names().into()];
    Device::find_by_statement(statement(&sql, values)).all(db).await
}

/// The device as it is now. None if it is gone, or belongs to another user.
pub async fn current(db: &impl ConnectionTrait, device: &Device) -> Result<Option<Device>, DbErr> {
    let sql = format!("SELECT {DEVICE_COLUMNS} FROM push_devices d WHERE d.id = $1 AND d.user_id = $2");
    let values = [device.id.as_str().into(), device.user.as_str().into()];
    Device::find_by_statement(statement(&sql, values)).one(db).await
}

/// Locks the account of a user for the rest of the transaction, so that simultaneous registrations count each other, and
/// so that an erasure begins before or after this transaction. Returns the account.
pub async fn lock_user(db: &DatabaseTransaction, user: &UserId) -> Result<Option<Account>, DbErr> {
    let sql = "SELECT name, picture, blocked FROM users WHERE id = $1 FOR NO KEY UPDATE";
    let row = db.query_one_raw(statement(sql, [user.as_str().into()])).await?;
    row.as_ref().map(read_account).transpose()
}

/// Registers a device of a user whose account is locked. A device with the same address is replaced; if it belonged to
/// another user, it moves with nothing that waited for it. Returns None if the user has `limit` devices already.
pub async fn register(
    db: &DatabaseTransaction,
    new_id: &str,
    user: &UserId,
    address: &PushAddress,
    limit: i64,
) -> Result<Option<Device>, DbErr> {
    let sql = "DELETE FROM push_devices WHERE kind = $1 AND address = $2 AND user_id <> $3";
    let values = [address.kind().name().into(), address.address().into(), user.as_str().into()];
    db.execute_raw(statement(sql, values)).await?;
    let (p256dh, auth) = address.keys();
    let sql = format!(
        "INSERT INTO push_devices AS d (id, user_id, kind, address, p256dh, auth) SELECT $1, $2, $3, $4, $5, $6 \
           WHERE (SELECT count(*) FROM push_devices o WHERE o.user_id = $2 AND NOT (o.kind = $3 AND o.address = $4)) < $7 \
         ON CONFLICT (kind, address) DO UPDATE SET p256dh = excluded.p256dh, auth = excluded.auth, failures = 0, \
           not_before = now() WHERE d.user_id = $2 RETURNING {DEVICE_COLUMNS}"
    );
    let values = [
        new_id.into(),
        user.as_str().into(),
        address.kind().name().into(),
        address.address().into(),
        p256dh.into(),
        auth.into(),
        limit.into(),
    ];
    let registered = Device::find_by_statement(statement(&sql, values)).one(db).await?;
    let Some(device) = registered else { return Ok(None) };
    // Receipts of earlier messages say nothing about an app that has registered again since.
    tickets::forget(db, &device.id).await?;
    Ok(Some(device))
}

/// Deletes a device of a user, with what waits for it. Returns whether the user has this device.
pub async fn delete(db: &impl ConnectionTrait, user: &str, id: &str) -> Result<bool, DbErr> {
    let sql = "DELETE FROM push_devices WHERE id = $1 AND user_id = $2";
    Ok(db.execute_raw(statement(sql, [id.into(), user.into()])).await?.rows_affected() == 1)
}

/// Deletes a device whose push service does not know it any more, unless another user has registered it since.
pub async fn delete_gone(db: &impl ConnectionTrait, device: &Device) -> Result<(), DbErr> {
    delete(db, &device.user, &device.id).await.map(drop)
}

/// Deletes a device that has failed too often, unless it was registered again or had another outcome since.
pub async fn delete_given_up(db: &impl ConnectionTrait, device: &Device) -> Result<(), DbErr> {
    let sql = "DELETE FROM push_devices WHERE id = $1 AND failures = $2";
    db.execute_raw(statement(sql, [device.id.as_str().into(), device.failures.into()])).await.map(drop)
}

/// Resets the failures of a device.
pub async fn reset_failures(db: &impl ConnectionTrait, device: &Device) -> Result<(), DbErr> {
    if device.failures == 0 {
        return Ok(());
    }
    let sql = "UPDATE push_devices SET failures = 0, not_before = now() WHERE id = $1";
    db.execute_raw(statement(sql, [device.id.as_str().into()])).await.map(drop)
}

/// The number of devices.
pub async fn count(db: &impl ConnectionTrait) -> Result<i64, DbErr> {
    let count = scalar(db, statement("SELECT count(*) FROM push_devices", [])).await?;
    Ok(count.unwrap_or_default())
}
