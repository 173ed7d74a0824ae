//! Leases of partitions, measured only by the database's clock. A partition stays with its owner while the owner's row
//! in `replicas` has not expired. So a renewal writes only that row, and waits for no lock of a partition. Each change
//! of owner increments the fencing token. Rows are always locked in the order of the partitions, so that replicas
//! cannot deadlock.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::{ids::Epoch, log::keys::Partition};

use crate::batch::Lease;
use crate::sql::{bigint, epoch_column, partition_column, smallint, statement};

/// A replica's row is deleted when it expired longer ago than the time of this many leases.
const FORGOTTEN_AFTER_LEASES: i64 = 10;

/// Longest lease. A lease that ends later was written while the database's clock was ahead, and counts as expired.
/// Otherwise the partitions of a crashed replica would have no writer until the lease ends.
pub const MAX_LEASE_MS: u64 = 60_000;

/// How often a release is tried while rows are locked, and the pause before each retry.
const MAX_RELEASE_ATTEMPTS: u32 = 6;
const RELEASE_PAUSE: Duration = Duration::from_millis(50);

/// The number of rows in `partitions`, which is the number of partitions of the installation.
pub async fn count_partitions(db: &impl ConnectionTrait) -> Result<i64, DbErr> {
    let row = db.query_one_raw(statement("SELECT count(*) AS count FROM partitions", [])).await?;
    row.map_or(Ok(0), |row| row.try_get_by("count"))
}

/// Registers this replica as live and so renews its leases. Deletes the rows of replicas that expired long ago or end
/// later than a lease can. Returns the number of live replicas.
pub async fn register_replica(
    db: &impl ConnectionTrait,
    replica: &str,
    lease: Duration,
) -> Result<usize, DbErr> {
    let ms = to_milliseconds(lease);
    let sql = "INSERT INTO replicas (id, expires_at) VALUES ($1, clock_timestamp() + $2 * interval '1 millisecond') \
               ON CONFLICT (id) DO UPDATE SET expires_at = EXCLUDED.expires_at";
    db.execute_raw(statement(sql, [replica.into(), ms.into()])).await?;
    // Skips rows that another transaction has locked, because they must not delay a renewal.
    let sql = "DELETE FROM replicas WHERE id IN (SELECT id FROM replicas \
               WHERE expires_at < clock_timestamp() - $1 * interval '1 millisecond' \
                 OR expires_at > clock_timestamp() + $2 * interval '1 millisecond' FOR UPDATE SKIP LOCKED)";
    let values = [(ms * FORGOTTEN_AFTER_LEASES).into(), bigint(MAX_LEASE_MS).into()];
    db.execute_raw(statement(sql, values)).await?;
    let sql = "SELECT count(*) AS count FROM replicas WHERE expires_at > clock_timestamp()";
    let row = db.query_one_raw(statement(sql, [])).await?;
    let live: i64 = row.map_or(Ok(1), |row| row.try_get_by("count"))?;
    Ok(usize::try_from(live).unwrap_or(1).max(1))
}

/// Whether this replica is elected for work that only one replica does: it is the first of the live replicas. For a
/// short time no replica, or two replicas, may be elected.
pub async fn is_elected(db: &impl ConnectionTrait, replica: &str) -> Result<bool, DbErr> {
    let sql =
        "SELECT id = $1 AS elected FROM replicas WHERE expires_at > clock_timestamp() ORDER BY id LIMIT 1";
    let row = db.query_one_raw(statement(sql, [replica.into()])).await?;
    row.map_or(Ok(false), |row| row.try_get_by("elected"))
}

/// The leases that this replica has, with the epochs of their rows. [`register_replica`] has renewed these leases.
pub async fn owned_leases(db: &impl ConnectionTrait, replica: &str) -> Result<Vec<(Lease, Epoch)>, DbErr> {
    let sql = "SELECT partition, token, epoch FROM partitions WHERE owner = $1";
    let rows = db.query_all_raw(statement(sql, [replica.into()])).await?;
    rows.iter().map(|row| Ok((read_lease(row)?, epoch_column(row, "epoch")?))).collect()
}

