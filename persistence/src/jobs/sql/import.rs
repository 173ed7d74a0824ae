//! What an import reads and writes besides the log: stored messages and changes, erased users, the ends of rooms, names
//! and read marks. Nothing here moves the head of a room: only the log does.

use std::collections::{BTreeMap, HashMap, HashSet};

use sea_orm::{ConnectionTrait, DbErr, Value};
use tidings_shared::ids::{ClientId, RoomId, Seq, UserId};

use crate::sql::{bigint, column, room_column, seq_column, statement, timestamp_from_ms};

/// Room, sender and client id of a message.
pub type ClientIdKey<'a> = (&'a RoomId, &'a UserId, &'a str);

/// The end of a room's stored log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomEnd {
    pub head: Seq,
    /// The time of the last message, ms since 1970.
    pub last_at_ms: Option<i64>,
}

/// The ends of the rooms with these ids. A room that does not exist is missing.
pub async fn room_ends<'a>(
    db: &impl ConnectionTrait,
    rooms: impl IntoIterator<Item = &'a RoomId>,
) -> Result<HashMap<RoomId, RoomEnd>, DbErr> {
    let rooms: HashSet<&str> = rooms.into_iter().map(RoomId::as_str).collect();
    let rooms: Vec<String> = rooms.into_iter().map(str::to_owned).collect();
    let sql = "SELECT r.id, r.head_seq, (extract(epoch FROM m.at) * 1000)::bigint AS last_at_ms FROM rooms r \
               LEFT JOIN LATERAL (SELECT m.at FROM messages m WHERE m.room_id = r.id ORDER BY m.seq DESC LIMIT 1) m ON true \
               WHERE r.id = ANY ($1)";
    let rows = db.query_all_raw(statement(sql, [rooms.into()])).await?;
    let mut ends = HashMap::with_capacity(rows.len());
    for row in &rows {
        let end = RoomEnd { head: seq_column(row, "head_seq")?, last_at_ms: row.try_get_by("last_at_ms")? };
        ends.insert(room_column(row, "id")?, end);
    }
    Ok(ends)
}

/// Dates a room without messages back to the time of its first message, because the list of rooms is ordered by
/// activity. Changes nothing if the head is not `head` any more.
pub async fn begin_history(
    db: &impl ConnectionTrait,
    room: &RoomId,
    head: Seq,
    at_ms: i64,
) -> Result<(), DbErr> {
    let sql = "UPDATE rooms SET created_at = LEAST(created_at, $3), updated_at = LEAST(updated_at, $3) \
               WHERE id = $1 AND head_seq = $2 AND NOT EXISTS (SELECT FROM messages WHERE room_id = $1)";
    let values = [room.as_str().into(), bigint(head.0).into(), timestamp_from_ms(at_ms).into()];
    db.execute_raw(statement(sql, values)).await.map(drop)
}

