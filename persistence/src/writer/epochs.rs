//! Opens epochs. Each Redis process gets a new epoch when the services begin to use it, even if they used the same
//! process before.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, TransactionTrait};
use tidings_shared::{ids::Epoch, log::OpenedEpoch};

use crate::sql::{epoch_column, statement};

/// Key of the advisory lock that is held while an epoch is opened: "epochs" in ASCII.
const EPOCH_LOCK_KEY: i64 = 0x6570_6f63_6873;

/// The newest epoch; None if no epoch was opened.
pub async fn newest_epoch(db: &impl ConnectionTrait) -> Result<Option<Epoch>, DbErr> {
    let sql = "SELECT epoch FROM epochs_opened ORDER BY epoch DESC LIMIT 1";
    let row = db.query_one_raw(statement(sql, [])).await?;
    row.map(|row| epoch_column(&row, "epoch")).transpose()
}

/// The epoch of the Redis process `run_id`: the newest epoch, if it was opened for this process. Otherwise opens a new
/// epoch.
pub async fn open_epoch(db: &DatabaseConnection, run_id: &str) -> Result<OpenedEpoch, DbErr> {
    let transaction = db.begin().await?;
    transaction.execute_raw(statement("SELECT pg_advisory_xact_lock($1)", [EPOCH_LOCK_KEY.into()])).await?;
    let sql = "SELECT epoch, run_id, GREATEST(0, extract(epoch FROM clock_timestamp() - opened_at) * 1000)::bigint \
                 AS age_ms \
               FROM epochs_opened ORDER BY epoch DESC LIMIT 1";
    let newest = transaction.query_one_raw(statement(sql, [])).await?;
    if let Some(row) = newest {
        let of: String = row.try_get_by("run_id")?;
        if of == run_id {
            let age_ms: i64 = row.try_get_by("age_ms")?;
            let age = Duration::from_millis(u64::try_from(age_ms).unwrap_or(0));
            let opened = OpenedEpoch { epoch: epoch_column(&row, "epoch")?, age };
            transaction.commit().await?;
            return Ok(opened);
        }
    }
    let sql = "INSERT INTO epochs_opened (run_id, opened_at) VALUES ($1, clock_timestamp()) RETURNING epoch";
    let row = transaction.query_one_raw(statement(sql, [run_id.into()])).await?;
    let row = row.ok_or_else(|| DbErr::Custom("an INSERT returned no row".to_owned()))?;
    let opened = OpenedEpoch { epoch: epoch_column(&row, "epoch")?, age: Duration::ZERO };
    transaction.commit().await?;
    tracing::info!(epoch = %opened.epoch, run_id, "epoch opened");
    Ok(opened)
}
