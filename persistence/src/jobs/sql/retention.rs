//! Removes the contents of messages older than a bound: moves them to the archive or drops them, in small transactions.
//! Seqs, ids and client ids stay, so that a late retry of a send is still recognised as a duplicate. Archived messages
//! keep their earlier versions. A transaction locks only the messages that it changes.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait};
use tidings_shared::ids::{RoomId, Seq};

use crate::sql::{bigint, room_column, statement};
use crate::writer::search;

/// Maximum number of rooms that one statement examines.
const MAX_ROOMS_PER_STATEMENT: i64 = 500;

/// Whether old contents are moved to the table `messages_archive` or dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionAction {
    Archive,
    Drop,
}

/// The result of one transaction that removed contents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionBatch {
    /// Number of messages whose contents were removed.
    pub messages: usize,
    /// The contents of all messages up to this seq are removed.
    pub upto: Seq,
    /// The seq of the last edit event that became a void because its message lost its contents.
    pub last_edit: Option<Seq>,
    /// The room may have more contents that are older than the bound.
    pub may_have_more: bool,
}

/// The next rooms with contents older than `bound`, ordered by id, after the room id `after`. Also returns the id after
/// which the next call continues. Returns None if no room is left. `only` limits the search to one room.
pub async fn rooms_due(
    db: &impl ConnectionTrait,
    bound: DateTime<Utc>,
    only: Option<&RoomId>,
    after: &str,
) -> Result<Option<(String, Vec<RoomId>)>, DbErr> {
    let sql = "SELECT r.id, COALESCE(m.at < $1, false) AS expired FROM (SELECT id FROM rooms \
                 WHERE id > $2 AND ($3::text IS NULL OR id = $3) ORDER BY id LIMIT $4) r \
               LEFT JOIN retention_progress p ON p.room_id = r.id \
               LEFT JOIN LATERAL (SELECT m.at FROM messages m \
                 WHERE m.room_id = r.id AND m.seq > COALESCE(p.upto_seq, 0) ORDER BY m.seq LIMIT 1) m ON true \
               ORDER BY r.id";
    let values =
        [bound.into(), after.into(), only.map(RoomId::as_str).into(), MAX_ROOMS_PER_STATEMENT.into()];
    let rows = db.query_all_raw(statement(sql, values)).await?;
    let Some(last) = rows.last() else { return Ok(None) };
    let mut due = Vec::new();
    for row in &rows {
        if row.try_get_by("expired")? {
            due.push(room_column(row, "id")?);
        }
    }
    Ok(Some((last.try_get_by("id")?, due)))
}

/// Removes the contents of the next `limit` messages of a room that are older than `bound`, in one transaction.
pub async fn remove_contents(
    db: &DatabaseConnection,
    room: &RoomId,
    bound: DateTime<Utc>,
    action: RetentionAction,
    limit: i64,
) -> Result<RetentionBatch, DbErr> {
    let transaction = db.begin().await?;
    search::lock_room(&transaction, room.as_str()).await?;
    let Some((since, upto, messages)) = lock_expired_range(&transaction, room, bound, limit).await? else {
        transaction.rollback().await?;
        return Ok(RetentionBatch::default());
    };
    let values = || [room.as_str().into(), since.into(), upto.into()];
    if action == RetentionAction::Archive {
        transaction.execute_raw(statement(ARCHIVE_SQL, values())).await?;
    }
    let last_edit: Option<i64> = match transaction.query_one_raw(statement(VOID_EDITS_SQL, values())).await? {
        Some(row) => row.try_get_by("last_edit")?,
        None => None,
    };
    for sql in EMPTY_MESSAGES_STATEMENTS {
        transaction.execute_raw(statement(sql, values())).await?;
    }
    search::unindex_up_to(&transaction, room.as_str(), upto).await?;
    let sql = "INSERT INTO retention_progress (room_id, upto_seq) VALUES ($1, $2) \
               ON CONFLICT (room_id) DO UPDATE SET upto_seq = GREATEST(retention_progress.upto_seq, EXCLUDED.upto_seq)";
    transaction.execute_raw(statement(sql, [room.as_str().into(), upto.into()])).await?;
    transaction.commit().await?;
    let seq = |seq: i64| Seq(u64::try_from(seq).unwrap_or_default());
    let may_have_more = messages as i64 == limit;
    Ok(RetentionBatch { messages, upto: seq(upto), last_edit: last_edit.map(seq), may_have_more })
}

