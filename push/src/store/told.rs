//! Notifications that apps may still show: one row for each device and room. When the user has read the message or has
//! left the room, [`take_back`] queues an order to the app to remove the notification. Read marks are not in the feed,
//! so each row is checked repeatedly, less often as it gets older.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};
use tidings_persistence::sql::{scalar, statement};

use super::pending::Claim;

/// Largest number of remembered rooms per device. Notifications of further rooms are not taken back.
const MAX_ROOMS_PER_DEVICE: i64 = 100;
/// The shortest pause between two checks of a notification.
const MIN_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// The pause before the next check, as a share of the age of the notification. A day needs about 70 checks.
const CHECK_SHARE_OF_AGE: f64 = 0.125;
/// A notification is forgotten at this age, even if it could not be taken back.
pub const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Remembers that the device may show a notification up to this seq. Must run before the attempt, because an attempt
/// that fails may still have reached the device.
pub async fn remember(db: &impl ConnectionTrait, claim: &Claim, seq: i64) -> Result<(), DbErr> {
    let sql = "INSERT INTO push_told (device_id, room_id, seq, check_at) \
          SELECT d.id, $2, $3, now() + make_interval(secs => $4::float8) FROM push_devices d WHERE d.id = $1 \
            AND ((SELECT count(*) FROM push_told t WHERE t.device_id = d.id) < $5 \
              OR EXISTS (SELECT FROM push_told t WHERE t.device_id = d.id AND t.room_id = $2)) FOR KEY SHARE OF d \
        ON CONFLICT (device_id, room_id) DO UPDATE SET seq = GREATEST(push_told.seq, excluded.seq), told_at = now(), \
          check_at = excluded.check_at";
    let values = [
        claim.device.id.as_str().into(),
        claim.room.as_str().into(),
        seq.into(),
        MIN_CHECK_INTERVAL.as_secs_f64().into(),
        MAX_ROOMS_PER_DEVICE.into(),
    ];
    db.execute_raw(statement(sql, values)).await.map(drop)
}

/// Checks up to `limit` remembered notifications, and queues the read ones to be taken back. Returns the number of
/// checked notifications.
///
/// Locks the devices before the rows. Deleting a device uses the same order, so the two cannot deadlock.
pub async fn take_back(db: &impl ConnectionTrait, limit: i64) -> Result<i64, DbErr> {
    let sql = "WITH picked AS MATERIALIZED (SELECT device_id, room_id FROM push_told WHERE check_at <= now() \
           ORDER BY check_at LIMIT $1), \
         locked AS MATERIALIZED (SELECT d.id FROM push_devices d \
           WHERE d.id IN (SELECT device_id FROM picked) ORDER BY d.id FOR KEY SHARE OF d SKIP LOCKED), \
         due AS MATERIALIZED (SELECT t.device_id, t.room_id, t.seq, t.told_at \
           FROM picked p JOIN push_told t ON t.device_id = p.device_id AND t.room_id = p.room_id \
           WHERE t.check_at <= now() AND p.device_id IN (SELECT id FROM locked) \
           ORDER BY t.device_id, t.room_id FOR UPDATE OF t SKIP LOCKED), \
         seen AS MATERIALIZED (SELECT u.*, d.not_before, COALESCE((SELECT mb.read_seq >= u.seq FROM members mb \
             WHERE mb.room_id = u.room_id AND mb.user_id = d.user_id), true) AS is_read \
           FROM due u JOIN push_devices d ON d.id = u.device_id), \
         kept AS (UPDATE push_told t \
           SET check_at = now() + GREATEST(make_interval(secs => $2::float8), (now() - s.told_at) * $3::float8) FROM seen s \
           WHERE t.device_id = s.device_id AND t.room_id = s.room_id AND NOT s.is_read \
             AND s.told_at > now() - make_interval(secs => $4::float8)), \
         dropped AS (DELETE FROM push_told t USING seen s WHERE t.device_id = s.device_id AND t.room_id = s.room_id \
           AND (s.is_read OR s.told_at <= now() - make_interval(secs => $4::float8))), \
         queued AS (INSERT INTO push_pending (device_id, room_id, first_seq, seq, clear_seq, due_at) \
           SELECT s.device_id, s.room_id, s.seq, s.seq, s.seq, GREATEST(now(), s.not_before) FROM seen s WHERE s.is_read \
           ORDER BY s.device_id, s.room_id \
           ON CONFLICT (device_id, room_id) DO UPDATE SET clear_seq = excluded.clear_seq) \
         SELECT count(*) FROM seen";
    let values = [
        limit.into(),
        MIN_CHECK_INTERVAL.as_secs_f64().into(),
        CHECK_SHARE_OF_AGE.into(),
        MAX_AGE.as_secs_f64().into(),
    ];
    Ok(scalar(db, statement(sql, values)).await?.unwrap_or_default())
}