/// Takes the leases of up to `limit` partitions that have no owner, or whose owner's row in `replicas` has expired.
///
/// Replicas of the previous version read and renew only the column `lease_until`. A partition is never taken before
/// that time; this also lets a replica that has just registered keep what it takes.
pub async fn acquire_leases(
    db: &impl ConnectionTrait,
    replica: &str,
    lease: Duration,
    limit: usize,
) -> Result<Vec<Lease>, DbErr> {
    let sql = "WITH limits AS (SELECT clock_timestamp() AS since, \
                 clock_timestamp() + $4 * interval '1 millisecond' AS upto), \
               free AS (SELECT p.partition FROM limits, partitions p \
                 WHERE p.owner IS NULL OR ((p.lease_until BETWEEN since AND upto) IS NOT TRUE \
                   AND NOT EXISTS (SELECT FROM replicas r WHERE r.id = p.owner AND r.expires_at BETWEEN since AND upto)) \
                 ORDER BY p.partition LIMIT $3 FOR UPDATE OF p SKIP LOCKED) \
               UPDATE partitions p SET owner = $1, token = p.token + 1, \
                 lease_until = clock_timestamp() + $2 * interval '1 millisecond' \
               FROM free WHERE p.partition = free.partition RETURNING p.partition, p.token";
    let values = [
        replica.into(),
        to_milliseconds(lease).into(),
        bigint(limit as u64).into(),
        bigint(MAX_LEASE_MS).into(),
    ];
    let rows = db.query_all_raw(statement(sql, values)).await?;
    rows.iter().map(read_lease).collect()
}

/// Releases leases. Tries again for a short time while rows are locked, usually by a batch that is being committed.
/// Rows that stay locked keep this replica as owner, and the next renewal returns them. Returns the number of released
/// leases.
pub async fn release_leases(
    db: &impl ConnectionTrait,
    replica: &str,
    partitions: &[Partition],
) -> Result<usize, DbErr> {
    let sql = "WITH mine AS (SELECT partition FROM partitions WHERE owner = $1 AND partition = ANY ($2) \
                 ORDER BY partition FOR UPDATE SKIP LOCKED) \
               UPDATE partitions p SET owner = NULL, lease_until = NULL \
               FROM mine WHERE p.partition = mine.partition AND p.owner = $1 RETURNING p.partition";
    let mut left = partitions.to_vec();
    for attempt in 0..MAX_RELEASE_ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(RELEASE_PAUSE).await;
        }
        let numbers: Vec<i16> = left.iter().map(|partition| smallint(*partition)).collect();
        let rows = db.query_all_raw(statement(sql, [replica.into(), numbers.into()])).await?;
        let released =
            rows.iter().map(|row| partition_column(row, "partition")).collect::<Result<Vec<_>, _>>()?;
        left.retain(|partition| !released.contains(partition));
        if left.is_empty() {
            break;
        }
    }
    Ok(partitions.len() - left.len())
}

/// The partitions among these whose rows another transaction has locked.
pub async fn locked_partitions(
    db: &impl ConnectionTrait,
    partitions: &[Partition],
) -> Result<Vec<Partition>, DbErr> {
    let numbers: Vec<i16> = partitions.iter().map(|partition| smallint(*partition)).collect();
    let sql = "SELECT partition FROM partitions WHERE partition = ANY ($1) FOR NO KEY UPDATE SKIP LOCKED";
    let rows = db.query_all_raw(statement(sql, [numbers.into()])).await?;
    let free = rows.iter().map(|row| partition_column(row, "partition")).collect::<Result<Vec<_>, _>>()?;
    Ok(partitions.iter().copied().filter(|partition| !free.contains(partition)).collect())
}

/// Releases leases and deletes the row of this replica; no lease is valid without that row. If this fails, the row
/// expires.
pub async fn unregister_replica(db: &impl ConnectionTrait, replica: &str) -> Result<(), DbErr> {
    let owned: Vec<Partition> =
        owned_leases(db, replica).await?.iter().map(|(lease, _)| lease.partition).collect();
    release_leases(db, replica, &owned).await?;
    db.execute_raw(statement("DELETE FROM replicas WHERE id = $1", [replica.into()])).await.map(drop)
}

fn read_lease(row: &sea_orm::QueryResult) -> Result<Lease, DbErr> {
    Ok(Lease { partition: partition_column(row, "partition")?, token: row.try_get_by("token")? })
}

fn to_milliseconds(lease: Duration) -> i64 {
    i64::try_from(lease.as_millis()).unwrap_or(i64::MAX)
}