/// Locks the next messages that are older than the bound, up to the first newer message. Returns the seq before the
/// first of them, the seq of the last, and their number, or None if there are none.
async fn lock_expired_range(
    transaction: &DatabaseTransaction,
    room: &RoomId,
    bound: DateTime<Utc>,
    limit: i64,
) -> Result<Option<(i64, i64, usize)>, DbErr> {
    let sql = "SELECT COALESCE((SELECT upto_seq FROM retention_progress WHERE room_id = $1), 0) AS upto_seq, m.seq, \
                 m.at < $2 AS expired \
               FROM messages m WHERE m.room_id = $1 \
                 AND m.seq > COALESCE((SELECT upto_seq FROM retention_progress WHERE room_id = $1), 0) \
               ORDER BY m.seq LIMIT $3 FOR NO KEY UPDATE OF m";
    let values = [room.as_str().into(), bound.into(), limit.into()];
    let rows = transaction.query_all_raw(statement(sql, values)).await?;
    let mut range = None;
    for (row, passed) in rows.iter().zip(1..) {
        if !row.try_get_by("expired")? {
            break;
        }
        range = Some((row.try_get_by("upto_seq")?, row.try_get_by("seq")?, passed));
    }
    Ok(range)
}

/// Copies messages to the archive. A deleted message is copied only if it has earlier versions.
const ARCHIVE_SQL: &str = "\
    INSERT INTO messages_archive (room_id, seq, sender_id, content, attachments, metadata, mentions, at, edited_at, versions) \
    SELECT m.room_id, m.seq, m.sender_id, m.content, m.attachments, m.metadata, m.mentions, m.at, m.edited_at, v.versions \
    FROM messages m LEFT JOIN LATERAL (SELECT json_agg(json_build_object('version', v.version, 'content', v.content, \
        'metadata', v.metadata, 'at', v.at, 'by', v.by) ORDER BY v.version) AS versions \
      FROM message_versions v WHERE v.room_id = m.room_id AND v.seq = m.seq) v ON true \
    WHERE m.room_id = $1 AND m.seq > $2 AND m.seq <= $3 AND (NOT m.deleted OR v.versions IS NOT NULL) \
    ON CONFLICT (room_id, seq) DO NOTHING";

/// Turns the edit events of the messages into voids, because these events contain texts too.
const VOID_EDITS_SQL: &str = "\
    WITH edits AS (UPDATE events e SET type = 'void', void_type = e.type, body = '{}' \
      WHERE e.room_id = $1 AND e.type = 'message:edited' AND e.target > $2 AND e.target <= $3 RETURNING e.seq) \
    SELECT max(seq) AS last_edit FROM edits";

const EMPTY_MESSAGES_STATEMENTS: [&str; 3] = [
    "DELETE FROM message_versions WHERE room_id = $1 AND seq > $2 AND seq <= $3",
    "DELETE FROM reactions WHERE room_id = $1 AND seq > $2 AND seq <= $3",
    "UPDATE messages SET deleted = true, content = '', attachments = NULL, metadata = NULL, mentions = NULL \
     WHERE room_id = $1 AND seq > $2 AND seq <= $3 \
       AND NOT (deleted AND content = '' AND attachments IS NULL AND metadata IS NULL AND mentions IS NULL)",
];

/// Deletes up to `limit` contents older than the bound from the archive. Returns how many were deleted.
pub async fn drop_archived(
    db: &impl ConnectionTrait,
    bound: DateTime<Utc>,
    only: Option<&RoomId>,
    limit: usize,
) -> Result<u64, DbErr> {
    let sql = "DELETE FROM messages_archive a USING (SELECT room_id, seq FROM messages_archive \
                 WHERE at < $1 AND ($2::text IS NULL OR room_id = $2) ORDER BY at LIMIT $3) old \
               WHERE a.room_id = old.room_id AND a.seq = old.seq";
    let values = [bound.into(), only.map(RoomId::as_str).into(), bigint(limit as u64).into()];
    let dropped = db.execute_raw(statement(sql, values)).await?;
    Ok(dropped.rows_affected())
}
