//! Opens an epoch after PostgreSQL was restored to an earlier point in time. Every room continues from its stored head:
//! the base of the new epoch. All events of Redis above it are of an earlier epoch, so the rules of epochs drop them and
//! limit the cursors of clients.

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait};
use tidings_shared::{
    ids::Epoch,
    log::{MarkedProcess, keys::Partition},
};

use crate::sql::{bigint, epoch_column, statement};
use crate::writer::epochs::{EPOCH_LOCK_KEY, OpenEpochsError};
use crate::writer::lost_commits::find_lost;

/// Opens an epoch of all partitions, and begins it in Redis. Returns None and changes nothing if PostgreSQL has all that
/// Redis knows to be stored, unless `force` is set. `shards` are all Redis processes with their partitions.
///
/// Holds the lock for opening epochs and the rows of all partitions until its COMMIT. So no batch, no seed and no other
/// epoch comes between the heads that it reads and the epoch that it opens. If it fails, Redis may hold the new epoch
/// without PostgreSQL. That is the state before the job, so running the job again repairs it.
pub async fn open_epoch_after_restore(
    db: &DatabaseConnection,
    shards: &[(MarkedProcess, Vec<Partition>)],
    force: bool,
) -> Result<Option<Epoch>, OpenEpochsError> {
    let transaction = db.begin().await?;
    // One row is written for each room, which may take minutes.
    transaction.execute_unprepared("SET LOCAL statement_timeout = 0").await?;
    transaction.execute_raw(statement("SELECT pg_advisory_xact_lock($1)", [EPOCH_LOCK_KEY.into()])).await?;
    transaction.execute_unprepared("SELECT FROM partitions ORDER BY partition FOR UPDATE").await?;
    let (mut newest_held, mut is_lost) = (Epoch(0), false);
    for (process, partitions) in shards {
        let states = process.read_stored_states(partitions).await?;
        let newest = states.iter().map(|(_, state)| state.epoch()).max();
        newest_held = newest_held.max(newest.unwrap_or_default());
        is_lost |= !find_lost(&transaction, &states).await?.is_empty();
    }
    if !is_lost && !force {
        return Ok(None);
    }
    let epoch = insert_epoch(&transaction, newest_held).await?;
    for (process, partitions) in shards {
        for partition in partitions {
            process.reopen_partition(*partition, epoch).await?;
        }
    }
    transaction.commit().await?;
    Ok(Some(epoch))
}

/// Inserts an epoch that no process continues, with a base for each room. Its number is the time in seconds, or more.
/// Neither PostgreSQL nor Redis may know the newest epoch that was ever used, but clients may still have its cursors.
async fn insert_epoch(transaction: &DatabaseTransaction, newest_held: Epoch) -> Result<Epoch, DbErr> {
    let sql = "INSERT INTO epochs_opened (epoch, run_id, opened_at) \
               SELECT GREATEST(extract(epoch FROM clock_timestamp())::bigint, $1 + 1, COALESCE(max(epoch), 0) + 1), \
                 'after-restore', clock_timestamp() FROM epochs_opened RETURNING epoch";
    let row = transaction.query_one_raw(statement(sql, [bigint(newest_held.0).into()])).await?;
    let epoch =
        epoch_column(&row.ok_or_else(|| DbErr::Custom("an INSERT returned no row".to_owned()))?, "epoch")?;
    let number = || [bigint(epoch.0).into()];
    let continue_numbers = "SELECT setval(pg_get_serial_sequence('epochs_opened', 'epoch'), $1)";
    transaction.query_one_raw(statement(continue_numbers, number())).await?;
    transaction.execute_raw(statement("UPDATE partitions SET epoch = $1", number())).await?;
    let bases = "INSERT INTO room_epochs (room_id, epoch, base) SELECT id, $1, head_seq FROM rooms";
    transaction.execute_raw(statement(bases, number())).await?;
    Ok(epoch)
}
