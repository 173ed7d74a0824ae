//! Leases of partitions, measured only by the database's clock. Each change of owner increments the fencing token. Rows
//! are always locked in the order of the partitions, so that replicas cannot deadlock.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::{ids::Epoch, log::keys::Partition};

use crate::batch::Lease;
use crate::sql::{bigint, epoch, partition, smallint, statement};

/// The row of a replica is deleted when the replica did not renew it for the time of this many leases.
const FORGOTTEN_AFTER_LEASES: i64 = 10;

/// Longest lease. A lease that ends later was written while the database's clock was ahead, and counts as expired.
/// Otherwise the partitions of a crashed replica would have no writer until the lease ends.
pub const MAX_LEASE_MS: u64 = 60_000;

/// The number of rows in `partitions`, which is the number of partitions of the installation.
pub async fn partitions(db: &impl ConnectionTrait) -> Result<i64, DbErr> {
    let row = db.query_one_raw(statement("SELECT count(*) AS count FROM partitions", [])).await?;
    row.map_or(Ok(0), |row| row.try_get_by("count"))
}

/// Registers this replica as live, and returns the number of live replicas.
pub async fn register(db: &impl ConnectionTrait, replica: &str, lease: Duration) -> Result<usize, DbErr> {
    let ms = milliseconds(lease);
    let sql = "INSERT INTO replicas (id, expires_at) VALUES ($1, clock_timestamp() + $2 * interval '1 millisecond') \
               ON CONFLICT (id) DO UPDATE SET expires_at = EXCLUDED.expires_at";
    db.execute_raw(statement(sql, [replica.into(), ms.into()])).await?;
    let sql = "DELETE FROM replicas WHERE expires_at < clock_timestamp() - $1 * interval '1 millisecond' \
               OR expires_at > clock_timestamp() + $2 * interval '1 millisecond'";
    let values = [(ms * FORGOTTEN_AFTER_LEASES).into(), bigint(MAX_LEASE_MS).into()];
    db.execute_raw(statement(sql, values)).await?;
    let sql = "SELECT count(*) AS count FROM replicas WHERE expires_at > clock_timestamp()";
    let row = db.query_one_raw(statement(sql, [])).await?;
    let live: i64 = row.map_or(Ok(1), |row| row.try_get_by("count"))?;
    Ok(usize::try_from(live).unwrap_or(1).max(1))
}

/// Renews all leases that this replica still has. Returns them with the epochs of their rows.
pub async fn renew(
    db: &impl ConnectionTrait,
    replica: &str,
    lease: Duration,
) -> Result<Vec<(Lease, Epoch)>, DbErr> {
    let sql = "WITH mine AS (SELECT partition FROM partitions WHERE owner = $1 ORDER BY partition FOR UPDATE) \
               UPDATE partitions p SET lease_until = clock_timestamp() + $2 * interval '1 millisecond' \
               FROM mine WHERE p.partition = mine.partition AND p.owner = $1 \
               RETURNING p.partition, p.token, p.epoch";
    let rows = db.query_all_raw(statement(sql, [replica.into(), milliseconds(lease).into()])).await?;
    rows.iter().map(|row| Ok((read_lease(row)?, epoch(row, "epoch")?))).collect()
}

/// Takes the leases of up to `limit` partitions that have no owner or whose lease has expired.
pub async fn acquire(
    db: &impl ConnectionTrait,
    replica: &str,
    lease: Duration,
    limit: usize,
) -> Result<Vec<Lease>, DbErr> {
    let sql = "WITH free AS (SELECT partition FROM partitions \
                 WHERE owner IS NULL OR lease_until IS NULL OR lease_until < clock_timestamp() \
                   OR lease_until > clock_timestamp() + $4 * interval '1 millisecond' \
                 ORDER BY partition LIMIT $3 FOR UPDATE SKIP LOCKED) \
               UPDATE partitions p SET owner = $1, token = p.token + 1, \
                 lease_until = clock_timestamp() + $2 * interval '1 millisecond' \
               FROM free WHERE p.partition = free.partition RETURNING p.partition, p.token";
    let values = [
        replica.into(),
        milliseconds(lease).into(),
        bigint(limit as u64).into(),
        bigint(MAX_LEASE_MS).into(),
    ];
    let rows = db.query_all_raw(statement(sql, values)).await?;
    rows.iter().map(read_lease).collect()
}

/// Releases leases. Waits for a batch of these partitions that is being committed. If this fails, the leases expire.
pub async fn release(
    db: &impl ConnectionTrait,
    replica: &str,
    partitions: &[Partition],
) -> Result<(), DbErr> {
    let numbers: Vec<i16> = partitions.iter().map(|partition| smallint(*partition)).collect();
    let sql = "WITH mine AS (SELECT partition FROM partitions WHERE owner = $1 AND partition = ANY ($2) \
                 ORDER BY partition FOR UPDATE) \
               UPDATE partitions p SET owner = NULL, lease_until = NULL \
               FROM mine WHERE p.partition = mine.partition AND p.owner = $1";
    db.execute_raw(statement(sql, [replica.into(), numbers.into()])).await.map(drop)
}

/// Releases all leases and deletes the row of this replica. If this fails, the leases and the row expire.
pub async fn unregister(db: &impl ConnectionTrait, replica: &str) -> Result<(), DbErr> {
    release(db, replica, &Partition::all().collect::<Vec<_>>()).await?;
    db.execute_raw(statement("DELETE FROM replicas WHERE id = $1", [replica.into()])).await.map(drop)
}

fn read_lease(row: &sea_orm::QueryResult) -> Result<Lease, DbErr> {
    Ok(Lease { partition: partition(row, "partition")?, token: row.try_get_by("token")? })
}

fn milliseconds(lease: Duration) -> i64 {
    i64::try_from(lease.as_millis()).unwrap_or(i64::MAX)
}
