//! Finds partitions of which PostgreSQL has lost commits, because it was restored to an earlier point in time or failed
//! over to a standby that was behind. Redis has a proof of the last commit of each partition.

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait};
use tidings_shared::log::{keys::Partition, stored_state::StoredState};
use tidings_shared::sabotage;

use crate::sql::{bigint, column, partition_column, smallint, statement};

/// The partitions of which PostgreSQL has lost a commit: it does not know the epoch of the watermark, or its head of the
/// room in the proof is lower. The states must have been read before this call, because heads and epochs only grow.
pub async fn find_lost(
    db: &impl ConnectionTrait,
    states: &[(Partition, StoredState)],
) -> Result<Vec<Partition>, DbErr> {
    if states.is_empty() || sabotage::is_removed("an owner compares Redis with PostgreSQL") {
        return Ok(Vec::new());
    }
    let proof =
        |state: &StoredState| state.proof.clone().map(|(room, seq)| (room.to_string(), bigint(seq.0)));
    let sql = "SELECT v.partition \
               FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::bigint[]) AS v (partition, epoch, room, seq) \
               JOIN partitions p ON p.partition = v.partition LEFT JOIN rooms r ON r.id = v.room \
               WHERE v.epoch > p.epoch OR v.seq > COALESCE(r.head_seq, 0)";
    let values = [
        column(states, |(partition, _)| smallint(*partition)),
        column(states, |(_, state)| bigint(state.epoch().0)),
        column(states, |(_, state)| proof(state).map_or_else(String::new, |(room, _)| room)),
        column(states, |(_, state)| proof(state).map_or(0, |(_, seq)| seq)),
    ];
    let rows = db.query_all_raw(statement(sql, values)).await?;
    rows.iter().map(|row| partition_column(row, "partition")).collect()
}

/// Locks the rows of partitions until the transaction ends, so that no batch, seed or job changes them meanwhile.
pub async fn lock_partitions(
    db: &DatabaseConnection,
    partitions: &[Partition],
) -> Result<DatabaseTransaction, DbErr> {
    let transaction = db.begin().await?;
    let sql = "SELECT FROM partitions WHERE partition = ANY($1::smallint[]) ORDER BY partition FOR UPDATE";
    let values = [column(partitions, |partition| smallint(*partition))];
    transaction.execute_raw(statement(sql, values)).await?;
    Ok(transaction)
}
