//! Tickets of Expo whose receipts were not read yet. A claim moves `check_at`, so that two replicas do not ask for the
//! same receipts, and so that a receipt that is missing is asked for again.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};
use tidings_persistence::sql::{scalars, statement};

/// The pause before a receipt is asked for, as Expo recommends. Also the pause before it is asked for again.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// Expo keeps receipts for this time. Then the ticket is useless.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// Largest number of tickets per device. The receipts of further messages are not read.
const MAX_TICKETS_PER_DEVICE: i64 = 100;

/// Remembers the ticket of a message whose attempt took `attempt_time`. Does nothing if the device is gone, or was
/// registered again during the attempt: the receipt could then be about the app before.
pub async fn remember(
    db: &impl ConnectionTrait,
    device: &str,
    ticket: &str,
    attempt_time: Duration,
) -> Result<(), DbErr> {
    let sql = "INSERT INTO push_tickets (id, device_id, check_at) \
          SELECT $1, d.id, now() + make_interval(secs => $3::float8) FROM push_devices d WHERE d.id = $2 \
            AND d.not_before <= now() - make_interval(secs => $5::float8) \
            AND (SELECT count(*) FROM push_tickets t WHERE t.device_id = d.id) < $4 FOR KEY SHARE OF d \
        ON CONFLICT (id) DO NOTHING";
    let values = [
        ticket.into(),
        device.into(),
        CHECK_INTERVAL.as_secs_f64().into(),
        MAX_TICKETS_PER_DEVICE.into(),
        attempt_time.as_secs_f64().into(),
    ];
    db.execute_raw(statement(sql, values)).await.map(drop)
}

/// Forgets the tickets of a device. The caller has locked the device.
pub async fn forget(db: &impl ConnectionTrait, device: &str) -> Result<(), DbErr> {
    let sql = "DELETE FROM push_tickets WHERE device_id = $1";
    db.execute_raw(statement(sql, [device.into()])).await.map(drop)
}

/// Claims up to `limit` tickets that are due, and returns their ids. Deletes those among them that are too old.
///
/// Skips locked rows: it must not wait while it holds locks.
pub async fn claim(db: &impl ConnectionTrait, limit: i64) -> Result<Vec<String>, DbErr> {
    let sql = "WITH due AS MATERIALIZED (SELECT id, sent_at <= now() - make_interval(secs => $3::float8) AS is_old \
           FROM push_tickets WHERE check_at <= now() ORDER BY check_at LIMIT $1 FOR UPDATE SKIP LOCKED), \
         dropped AS (DELETE FROM push_tickets t USING due WHERE t.id = due.id AND due.is_old) \
         UPDATE push_tickets t SET check_at = now() + make_interval(secs => $2::float8) FROM due \
         WHERE t.id = due.id AND NOT due.is_old RETURNING t.id";
    let values = [limit.into(), CHECK_INTERVAL.as_secs_f64().into(), MAX_AGE.as_secs_f64().into()];
    scalars(db, statement(sql, values)).await
}

/// Deletes the devices of these tickets. A device that was registered again since has no such ticket, and stays.
///
/// Locks each device before its tickets. Registrations and deletions use the same order, so they cannot deadlock.
pub async fn delete_devices(db: &impl ConnectionTrait, tickets: Vec<String>) -> Result<(), DbErr> {
    let sql = "WITH gone AS MATERIALIZED (SELECT d.id FROM push_tickets t JOIN push_devices d ON d.id = t.device_id \
           WHERE t.id = ANY ($1) ORDER BY d.id FOR UPDATE OF d, t) \
         DELETE FROM push_devices d USING gone WHERE d.id = gone.id";
    db.execute_raw(statement(sql, [tickets.into()])).await.map(drop)
}

/// Deletes tickets whose receipts were read. Skips locked tickets, because another transaction deletes them.
pub async fn delete(db: &impl ConnectionTrait, tickets: Vec<String>) -> Result<(), DbErr> {
    let sql = "WITH done AS MATERIALIZED (SELECT id FROM push_tickets WHERE id = ANY ($1) FOR UPDATE SKIP LOCKED) \
         DELETE FROM push_tickets t USING done WHERE t.id = done.id";
    db.execute_raw(statement(sql, [tickets.into()])).await.map(drop)
}
