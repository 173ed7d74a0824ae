//! Notifications that wait, one for each device and room. A claim moves `due_at` behind the time limit of the attempt, so
//! that another replica tries again if this one stops. `claims` is the fencing token.

use std::collections::HashMap;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, FromQueryResult, TransactionTrait};
use tidings_persistence::sql::{column, statement};

use super::devices::{DEVICE_COLUMNS, Device};
use crate::device::DeviceKind;

/// A notification that this replica has claimed.
#[derive(Debug, FromQueryResult)]
pub struct Claim {
    #[sea_orm(nested)]
    pub device: Device,
    pub room: String,
    /// The first of the messages that the notification stands for.
    pub first_seq: i64,
    /// The last of these messages.
    pub seq: i64,
    /// Seconds since the last of these messages was queued.
    pub age_s: f64,
    /// The seq up to which a notification that was sent earlier has been read, so that it must be taken back.
    pub clear_seq: Option<i64>,
    claims: i32,
}

/// The attempts that are under way, and how many there may be for a user and at a host. Notifications beyond these limits
/// are not claimed, because a claim that cannot be used is two writes for nothing.
#[derive(Debug)]
pub struct ClaimLimits {
    pub users: HashMap<String, usize>,
    pub hosts: HashMap<String, usize>,
    pub max_per_user: usize,
    pub max_per_host: usize,
}

/// Claims up to `limit` notifications for `lease`, those that have waited longest first.
pub async fn claim(
    db: &impl ConnectionTrait,
    limit: usize,
    limits: &ClaimLimits,
    lease: Duration,
) -> Result<Vec<Claim>, DbErr> {
    let sql = format!(
        "WITH ready AS (SELECT p.device_id, p.room_id, p.due_at, d.user_id, \
             CASE d.kind WHEN 'web_push' THEN split_part(d.address, '/', 3) ELSE d.kind END AS host \
           FROM push_pending p JOIN push_devices d ON d.id = p.device_id \
           WHERE p.due_at <= now() AND d.kind = ANY($9)), \
         ranked AS (SELECT r.device_id, r.room_id, \
             row_number() OVER (PARTITION BY r.user_id ORDER BY r.due_at) + COALESCE(u.attempts, 0) AS user_rank, \
             row_number() OVER (PARTITION BY r.host ORDER BY r.due_at) + COALESCE(h.attempts, 0) AS host_rank \
           FROM ready r LEFT JOIN unnest($3::text[], $4::bigint[]) AS u (id, attempts) ON u.id = r.user_id \
             LEFT JOIN unnest($5::text[], $6::bigint[]) AS h (host, attempts) ON h.host = r.host), \
         due AS (SELECT p.device_id, p.room_id FROM ranked k \
             JOIN push_pending p ON p.device_id = k.device_id AND p.room_id = k.room_id \
           WHERE k.user_rank <= $7 AND k.host_rank <= $8 AND p.due_at <= now() ORDER BY p.due_at \
           LIMIT $1 FOR UPDATE OF p SKIP LOCKED) \
         UPDATE push_pending p SET claims = p.claims + 1, due_at = now() + make_interval(secs => $2::float8) \
         FROM due JOIN push_devices d ON d.id = due.device_id \
         WHERE p.device_id = due.device_id AND p.room_id = due.room_id \
         RETURNING p.room_id AS room, p.first_seq, p.seq, p.claims, p.clear_seq, \
           extract(epoch FROM now() - p.queued_at)::float8 AS age_s, {DEVICE_COLUMNS}"
    );
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let (users, hosts): (Vec<_>, Vec<_>) = (limits.users.iter().collect(), limits.hosts.iter().collect());
    let values = [
        number(limit).into(),
        lease.as_secs_f64().into(),
        column(&users, |(user, _)| (*user).clone()),
        column(&users, |(_, count)| number(**count)),
        column(&hosts, |(host, _)| (*host).clone()),
        column(&hosts, |(_, count)| number(**count)),
        number(limits.max_per_user).into(),
        number(limits.max_per_host).into(),
        DeviceKind::names().into(),
    ];
    Claim::find_by_statement(statement(&sql, values)).all(db).await
}

