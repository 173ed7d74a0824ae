//! Erases a user in the tables: removes their texts, name and picture, but keeps seqs, ids and client ids, so that no
//! event gets another seq. Every step may be repeated, and a repetition changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait};
use tidings_persistence::sql::{bigint, room as room_of, statement, user as user_of};
use tidings_persistence::writer::search;
use tidings_shared::ids::{RoomId, UserId};

/// Number of rows that one transaction changes at most.
const ROWS_PER_TRANSACTION: i64 = 1000;

/// Takes the lease of an erasure, or renews it if the caller already holds it. Returns false if the erasure is
/// finished, or if the lease was to be taken and another replica has it.
pub async fn take_or_renew_lease(
    db: &impl ConnectionTrait,
    user: &UserId,
    holds: bool,
    lease: Duration,
) -> Result<bool, DbErr> {
    let sql = "UPDATE users SET erasure_lease = clock_timestamp() + $2 * interval '1 millisecond' \
               WHERE id = $1 AND erasing_at IS NOT NULL AND erased_at IS NULL \
                 AND ($3 OR erasure_lease IS NULL OR erasure_lease < clock_timestamp())";
    let values = [user.as_str().into(), bigint(lease.as_millis() as u64).into(), holds.into()];
    let taken = db.execute_raw(statement(sql, values)).await?;
    Ok(taken.rows_affected() == 1)
}

/// Makes a failed erasure due again after `pause`. If this statement fails, the erasure is due when its lease expires.
pub async fn postpone(db: &impl ConnectionTrait, user: &UserId, pause: Duration) -> Result<(), DbErr> {
    let sql = "UPDATE users SET erasure_lease = clock_timestamp() + $2 * interval '1 millisecond' \
               WHERE id = $1 AND erased_at IS NULL";
    let values = [user.as_str().into(), bigint(pause.as_millis() as u64).into()];
    db.execute_raw(statement(sql, values)).await.map(drop)
}

/// Users whose erasure is not finished and has no valid lease. The users who have waited longest come first, so that
/// erasures that fail repeatedly do not starve others.
pub async fn due_erasures(db: &impl ConnectionTrait, limit: usize) -> Result<Vec<UserId>, DbErr> {
    let sql = "SELECT id FROM users WHERE erasing_at IS NOT NULL AND erased_at IS NULL \
                 AND (erasure_lease IS NULL OR erasure_lease < clock_timestamp()) \
               ORDER BY erasure_lease NULLS FIRST, id LIMIT $1";
    let rows = db.query_all_raw(statement(sql, [bigint(limit as u64).into()])).await?;
    rows.iter().map(|row| user_of(row, "id")).collect()
}

/// Marks the erasure as finished, unless the user is a member of a room. Returns whether it is marked.
pub async fn finish(db: &DatabaseConnection, user: &UserId) -> Result<bool, DbErr> {
    let transaction = db.begin().await?;
    // A new membership refers to this row, so its transaction and this lock wait for each other. The next statement
    // sees every membership that was being written, and a later membership sees the finished erasure.
    let lock = "SELECT FROM users WHERE id = $1 FOR UPDATE";
    transaction.execute_raw(statement(lock, [user.as_str().into()])).await?;
    let sql = "UPDATE users SET erased_at = now(), erasure_lease = NULL WHERE id = $1 AND erasing_at IS NOT NULL \
               AND NOT EXISTS (SELECT FROM members m WHERE m.user_id = $1)";
    let finished = transaction.execute_raw(statement(sql, [user.as_str().into()])).await?;
    transaction.commit().await?;
    Ok(finished.rows_affected() == 1)
}

