//! Leases of partitions, by the database's clock alone. A lease that changes hands counts up the fencing token;
//! rows are always locked in order of partitions, so that replicas never wait for each other in a ring.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::{ids::Epoch, log::keys::Partition};

use super::sql::{bigint, epoch, partition, smallint, statement};
use crate::ingest::holdings::Lease;

/// A replica that has not been heard of for this many leases is forgotten.
const FORGOTTEN_AFTER_LEASES: i64 = 10;

/// No lease is set longer than this. What lasts beyond it was written by a clock that was ahead and is not any more: it
/// counts as run out, or what a replica held that died meanwhile would be nobody's until then.
pub const LONGEST_LEASE_MS: u64 = 60_000;

/// Number of partition rows: the installation's P.
///
/// # Errors
/// When the database cannot be read.
pub async fn partitions(db: &impl ConnectionTrait) -> Result<i64, DbErr> {
    let row = db.query_one_raw(statement("SELECT count(*) FROM partitions", [])).await?;
    row.map_or(Ok(0), |row| row.try_get_by_index(0))
}

/// Says that this replica lives; tells how many do.
///
/// # Errors
/// When the database cannot be written.
pub async fn appear(db: &impl ConnectionTrait, replica: &str, lease: Duration) -> Result<usize, DbErr> {
    let ms = milliseconds(lease);
    db.execute_raw(statement(
        "INSERT INTO replicas (id, expires_at) VALUES ($1, clock_timestamp() + $2 * interval '1 millisecond') \
         ON CONFLICT (id) DO UPDATE SET expires_at = EXCLUDED.expires_at",
        [replica.into(), ms.into()],
    ))
    .await?;
    db.execute_raw(statement(
        "DELETE FROM replicas WHERE expires_at < clock_timestamp() - $1 * interval '1 millisecond' \
           OR expires_at > clock_timestamp() + $2 * interval '1 millisecond'",
        [(ms * FORGOTTEN_AFTER_LEASES).into(), bigint(LONGEST_LEASE_MS).into()],
    ))
    .await?;
    let row = db
        .query_one_raw(statement("SELECT count(*) FROM replicas WHERE expires_at > clock_timestamp()", []))
        .await?;
    let live: i64 = row.map_or(Ok(1), |row| row.try_get_by_index(0))?;
    Ok(usize::try_from(live).unwrap_or(1).max(1))
}

/// Renews all leases of this replica that nobody has taken; tells them with the epochs of their rows.
///
/// # Errors
/// When the database cannot be written.
pub async fn renew(
    db: &impl ConnectionTrait,
    replica: &str,
    lease: Duration,
) -> Result<Vec<(Lease, Epoch)>, DbErr> {
    let rows = db
        .query_all_raw(statement(
            "WITH mine AS (SELECT partition FROM partitions WHERE owner = $1 ORDER BY partition FOR UPDATE) \
             UPDATE partitions p SET lease_until = clock_timestamp() + $2 * interval '1 millisecond' \
             FROM mine WHERE p.partition = mine.partition AND p.owner = $1 \
             RETURNING p.partition, p.token, p.epoch",
            [replica.into(), milliseconds(lease).into()],
        ))
        .await?;
    rows.iter().map(|row| Ok((read_lease(row)?, epoch(row, 2)?))).collect()
}

/// Takes up to `most` partitions that are free or whose lease has run out.
///
/// # Errors
/// When the database cannot be written.
pub async fn take(
    db: &impl ConnectionTrait,
    replica: &str,
    lease: Duration,
    most: usize,
) -> Result<Vec<Lease>, DbErr> {
    let rows = db
        .query_all_raw(statement(
            "WITH free AS (SELECT partition FROM partitions \
               WHERE owner IS NULL OR lease_until IS NULL OR lease_until < clock_timestamp() \
                 OR lease_until > clock_timestamp() + $4 * interval '1 millisecond' \
               ORDER BY partition LIMIT $3 FOR UPDATE SKIP LOCKED) \
             UPDATE partitions p SET owner = $1, token = p.token + 1, \
               lease_until = clock_timestamp() + $2 * interval '1 millisecond' \
             FROM free WHERE p.partition = free.partition RETURNING p.partition, p.token",
            [
                replica.into(),
                milliseconds(lease).into(),
                bigint(most as u64).into(),
                bigint(LONGEST_LEASE_MS).into(),
            ],
        ))
        .await?;
    rows.iter().map(read_lease).collect()
}

/// Gives leases back. A batch that is being committed is waited for by the row's lock.
///
/// # Errors
/// When the database cannot be written; then they run out by themselves.
pub async fn release(
    db: &impl ConnectionTrait,
    replica: &str,
    partitions: &[Partition],
) -> Result<(), DbErr> {
    let numbers: Vec<i16> = partitions.iter().map(|partition| smallint(*partition)).collect();
    db.execute_raw(statement(
        "WITH mine AS (SELECT partition FROM partitions WHERE owner = $1 AND partition = ANY ($2) \
           ORDER BY partition FOR UPDATE) \
         UPDATE partitions p SET owner = NULL, lease_until = NULL \
         FROM mine WHERE p.partition = mine.partition AND p.owner = $1",
        [replica.into(), numbers.into()],
    ))
    .await
    .map(drop)
}

/// Gives everything back: this replica is going.
///
/// # Errors
/// When the database cannot be written; then all of it runs out by itself.
pub async fn leave(db: &impl ConnectionTrait, replica: &str) -> Result<(), DbErr> {
    release(db, replica, &Partition::all().collect::<Vec<_>>()).await?;
    db.execute_raw(statement("DELETE FROM replicas WHERE id = $1", [replica.into()])).await.map(drop)
}

fn read_lease(row: &sea_orm::QueryResult) -> Result<Lease, DbErr> {
    Ok(Lease { partition: partition(row, 0)?, token: row.try_get_by_index(1)? })
}

fn milliseconds(lease: Duration) -> i64 {
    i64::try_from(lease.as_millis()).unwrap_or(i64::MAX)
}