/// Removes a notification whose messages up to `last_seq` were sent or are no longer needed. If later messages wait, or
/// if an earlier notification was queued to be taken back since the claim, the row stays and is due after `delay`. If
/// another replica has claimed the notification since, it is removed only if it was sent, because the other replica may
/// decide otherwise.
pub async fn complete(
    db: &impl ConnectionTrait,
    claim: &Claim,
    last_seq: i64,
    is_sent: bool,
    delay: Duration,
) -> Result<(), DbErr> {
    let (device, room) = (claim.device.id.as_str(), claim.room.as_str());
    let sql = "DELETE FROM push_pending WHERE device_id = $1 AND room_id = $2 AND seq <= $3 AND ($5 OR claims = $4) \
        AND clear_seq IS NOT DISTINCT FROM $6::bigint";
    let values = [
        device.into(),
        room.into(),
        last_seq.into(),
        claim.claims.into(),
        is_sent.into(),
        claim.clear_seq.into(),
    ];
    if db.execute_raw(statement(sql, values)).await?.rows_affected() > 0 {
        return Ok(());
    }
    let sql = "UPDATE push_pending SET first_seq = GREATEST(first_seq, $3::bigint + 1), \
          due_at = now() + make_interval(secs => $5::float8), \
          clear_seq = CASE WHEN clear_seq IS DISTINCT FROM $6::bigint THEN clear_seq END \
        WHERE device_id = $1 AND room_id = $2 AND claims = $4";
    let values = [
        device.into(),
        room.into(),
        last_seq.into(),
        claim.claims.into(),
        delay.as_secs_f64().into(),
        claim.clear_seq.into(),
    ];
    db.execute_raw(statement(sql, values)).await.map(drop)
}

/// Releases a claim. The notification is due after `delay`.
pub async fn postpone(db: &impl ConnectionTrait, claim: &Claim, delay: Duration) -> Result<(), DbErr> {
    let sql = "UPDATE push_pending SET due_at = now() + make_interval(secs => $4::float8) \
        WHERE device_id = $1 AND room_id = $2 AND claims = $3";
    let values = [
        claim.device.id.as_str().into(),
        claim.room.as_str().into(),
        claim.claims.into(),
        delay.as_secs_f64().into(),
    ];
    db.execute_raw(statement(sql, values)).await.map(drop)
}

/// Releases the claim of a notification whose user is online. The row is due again after `delay`. Drops the messages
/// before the first one that is younger than `max_wait`; looks for it among the last 2,000 seqs of the row. If there is
/// none, drops nothing: the messages were queued late, or the clock of Redis, which sets their time, differs from the
/// clock of PostgreSQL.
pub async fn postpone_online(
    db: &impl ConnectionTrait,
    claim: &Claim,
    delay: Duration,
    max_wait: Duration,
) -> Result<(), DbErr> {
    let sql = "UPDATE push_pending p SET due_at = now() + make_interval(secs => $4::float8), \
          first_seq = COALESCE((SELECT min(m.seq) FROM messages m WHERE m.room_id = p.room_id \
            AND m.seq >= GREATEST(p.first_seq, p.seq - 2000) AND m.seq <= p.seq \
            AND m.at > now() - make_interval(secs => $5::float8)), p.first_seq) \
        WHERE p.device_id = $1 AND p.room_id = $2 AND p.claims = $3";
    let values = [
        claim.device.id.as_str().into(),
        claim.room.as_str().into(),
        claim.claims.into(),
        delay.as_secs_f64().into(),
        max_wait.as_secs_f64().into(),
    ];
    db.execute_raw(statement(sql, values)).await.map(drop)
}

/// Records a failed attempt: the device gets nothing until `delay` has passed. Concurrent failures count
/// once.
pub async fn fail(db: &DatabaseConnection, claim: &Claim, delay: Duration) -> Result<(), DbErr> {
    let transaction = db.begin().await?;
    let (device, delay_s) = (claim.device.id.as_str(), delay.as_secs_f64());
    let sql = "UPDATE push_devices SET failures = failures + 1, not_before = now() + make_interval(secs => $3::float8) \
        WHERE id = $1 AND failures = $2";
    let values = [device.into(), claim.device.failures.into(), delay_s.into()];
    transaction.execute_raw(statement(sql, values)).await?;
    let sql = "WITH held AS MATERIALIZED (SELECT room_id FROM push_pending WHERE device_id = $1 ORDER BY room_id FOR UPDATE) \
        UPDATE push_pending p SET due_at = CASE WHEN p.room_id = $3 AND p.claims = $4 \
            THEN now() + make_interval(secs => $2::float8) \
            ELSE GREATEST(p.due_at, now() + make_interval(secs => $2::float8)) END \
        FROM held WHERE p.device_id = $1 AND p.room_id = held.room_id";
    let values = [device.into(), delay_s.into(), claim.room.as_str().into(), claim.claims.into()];
    transaction.execute_raw(statement(sql, values)).await?;
    transaction.commit().await
}

/// The notifications that wait.
#[derive(Debug, Default, FromQueryResult)]
pub struct PendingTotals {
    pub waiting: i64,
    /// How long the first of them is overdue, in seconds; 0 if none is.
    pub overdue_s: f64,
}

/// Counts the notifications that wait.
pub async fn totals(db: &impl ConnectionTrait) -> Result<PendingTotals, DbErr> {
    let sql = "SELECT count(*) AS waiting, \
        COALESCE(GREATEST(extract(epoch FROM now() - min(due_at)), 0), 0)::float8 AS overdue_s FROM push_pending";
    Ok(PendingTotals::find_by_statement(statement(sql, [])).one(db).await?.unwrap_or_default())
}
