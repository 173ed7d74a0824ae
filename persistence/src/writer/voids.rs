//! Reads the voids whose `message:void` event is not stored yet, and looks up which message already uses a client id.

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::{
    ids::{RoomId, Seq},
    internal::MessageKey,
    log::{KnownClientId, keys::Partition, record::Visibility},
};

use crate::sql::{column, room_column, seq_column, smallint, statement};

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
                room: room_column(row, "room_id")?,
                target: seq_column(row, "seq")?,
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

/// Looks up the client ids of messages. Each result, in the order of `keys`, is the stored message, or says that the
/// message was rejected after it was accepted. Client ids of other events are separate and are ignored.
pub async fn look_up_client_ids(
    db: &impl ConnectionTrait,
    keys: &[MessageKey],
) -> Result<Vec<Option<KnownClientId>>, DbErr> {
    // The LIMIT removes no rows, but makes PostgreSQL read each message by its key.
    let sql = "SELECT m.seq, m.id, (extract(epoch FROM m.at) * 1000)::bigint AS at_ms, \
                 m.seq IS NULL AND EXISTS (SELECT FROM events e WHERE e.room_id = v.room AND e.actor_id = v.sender \
                   AND e.client_id = v.client AND e.void_reason = 'rejected' \
                   AND COALESCE(e.void_type, 'message:new') = 'message:new') AS rejected \
               FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS v (room, sender, client, n) \
               LEFT JOIN LATERAL (SELECT seq, id, at FROM messages WHERE room_id = v.room AND sender_id = v.sender \
                 AND client_id = v.client LIMIT 1) m ON true ORDER BY v.n";
    let values = [
        column(keys, |key| key.room.to_string()),
        column(keys, |key| key.sender.to_string()),
        column(keys, |key| key.client_id.to_string()),
    ];
    let rows = db.query_all_raw(statement(sql, values)).await?;
    rows.iter()
        .map(|row| {
            if row.try_get_by("rejected")? {
                return Ok(Some(KnownClientId::Rejected));
            }
            let Some(id) = row.try_get_by::<Option<uuid::Uuid>, _>("id")? else { return Ok(None) };
            let (seq, id) = (seq_column(row, "seq")?, id.to_string());
            Ok(Some(KnownClientId::Stored { seq, id, at_ms: row.try_get_by("at_ms")? }))
        })
        .collect()
}