/// The seqs of the messages with these keys, in the order of the keys; None for a message that is not stored.
pub async fn stored_seqs(
    db: &impl ConnectionTrait,
    messages: &[ClientIdKey<'_>],
) -> Result<Vec<Option<Seq>>, DbErr> {
    let sql = "SELECT m.seq FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS v (room, sender, client, place) \
               LEFT JOIN LATERAL (SELECT m.seq FROM messages m \
                 WHERE m.room_id = v.room AND m.sender_id = v.sender AND m.client_id = v.client LIMIT 1) m ON true \
               ORDER BY v.place";
    let values = [
        column(messages, |(room, ..)| room.to_string()),
        column(messages, |(_, sender, _)| sender.to_string()),
        column(messages, |(.., client_id)| (*client_id).to_owned()),
    ];
    let rows = db.query_all_raw(statement(sql, values)).await?;
    let seq = |seq: i64| Seq(u64::try_from(seq).unwrap_or_default());
    rows.iter().map(|row| Ok(row.try_get_by::<Option<i64>, _>("seq")?.map(seq))).collect()
}

/// A change of a message: its author, the seq of the message, and the client id of the change.
pub type ChangeKey<'a> = (&'a UserId, Seq, &'a ClientId);

/// Which of these edits and reactions are stored as events of the room, in the order of the keys. Also true for a change
/// that was rejected. Deletions are not found: the message itself says that it is deleted.
pub async fn stored_changes(
    db: &impl ConnectionTrait,
    room: &RoomId,
    changes: &[ChangeKey<'_>],
) -> Result<Vec<bool>, DbErr> {
    let sql = "SELECT EXISTS (SELECT FROM events e WHERE e.actor_id = v.author AND e.room_id = $1 AND e.seq > v.target \
                   AND e.type IN ('message:edited', 'reaction:added', 'reaction:removed') AND e.client_id = v.client) \
                 OR EXISTS (SELECT FROM events e WHERE e.room_id = $1 AND e.actor_id = v.author AND e.client_id = v.client \
                   AND e.void_reason = 'rejected') AS is_stored \
               FROM unnest($2::text[], $3::bigint[], $4::text[]) WITH ORDINALITY AS v (author, target, client, place) \
               ORDER BY v.place";
    let values = [
        room.as_str().into(),
        column(changes, |(author, ..)| author.to_string()),
        column(changes, |(_, target, _)| bigint(target.0)),
        column(changes, |(.., client_id)| client_id.to_string()),
    ];
    let rows = db.query_all_raw(statement(sql, values)).await?;
    rows.iter().map(|row| row.try_get_by("is_stored")).collect()
}

/// The ids of those given users who are erased, or whose erasure has begun.
pub async fn erased_users<'a>(
    db: &impl ConnectionTrait,
    users: impl IntoIterator<Item = &'a UserId>,
) -> Result<HashSet<String>, DbErr> {
    let users: HashSet<&str> = users.into_iter().map(UserId::as_str).collect();
    let users: Vec<String> = users.into_iter().map(str::to_owned).collect();
    let sql = "SELECT id FROM users WHERE id = ANY ($1) AND erasing_at IS NOT NULL";
    let rows = db.query_all_raw(statement(sql, [users.into()])).await?;
    rows.iter().map(|row| row.try_get_by("id")).collect()
}

/// Gives names to known users who have none. Erased users get no name.
pub async fn name_users(db: &impl ConnectionTrait, names: &BTreeMap<&UserId, &str>) -> Result<(), DbErr> {
    if names.is_empty() {
        return Ok(());
    }
    let names: Vec<(&&UserId, &&str)> = names.iter().collect();
    // The rows are locked in the order of their ids, so that concurrent statements cannot deadlock.
    let sql = "UPDATE users u SET name = v.name, updated_at = CURRENT_TIMESTAMP \
               FROM (SELECT k.id, w.name FROM unnest($1::text[], $2::text[]) AS w (id, name) \
                 JOIN users k ON k.id = w.id AND k.name IS NULL AND k.erasing_at IS NULL \
                 ORDER BY k.id FOR NO KEY UPDATE OF k) v \
               WHERE u.id = v.id";
    let values =
        [column(&names, |(user, _)| user.to_string()), column(&names, |(_, name)| (**name).to_owned())];
    db.execute_raw(statement(sql, values)).await.map(drop)
}

/// The result of moving a read mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkOutcome {
    Moved,
    /// The mark was already there or above.
    NotMoved,
    NoMember,
}

/// Moves the read mark of a member forward to the last message up to the time `upto_ms`. A mark without a time is the
/// member's join, and may also move back. Keeps the invariant that no mark is above the stored head. The search halves the range of seqs at each step, because no index has the times.
const MOVE_READ_MARK_SQL: &str = "\
    WITH RECURSIVE search (low, high) AS (\
      SELECT 0::bigint, r.head_seq FROM rooms r WHERE r.id = $1 \
      UNION ALL \
      SELECT CASE WHEN COALESCE(m.at <= $3, true) THEN (s.low + s.high + 1) / 2 ELSE s.low END, \
        CASE WHEN COALESCE(m.at <= $3, true) THEN s.high ELSE (s.low + s.high + 1) / 2 - 1 END \
      FROM search s LEFT JOIN LATERAL (SELECT w.at FROM messages w \
        WHERE w.room_id = $1 AND w.seq <= (s.low + s.high + 1) / 2 ORDER BY w.seq DESC LIMIT 1) m ON true \
      WHERE s.low < s.high), \
    found AS (SELECT low FROM search WHERE low = high) \
    UPDATE members b SET read_seq = f.low, read_at = $4 FROM found f \
    WHERE b.room_id = $1 AND b.user_id = $2 \
      AND (b.read_seq < f.low OR (b.read_seq > f.low AND b.read_at IS NULL))";

/// See [`MOVE_READ_MARK_SQL`]. `at_ms` is when the user read the messages.
pub async fn move_read_mark(
    db: &impl ConnectionTrait,
    room: &RoomId,
    user: &UserId,
    upto_ms: i64,
    at_ms: i64,
) -> Result<MarkOutcome, DbErr> {
    let key = || -> [Value; 2] { [room.as_str().into(), user.as_str().into()] };
    let [in_room, of_user] = key();
    let values = [in_room, of_user, timestamp_from_ms(upto_ms).into(), timestamp_from_ms(at_ms).into()];
    if db.execute_raw(statement(MOVE_READ_MARK_SQL, values)).await?.rows_affected() > 0 {
        return Ok(MarkOutcome::Moved);
    }
    let sql = "SELECT FROM members WHERE room_id = $1 AND user_id = $2";
    let member = db.query_one_raw(statement(sql, key())).await?;
    Ok(if member.is_some() { MarkOutcome::NotMoved } else { MarkOutcome::NoMember })
}
