//! Sets the positions from which partitions are read, under the locks of their rows. The caller reads the watermarks in
//! Redis between [`Settling::lock`] and [`Settling::finish`].
//! Changes no partition whose fencing token has changed.

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait};
use tidings_shared::{
    ids::Epoch,
    log::{IngestId, keys::Partition},
};

use crate::batch::Lease;
use crate::sql::{bigint, column, epoch, partition, smallint, statement};

/// A transaction that has locked the rows of partitions of this replica.
pub struct Settling {
    transaction: DatabaseTransaction,
    /// The leases that are still valid, each with the epoch of its row.
    pub rows: Vec<(Lease, Epoch)>,
}

impl Settling {
    /// Locks the rows of the partitions. Leases that are missing in `rows` afterwards are lost.
    pub async fn lock(db: &DatabaseConnection, leases: &[Lease]) -> Result<Self, DbErr> {
        let transaction = db.begin().await?;
        let numbers: Vec<i16> = leases.iter().map(|lease| smallint(lease.partition)).collect();
        let sql = "SELECT partition, token, epoch FROM partitions WHERE partition = ANY ($1) \
                   ORDER BY partition FOR UPDATE";
        let rows = transaction.query_all_raw(statement(sql, [numbers.into()])).await?;
        let mut ours = Vec::with_capacity(rows.len());
        for row in &rows {
            let lease = Lease { partition: partition(row, "partition")?, token: row.try_get_by("token")? };
            if leases.contains(&lease) {
                ours.push((lease, epoch(row, "epoch")?));
            }
        }
        Ok(Self { transaction, rows: ours })
    }

    /// Sets the epoch and the positions of the partitions, and commits.
    pub async fn finish(self, epoch: Epoch, positions: &[(Partition, IngestId)]) -> Result<(), DbErr> {
        let sql = "UPDATE partitions p SET epoch = $1, last_id = v.last_id \
                   FROM unnest($2::smallint[], $3::text[]) AS v (partition, last_id) \
                   WHERE p.partition = v.partition";
        let values = [
            bigint(epoch.0).into(),
            column(positions, |(partition, _)| smallint(*partition)),
            column(positions, |(_, id)| id.to_string()),
        ];
        self.transaction.execute_raw(statement(sql, values)).await?;
        self.transaction.commit().await
    }
}
