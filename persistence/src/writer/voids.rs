//! Reads voids that are not announced to their rooms yet, and looks up client ids.

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::{
    ids::{ClientId, RoomId, Seq, UserId},
    log::{KnownClientId, keys::Partition, record::Visibility},
};

use crate::sql::{room, seq, smallint, statement};

/// A void whose `message:void` event is not stored yet.
#[derive(Debug)]
pub struct UnannouncedVoid {
    pub room: RoomId,
    pub target: Seq,
    pub by: Option<String>,
    pub client_id: Option<String>,
    /// Why the record became a void: `duplicate` or `rejected`.
    pub reason: String,
    /// For a duplicate: the seq of the first message with this client id.
    pub duplicate_of: Option<Seq>,
    /// The seq of the message that the voided record would have changed.
    pub message: Option<Seq>,
    /// Who could see the voided record, in addition to `by`, its sender.
    pub visibility: Visibility,
}

/// Up to `limit` voids of these partitions that are not announced yet.
pub async fn unannounced_voids(
    db: &impl ConnectionTrait,
    partitions: &[Partition],
    limit: u64,
) -> Result<Vec<UnannouncedVoid>, DbErr> {
    let numbers: Vec<i16> = partitions.iter().map(|partition| smallint(*partition)).collect();
    let limit = crate::sql::bigint(limit);
    let sql = "SELECT e.room_id, e.seq, e.actor_id, e.client_id, COALESCE(e.void_reason, 'rejected') AS reason, \
                 e.void_of, e.visible_users, e.visible_roles, e.target \
               FROM events e JOIN rooms r ON r.id = e.room_id \
               WHERE e.void_told = false AND r.partition = ANY ($1) ORDER BY e.room_id, e.seq LIMIT $2";
    let rows = db.query_all_raw(statement(sql, [numbers.into(), limit.into()])).await?;
    rows.iter()
        .map(|row| {
            let of: Option<i64> = row.try_get_by("void_of")?;
            let message: Option<i64> = row.try_get_by("target")?;
            let users: Option<Vec<String>> = row.try_get_by("visible_users")?;
            let roles: Option<Vec<String>> = row.try_get_by("visible_roles")?;
            Ok(UnannouncedVoid {
                room: room(row, "room_id")?,
                target: seq(row, "seq")?,
                by: row.try_get_by("actor_id")?,
                client_id: row.try_get_by("client_id")?,
                reason: row.try_get_by("reason")?,
                duplicate_of: of.and_then(|of| u64::try_from(of).ok()).map(Seq),
                message: message.and_then(|message| u64::try_from(message).ok()).map(Seq),
                visibility: Visibility { users: users.unwrap_or_default(), roles: roles.unwrap_or_default() },
            })
        })
        .collect()
}

/// Looks up the client id of a message: finds the stored message, or that the message was accepted and later rejected.
/// Client ids of other events are separate and are ignored.
pub async fn look_up(
    db: &impl ConnectionTrait,
    room: &RoomId,
    sender: &UserId,
    client_id: &ClientId,
) -> Result<Option<KnownClientId>, DbErr> {
    let key = || [room.as_str().into(), sender.as_str().into(), client_id.as_str().into()];
    let sql = "SELECT seq, id, (extract(epoch FROM at) * 1000)::bigint AS at_ms FROM messages \
               WHERE room_id = $1 AND sender_id = $2 AND client_id = $3";
    let message = db.query_one_raw(statement(sql, key())).await?;
    if let Some(row) = message {
        let id: uuid::Uuid = row.try_get_by("id")?;
        return Ok(Some(KnownClientId::Stored {
            seq: seq(&row, "seq")?,
            id: id.to_string(),
            at_ms: row.try_get_by("at_ms")?,
        }));
    }
    let sql = "SELECT seq FROM events WHERE room_id = $1 AND actor_id = $2 AND client_id = $3 \
               AND void_reason = 'rejected' AND COALESCE(void_type, 'message:new') = 'message:new' LIMIT 1";
    let rejected = db.query_one_raw(statement(sql, key())).await?;
    Ok(rejected.map(|_| KnownClientId::Rejected))
}