/// Turns up to `ROWS_PER_TRANSACTION` messages of the user in a room into tombstones, ordered by client id, from the
/// first above `after`. Returns the last client id; None if no message is left.
pub async fn erase_messages(
    db: &DatabaseConnection,
    user: &UserId,
    room: &str,
    after: &str,
) -> Result<Option<String>, DbErr> {
    let transaction = db.begin().await?;
    search::lock_room(&transaction, room).await?;
    let sql = "SELECT m.seq, m.client_id FROM messages m WHERE m.room_id = $1 AND m.sender_id = $2 AND m.client_id > $3 \
               ORDER BY m.client_id LIMIT $4";
    let values = [room.into(), user.as_str().into(), after.into(), ROWS_PER_TRANSACTION.into()];
    let rows = transaction.query_all_raw(statement(sql, values)).await?;
    let (mut seqs, mut last) = (Vec::with_capacity(rows.len()), None);
    for row in &rows {
        seqs.push(row.try_get_by::<i64, _>("seq")?);
        last = Some(row.try_get_by("client_id")?);
    }
    if !seqs.is_empty() {
        for sql in TOMBSTONES {
            transaction.execute_raw(statement(sql, [room.into(), seqs.clone().into()])).await?;
        }
        search::refresh(&transaction, room, &seqs).await?;
    }
    transaction.commit().await?;
    Ok(last)
}

/// The statements that make tombstones. The first one locks the messages in the same order as the writer, so that this
/// transaction and a batch cannot deadlock.
const TOMBSTONES: [&str; 5] = [
    "WITH locked AS MATERIALIZED (SELECT m.seq FROM messages m WHERE m.room_id = $1 AND m.seq = ANY ($2) \
       ORDER BY m.seq FOR NO KEY UPDATE) \
     UPDATE messages m SET deleted = true, content = '', attachments = NULL, metadata = NULL FROM locked \
     WHERE m.room_id = $1 AND m.seq = locked.seq \
       AND NOT (m.deleted AND m.content = '' AND m.attachments IS NULL AND m.metadata IS NULL)",
    "DELETE FROM message_versions WHERE room_id = $1 AND seq = ANY ($2)",
    "DELETE FROM messages_archive WHERE room_id = $1 AND seq = ANY ($2)",
    "DELETE FROM reactions WHERE room_id = $1 AND seq = ANY ($2)",
    "UPDATE events SET type = 'void', void_type = type, body = '{}' \
     WHERE room_id = $1 AND type = 'message:edited' AND target = ANY ($2)",
];

/// Edits and reactions of a user. For each room: the seqs of these events, and the seqs of the edited messages.
#[derive(Debug, Default)]
pub struct Changes(BTreeMap<RoomId, (Vec<i64>, Vec<i64>)>);

/// The first `ROWS_PER_TRANSACTION` events by which the user edited or reacted; empty when none is left.
pub async fn changes(db: &impl ConnectionTrait, user: &UserId) -> Result<Changes, DbErr> {
    let sql = "SELECT e.room_id, e.seq, CASE WHEN e.type = 'message:edited' THEN e.target END AS edited FROM events e \
               WHERE e.actor_id = $1 AND e.type IN ('message:edited', 'reaction:added', 'reaction:removed') \
               ORDER BY e.room_id, e.seq LIMIT $2";
    let values = [user.as_str().into(), ROWS_PER_TRANSACTION.into()];
    let rows = db.query_all_raw(statement(sql, values)).await?;
    let mut changes = Changes::default();
    for row in &rows {
        let (seqs, edited) = changes.0.entry(room_of(row, "room_id")?).or_default();
        seqs.push(row.try_get_by("seq")?);
        edited.extend(row.try_get_by::<Option<i64>, _>("edited")?);
    }
    Ok(changes)
}

impl Changes {
    /// The rooms in which the user edited or reacted.
    #[must_use]
    pub fn rooms(&self) -> Vec<RoomId> {
        self.0.keys().cloned().collect()
    }

    /// Turns the events into voids, and restores the earlier text of others' messages that the user edited, room by
    /// room.
    pub async fn undo(self, db: &DatabaseConnection) -> Result<(), DbErr> {
        for (room, (seqs, mut edited)) in self.0 {
            edited.sort_unstable();
            edited.dedup();
            let transaction = db.begin().await?;
            search::lock_room(&transaction, room.as_str()).await?;
            restore_texts(&transaction, &room, &seqs, &edited).await?;
            transaction.commit().await?;
        }
        Ok(())
    }
}

