//! Opens epochs. The data of a partition get a new epoch whenever the services begin to use another Redis process for
//! them, even if they used that process before. In a Redis Cluster the process also holds a mark with the number of the
//! epoch, because the data may leave the process and come back.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait};
use thiserror::Error;
use tidings_shared::{
    ids::Epoch,
    log::{
        EpochMarks, MarkedProcess, OpenedEpoch, ProcessId, SessionError,
        keys::{PARTITIONS, Partition},
    },
    sabotage,
};
use tokio::time::timeout;

use crate::sql::{column, epoch_column, newest_epoch, partition_column, smallint, statement};

/// Key of the advisory lock that is held while epochs are opened: "epochs" in ASCII.
pub(crate) const EPOCH_LOCK_KEY: i64 = 0x6570_6f63_6873;
/// Limit for reading or writing the marks, which happens under the lock.
const MARKS_TIMEOUT: Duration = Duration::from_secs(1);

/// Why no epoch was opened.
#[derive(Debug, Error)]
pub enum OpenEpochsError {
    #[error(transparent)]
    Database(#[from] DbErr),
    #[error(transparent)]
    Redis(#[from] SessionError),
    #[error("Redis did not answer in time")]
    RedisTimeout(#[from] tokio::time::error::Elapsed),
    #[error("PostgreSQL has lost commits: Redis has a later epoch; run `tidings-persistence after-restore`")]
    WentBack,
}

/// The newest epoch of each partition, in their order; None for a partition without an epoch.
pub async fn newest_epochs(
    db: &impl ConnectionTrait,
    partitions: &[Partition],
) -> Result<Vec<Option<Epoch>>, DbErr> {
    let sql = concat!(
        "SELECT ",
        newest_epoch!("v.partition"),
        " AS epoch FROM unnest($1::smallint[]) WITH ORDINALITY AS v (partition, n) ORDER BY v.n"
    );
    let rows = db.query_all_raw(statement(sql, [numbers(partitions)])).await?;
    rows.iter()
        .map(|row| match row.try_get_by::<Option<i64>, _>("epoch")? {
            Some(_) => epoch_column(row, "epoch").map(Some),
            None => Ok(None),
        })
        .collect()
}

/// The epochs of partitions at a Redis process, in any order. A partition keeps its newest epoch if that was opened for
/// this process since its last promotion, and if the process still has the mark of the epoch. All other partitions get
/// one new epoch. Leaves out the partitions that the process does not serve. No partition may be named twice.
pub async fn open_epochs(
    db: &DatabaseConnection,
    process: &MarkedProcess,
    partitions: &[Partition],
) -> Result<Vec<(Partition, OpenedEpoch)>, OpenEpochsError> {
    let transaction = db.begin().await?;
    transaction.execute_raw(statement("SELECT pg_advisory_xact_lock($1)", [EPOCH_LOCK_KEY.into()])).await?;
    // Read under the lock, so that no other replica writes marks meanwhile.
    let marks = timeout(MARKS_TIMEOUT, EpochMarks::read(process, partitions)).await??;
    let served: Vec<Partition> =
        partitions.iter().copied().filter(|partition| marks.contains(*partition)).collect();
    refuse_if_went_back(&transaction, process, &served).await?;
    let mut opened = kept_epochs(&transaction, &process.id, &served, &marks).await?;
    let is_kept = |partition: &Partition| opened.iter().any(|(kept, _)| kept == partition);
    let without: Vec<Partition> = served.iter().copied().filter(|partition| !is_kept(partition)).collect();
    let mut new = None;
    if !without.is_empty() {
        let epoch = insert_epoch(&transaction, &process.id, &without).await?;
        // Before the COMMIT: an epoch is never in use while the process has the mark of another epoch. A mark of an epoch
        // that is rolled back matches no epoch.
        timeout(MARKS_TIMEOUT, marks.write(process, &without, epoch)).await??;
        opened
            .extend(without.iter().map(|partition| (*partition, OpenedEpoch { epoch, age: Duration::ZERO })));
        new = Some(epoch);
    }
    transaction.commit().await?;
    if let Some(epoch) = new {
        let (run_id, replid) = (process.id.run_id.as_str(), process.id.replid.as_str());
        tracing::info!(%epoch, run_id, replid, partitions = without.len(), "epoch opened");
    }
    Ok(opened)
}

/// Fails if the watermark of a partition has a later epoch than PostgreSQL knows. A new epoch could get the number of a
/// lost one.
async fn refuse_if_went_back(
    transaction: &DatabaseTransaction,
    process: &MarkedProcess,
    partitions: &[Partition],
) -> Result<(), OpenEpochsError> {
    let held = timeout(MARKS_TIMEOUT, process.read_stored_epochs(partitions)).await??;
    let newest = newest_epochs(transaction, partitions).await?;
    let went_back = held.iter().zip(&newest).any(|(held, newest)| *held > newest.unwrap_or_default());
    if went_back && !sabotage::is_removed("no epoch is opened while Redis has a later one") {
        return Err(OpenEpochsError::WentBack);
    }
    Ok(())
}

/// The partitions whose newest epoch was opened for this process since its last promotion and is marked there, with
/// that epoch.
async fn kept_epochs(
    transaction: &DatabaseTransaction,
    process: &ProcessId,
    partitions: &[Partition],
    marks: &EpochMarks,
) -> Result<Vec<(Partition, OpenedEpoch)>, DbErr> {
    let sql = "SELECT v.partition, e.* FROM unnest($1::smallint[]) AS v (partition) CROSS JOIN LATERAL ( \
                 SELECT epoch, run_id, replid, \
                   GREATEST(0, extract(epoch FROM clock_timestamp() - opened_at) * 1000)::bigint AS age_ms \
                 FROM epochs_opened WHERE partitions IS NULL OR v.partition = ANY (partitions) \
                 ORDER BY epoch DESC LIMIT 1) e";
    let rows = transaction.query_all_raw(statement(sql, [numbers(partitions)])).await?;
    let mut kept = Vec::with_capacity(rows.len());
    for row in &rows {
        let (run_id, replid): (String, Option<String>) =
            (row.try_get_by("run_id")?, row.try_get_by("replid")?);
        let (partition, epoch) = (partition_column(row, "partition")?, epoch_column(row, "epoch")?);
        if process.continues(&run_id, replid.as_deref()) && marks.may_continue(partition, epoch) {
            let age_ms: i64 = row.try_get_by("age_ms")?;
            let age = Duration::from_millis(u64::try_from(age_ms).unwrap_or(0));
            kept.push((partition, OpenedEpoch { epoch, age }));
        }
    }
    Ok(kept)
}

/// Numbers a new epoch of partitions. An epoch of all partitions has NULL, as the previous version writes it.
async fn insert_epoch(
    transaction: &DatabaseTransaction,
    process: &ProcessId,
    partitions: &[Partition],
) -> Result<Epoch, DbErr> {
    let sql = "INSERT INTO epochs_opened (run_id, replid, partitions, opened_at) \
               VALUES ($1, $2, CASE WHEN cardinality($3::smallint[]) < $4 THEN $3 END, clock_timestamp()) \
               RETURNING epoch";
    let values = [
        process.run_id.as_str().into(),
        process.replid.as_str().into(),
        numbers(partitions),
        i32::from(PARTITIONS).into(),
    ];
    let row = transaction.query_one_raw(statement(sql, values)).await?;
    let row = row.ok_or_else(|| DbErr::Custom("an INSERT returned no row".to_owned()))?;
    epoch_column(&row, "epoch")
}

fn numbers(partitions: &[Partition]) -> sea_orm::Value {
    column(partitions, |partition| smallint(*partition))
}
