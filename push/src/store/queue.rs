//! Queues notifications of new messages. Only members with devices cost anything: the statement joins the members of a
//! small room, or the mentioned users of a large one, with the devices.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};
use tidings_persistence::sql::{column, scalar, statement};

use super::{MessageRules, is_notifiable};

/// A new message.
#[derive(Debug, PartialEq, Eq)]
pub struct NewMessage {
    pub room: String,
    pub seq: i64,
}

/// Rooms of one device that may have a notification waiting. Further rooms are left out until some are sent.
const MAX_ROOMS_PER_DEVICE: i64 = 100;

/// `$3` and `$4` are the messages, `$5` is the pause before a notification in seconds, and `$6` the rooms per device. The
/// rows are written in the order of their key, in which senders lock them too. The devices are locked before, in the order
/// of their ids: a deletion also locks the device first, so the two cannot deadlock, and a device that is deleted in the
/// meantime drops out and does not violate the foreign key. The rooms of a device are counted after the messages of a room
/// are one row, so that they are not counted again for each message. Each new message sets `queued_at`, so the
/// row stays until that message has had its full time to wait for an online user to leave.
const QUEUE_SQL: &str = concat!(
    "WITH new AS (SELECT m.*, r.member_count FROM unnest($3::text[], $4::bigint[]) AS v (room, seq) \
       JOIN messages m ON m.room_id = v.room AND m.seq = v.seq JOIN rooms r ON r.id = v.room), \
     reached AS (SELECT n.room_id, n.seq, mb.user_id FROM new n JOIN members mb ON mb.room_id = n.room_id \
         WHERE n.member_count <= $1 \
       UNION ALL SELECT n.room_id, n.seq, x.user_id FROM new n CROSS JOIN LATERAL unnest(n.mentions) AS x (user_id) \
         WHERE n.member_count > $1), \
     told AS (SELECT d.id, m.room_id, m.seq FROM reached c \
       JOIN push_devices d ON d.user_id = c.user_id JOIN users me ON me.id = c.user_id \
       JOIN new m ON m.room_id = c.room_id AND m.seq = c.seq JOIN rooms r ON r.id = c.room_id \
       JOIN members mb ON mb.room_id = c.room_id AND mb.user_id = c.user_id \
       WHERE ",
    is_notifiable!(),
    "), \
     grouped AS MATERIALIZED (SELECT id, room_id, min(seq) AS first_seq, max(seq) AS last_seq FROM told GROUP BY id, room_id), \
     locked AS MATERIALIZED (SELECT d.id, d.not_before FROM push_devices d WHERE d.id IN (SELECT id FROM grouped) \
       ORDER BY d.id FOR KEY SHARE OF d) \
     INSERT INTO push_pending (device_id, room_id, first_seq, seq, due_at) \
       SELECT g.id, g.room_id, g.first_seq, g.last_seq, GREATEST(now() + make_interval(secs => $5::float8), l.not_before) \
       FROM grouped g JOIN locked l ON l.id = g.id \
       WHERE (SELECT count(*) FROM push_pending p WHERE p.device_id = g.id) < $6 \
         OR EXISTS (SELECT FROM push_pending p WHERE p.device_id = g.id AND p.room_id = g.room_id) \
       ORDER BY g.id, g.room_id \
     ON CONFLICT (device_id, room_id) DO UPDATE SET seq = GREATEST(push_pending.seq, excluded.seq), \
       first_seq = LEAST(push_pending.first_seq, excluded.first_seq), queued_at = excluded.queued_at"
);

/// Queues the notifications of these messages. A waiting notification of the same device and room is extended to the later
/// message and keeps its due time. Returns the number of queued or changed notifications.
pub async fn insert(
    db: &impl ConnectionTrait,
    messages: &[NewMessage],
    rules: MessageRules,
    delay: Duration,
) -> Result<u64, DbErr> {
    if messages.is_empty() {
        return Ok(0);
    }
    let values = [
        rules.mention_above.into(),
        rules.max_age_s.into(),
        column(messages, |message| message.room.clone()),
        column(messages, |message| message.seq),
        delay.as_secs_f64().into(),
        MAX_ROOMS_PER_DEVICE.into(),
    ];
    Ok(db.execute_raw(statement(QUEUE_SQL, values)).await?.rows_affected())
}

/// The number of due notifications, counted up to `limit`.
pub async fn count_due(db: &impl ConnectionTrait, limit: i64) -> Result<i64, DbErr> {
    let sql = "SELECT count(*) FROM (SELECT FROM push_pending WHERE due_at <= now() LIMIT $1) d";
    Ok(scalar(db, statement(sql, [limit.into()])).await?.unwrap_or_default())
}