async fn restore_texts(
    transaction: &DatabaseTransaction,
    room: &RoomId,
    seqs: &[i64],
    edited: &[i64],
) -> Result<(), DbErr> {
    let values = |seqs: &[i64]| [room.as_str().into(), seqs.to_vec().into()];
    if !edited.is_empty() {
        let lock = "SELECT FROM messages m WHERE m.room_id = $1 AND m.seq = ANY ($2) ORDER BY m.seq FOR NO KEY UPDATE";
        transaction.execute_raw(statement(lock, values(edited))).await?;
        let versions =
            "DELETE FROM message_versions WHERE room_id = $1 AND version = ANY ($2) AND version <> seq";
        transaction.execute_raw(statement(versions, values(seqs))).await?;
        transaction.execute_raw(statement(RESTORE_LATEST, values(edited))).await?;
        search::refresh(transaction, room.as_str(), edited).await?;
    }
    let void = "UPDATE events SET type = 'void', void_type = type, body = '{}' WHERE room_id = $1 AND seq = ANY ($2)";
    transaction.execute_raw(statement(void, values(seqs))).await.map(drop)
}

/// Restores the text of messages from the last of their versions, unless they are deleted.
const RESTORE_LATEST: &str = "\
    UPDATE messages m SET content = v.content, metadata = v.metadata, \
      edited_at = CASE WHEN v.version > m.seq THEN v.at END \
    FROM unnest($2::bigint[]) AS e (seq) CROSS JOIN LATERAL (SELECT v.version, v.content, v.at, \
        (SELECT d.metadata FROM message_versions d WHERE d.room_id = $1 AND d.seq = e.seq \
           AND d.metadata IS NOT NULL ORDER BY d.version DESC LIMIT 1) AS metadata \
      FROM message_versions v WHERE v.room_id = $1 AND v.seq = e.seq ORDER BY v.version DESC LIMIT 1) v \
    WHERE m.room_id = $1 AND m.seq = e.seq AND NOT m.deleted";

/// The rooms of the first `ROWS_PER_TRANSACTION` reactions of the user; empty when no reaction is left.
pub async fn rooms_with_reactions(db: &impl ConnectionTrait, user: &UserId) -> Result<Vec<RoomId>, DbErr> {
    let sql = "SELECT DISTINCT x.room_id FROM (SELECT room_id FROM reactions \
                 WHERE user_id = $1 ORDER BY room_id, seq, emoji LIMIT $2) x";
    let rows = db.query_all_raw(statement(sql, [user.as_str().into(), ROWS_PER_TRANSACTION.into()])).await?;
    rows.iter().map(|row| room_of(row, "room_id")).collect()
}

/// Deletes the first `ROWS_PER_TRANSACTION` reactions of the user: those whose rooms `rooms_with_reactions` returns.
pub async fn delete_reactions(db: &impl ConnectionTrait, user: &UserId) -> Result<(), DbErr> {
    let sql = "DELETE FROM reactions r USING (SELECT room_id, seq, emoji FROM reactions \
                 WHERE user_id = $1 ORDER BY room_id, seq, emoji LIMIT $2) g \
               WHERE r.room_id = g.room_id AND r.seq = g.seq AND r.emoji = g.emoji AND r.user_id = $1";
    db.execute_raw(statement(sql, [user.as_str().into(), ROWS_PER_TRANSACTION.into()])).await.map(drop)
}

/// Deletes the row of `presence`, which holds when the user was last seen.
pub async fn delete_last_seen(db: &impl ConnectionTrait, user: &UserId) -> Result<(), DbErr> {
    let sql = "DELETE FROM presence WHERE user_id = $1";
    db.execute_raw(statement(sql, [user.as_str().into()])).await.map(drop)
}

/// One room of each partition that has a room.
pub async fn one_room_of_each_partition(db: &impl ConnectionTrait) -> Result<Vec<RoomId>, DbErr> {
    let sql = "SELECT r.id FROM partitions p CROSS JOIN LATERAL \
                 (SELECT id FROM rooms WHERE partition = p.partition LIMIT 1) r";
    let rows = db.query_all_raw(statement(sql, [])).await?;
    rows.iter().map(|row| room_of(row, "id")).collect()
}
