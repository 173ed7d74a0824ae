//! Leases of partitions, by the database's clock alone. Each change of owner increments the fencing token. Rows are
//! always locked in the order of partitions, so that replicas cannot deadlock.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::{ids::Epoch, log::keys::Partition};

use crate::batch::Lease;
use crate::sql::{bigint, epoch, partition, smallint, statement};

/// A replica that did not renew its row for this many lease times is deleted.
const FORGOTTEN_AFTER_LEASES: i64 = 10;

/// Longest lease. A lease that ends later was written by a clock that was ahead, and counts as expired. If it counted
/// as valid, the partitions of a replica that died meanwhile would have no writer until then.
pub const MAX_LEASE_MS: u64 = 60_000;

/// The number of partition rows, which is the installation's number of partitions.
pub async fn partitions(db: &impl ConnectionTrait) -> Result<i64, DbErr> {
    let row = db.query_one_raw(statement("SELECT count(*) AS count FROM partitions", [])).await?;
    row.map_or(Ok(0), |row| row.try_get_by("count"))
}

/// Registers this replica as alive; returns how many replicas are alive.
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

/// Renews all leases that this replica still owns; returns them with the epochs of their rows.
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

/// Takes up to `limit` partitions that are free or whose lease has expired.
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

/// Releases leases. The row's lock waits for a batch that is being committed. If this fails, the leases expire by
/// themselves.
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

/// Releases all leases and removes this replica. If this fails, everything expires by itself.
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
