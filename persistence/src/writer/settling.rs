//! Moves the rows of partitions to the epochs of their sessions, under their locks. The caller reads the watermarks in
//! Redis between [`Settling::lock`] and [`Settling::finish`], when no batch of an earlier owner can commit any more.
//! Changes no partition whose fencing token has changed.

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait};
use tidings_shared::{
    ids::Epoch,
    log::{keys::Partition, stored_state::StoredState},
};

use crate::batch::Lease;
use crate::sql::{bigint, column, epoch_column, partition_column, smallint, statement};
use crate::writer::{failure, lost_commits, seeds};

/// A transaction that has locked the rows of partitions of this replica.
pub struct Settling {
    transaction: DatabaseTransaction,
    /// The leases that are still valid, each with the epoch of its row.
    pub rows: Vec<(Lease, Epoch)>,
    /// The leases that are lost.
    pub lost: Vec<Lease>,
    /// The partitions whose rows another transaction kept locked for the whole time that this one waits.
    pub locked: Vec<Partition>,
}

impl Settling {
    /// Locks the rows of the partitions. Waits a short time for each lock, because seeds and batches hold it only
    /// briefly. If a row stays locked, locks only the other rows.
    pub async fn lock(db: &DatabaseConnection, leases: &[Lease]) -> Result<Self, DbErr> {
        match Self::lock_rows(db, leases, "").await {
            Err(error) if failure::is_lock_timeout(&error) => {
                Self::lock_rows(db, leases, "SKIP LOCKED").await
            }
            settling => settling,
        }
    }

    async fn lock_rows(db: &DatabaseConnection, leases: &[Lease], skip: &str) -> Result<Self, DbErr> {
        let transaction = db.begin().await?;
        transaction.execute_unprepared(seeds::SET_LOCK_TIMEOUT).await?;
        let numbers: Vec<i16> = leases.iter().map(|lease| smallint(lease.partition)).collect();
        let sql = format!(
            "SELECT partition, token, epoch FROM partitions WHERE partition = ANY ($1) \
             ORDER BY partition FOR UPDATE {skip}"
        );
        let rows = transaction.query_all_raw(statement(&sql, [numbers.into()])).await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            let lease =
                Lease { partition: partition_column(row, "partition")?, token: row.try_get_by("token")? };
            found.push((lease, epoch_column(row, "epoch")?));
        }
        let is_missing = |wanted: &Partition| found.iter().all(|(row, _)| row.partition != *wanted);
        let locked: Vec<Partition> = leases.iter().map(|lease| lease.partition).filter(is_missing).collect();
        found.retain(|(row, _)| leases.contains(row));
        let is_owned = |lease: &Lease| found.iter().any(|(row, _)| row == lease);
        let lost = leases.iter().filter(|lease| !is_owned(lease) && !locked.contains(&lease.partition));
        let lost = lost.copied().collect();
        Ok(Self { transaction, rows: found, lost, locked })
    }

    /// The partitions of which PostgreSQL has lost commits, by the states that were read under the locks.
    pub async fn find_lost_commits(
        &self,
        states: &[(Partition, StoredState)],
    ) -> Result<Vec<Partition>, DbErr> {
        lost_commits::find_lost(&self.transaction, states).await
    }

    /// Moves each of these partitions, which are some of those in `rows`, to its epoch, and commits.
    pub async fn finish(self, epochs: &[(Partition, Epoch)]) -> Result<(), DbErr> {
        let sql = "UPDATE partitions p SET epoch = v.epoch \
                   FROM unnest($1::smallint[], $2::bigint[]) AS v (partition, epoch) \
                   WHERE p.partition = v.partition AND p.epoch <> v.epoch";
        let values = [
            column(epochs, |(partition, _)| smallint(*partition)),
            column(epochs, |(_, epoch)| bigint(epoch.0)),
        ];
        self.transaction.execute_raw(statement(sql, values)).await?;
        self.transaction.commit().await
    }
}
