//! Reads and deletes dead letters for operators. The writer makes a dead letter of a record that PostgreSQL refused;
//! `writer::erased_letters` deletes the dead letters of erased users.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use tidings_shared::ids::{ClientId, RoomId, Seq, UserId};

use crate::sql::{bigint, seq_column, statement};

/// A record that PostgreSQL refused, with the reason.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    pub id: i64,
    /// When the writer made the dead letter.
    pub at: DateTime<Utc>,
    /// The room of the void that replaces the record, or None if the record names no room. `seq` is the seq of that
    /// void.
    pub room: Option<String>,
    pub seq: Option<i64>,
    pub reason: String,
    /// The bytes of the record in the ingest stream.
    pub record: Bytes,
}

/// A change that an operator wants to replay. A later event of one of these `kinds` prevents the replay.
#[derive(Debug, Clone, Copy)]
pub struct ChangeToReplay<'a> {
    pub room: &'a RoomId,
    /// The seq of the original change.
    pub at: Seq,
    pub target: Seq,
    /// The event types that change the same part of the message, such as its text.
    pub kinds: &'a [&'a str],
    /// The user and the emoji of a reaction; None for other changes.
    pub reaction: Option<(&'a UserId, &'a str)>,
}

/// The highest id of a dead letter; 0 if there is none. Every later dead letter has a higher id.
pub async fn newest_id(db: &impl ConnectionTrait) -> Result<i64, DbErr> {
    let row =
        db.query_one_raw(statement("SELECT COALESCE(max(id), 0) AS last_id FROM dead_letters", [])).await?;
    row.map_or(Ok(0), |row| row.try_get_by("last_id"))
}

/// The dead letters with ids above `after` and up to `upto`, ordered by id, at most `limit`. If `room` is None, reads
/// those of all rooms.
pub async fn letters_page(
    db: &impl ConnectionTrait,
    room: Option<&RoomId>,
    after: i64,
    upto: i64,
    limit: u64,
) -> Result<Vec<DeadLetter>, DbErr> {
    let sql = "SELECT id, at, room_id, seq, reason, record FROM dead_letters \
               WHERE id > $1 AND id <= $2 AND ($3::text IS NULL OR room_id = $3) ORDER BY id LIMIT $4";
    let room = room.map(|room| room.as_str().to_owned());
    let values = [after.into(), upto.into(), room.into(), bigint(limit).into()];
    db.query_all_raw(statement(sql, values)).await?.iter().map(letter_of_row).collect()
}

/// The dead letter with this id, or None if it was replayed or dropped, or never existed.
pub async fn find_letter(db: &impl ConnectionTrait, id: i64) -> Result<Option<DeadLetter>, DbErr> {
    let sql = "SELECT id, at, room_id, seq, reason, record FROM dead_letters WHERE id = $1";
    db.query_one_raw(statement(sql, [id.into()])).await?.as_ref().map(letter_of_row).transpose()
}

fn letter_of_row(row: &QueryResult) -> Result<DeadLetter, DbErr> {
    Ok(DeadLetter {
        id: row.try_get_by("id")?,
        at: row.try_get_by("at")?,
        room: row.try_get_by("room_id")?,
        seq: row.try_get_by("seq")?,
        reason: row.try_get_by("reason")?,
        record: row.try_get_by::<Vec<u8>, _>("record")?.into(),
    })
}

/// Deletes the dead letter with this id. Returns false if it does not exist.
pub async fn delete_letter(db: &impl ConnectionTrait, id: i64) -> Result<bool, DbErr> {
    let sql = "DELETE FROM dead_letters WHERE id = $1";
    Ok(db.execute_raw(statement(sql, [id.into()])).await?.rows_affected() == 1)
}

/// Deletes all dead letters with ids up to `upto`, of one room or of all. Returns how many were deleted.
pub async fn delete_letters(
    db: &impl ConnectionTrait,
    room: Option<&RoomId>,
    upto: i64,
) -> Result<u64, DbErr> {
    let sql = "DELETE FROM dead_letters WHERE id <= $1 AND ($2::text IS NULL OR room_id = $2)";
    let room = room.map(|room| room.as_str().to_owned());
    Ok(db.execute_raw(statement(sql, [upto.into(), room.into()])).await?.rows_affected())
}

/// The dead letter of the rejected record with this client id.
pub async fn find_rejected(
    db: &impl ConnectionTrait,
    room: &RoomId,
    sender: &UserId,
    client_id: &ClientId,
) -> Result<Option<DeadLetter>, DbErr> {
    let sql = "SELECT d.id, d.at, d.room_id, d.seq, d.reason, d.record FROM events e \
                 JOIN dead_letters d ON d.room_id = e.room_id AND d.seq = e.seq \
               WHERE e.room_id = $1 AND e.actor_id = $2 AND e.client_id = $3 AND e.void_reason = 'rejected' \
               ORDER BY d.id DESC LIMIT 1";
    let values = [room.as_str().into(), sender.as_str().into(), client_id.as_str().into()];
    db.query_one_raw(statement(sql, values)).await?.as_ref().map(letter_of_row).transpose()
}

/// The first event after `change` that changed the same part of the message: its seq, client id and actor.
pub async fn superseding_change(
    db: &impl ConnectionTrait,
    change: &ChangeToReplay<'_>,
) -> Result<Option<(Seq, String, String)>, DbErr> {
    let kinds: Vec<String> = change.kinds.iter().map(ToString::to_string).collect();
    let (user, emoji) = change.reaction.map(|(user, emoji)| (user.to_string(), emoji.to_owned())).unzip();
    let sql = "SELECT e.seq, COALESCE(e.client_id, '') AS client_id, COALESCE(e.actor_id, '') AS actor_id \
               FROM events e \
               WHERE e.room_id = $1 AND e.seq > $2 AND e.target = $3 AND e.type = ANY ($4) \
                 AND ($5::text IS NULL OR (e.actor_id = $5 AND e.body->>'emoji' = $6)) ORDER BY e.seq LIMIT 1";
    let values = [
        change.room.as_str().into(),
        bigint(change.at.0).into(),
        bigint(change.target.0).into(),
        kinds.into(),
        user.into(),
        emoji.into(),
    ];
    let row = db.query_one_raw(statement(sql, values)).await?;
    row.map(|row| Ok((seq_column(&row, "seq")?, row.try_get_by("client_id")?, row.try_get_by("actor_id")?)))
        .transpose()
}
