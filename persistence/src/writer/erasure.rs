//! Erases a user in the tables: begins the erasure, then removes the user's texts, but keeps seqs, ids and client ids,
//! so that no event gets another seq. Every step may be repeated, and a repetition changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait};
use tidings_shared::ids::{RoomId, UserId};

use super::{audit, search};
use crate::sql::{bigint, column, room_column, statement, user_column};

/// Maximum number of rooms that one statement finds.
const MAX_ROOMS_PER_STATEMENT: i64 = 500;
/// Maximum number of messages or events that one transaction changes.
const MAX_ROWS_PER_TRANSACTION: i64 = 1000;

/// The state of a user's erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErasureStatus {
    UnknownUser,
    /// The user exists, blocked or not, and no erasure was requested.
    Present,
    UnderWay,
    Erased,
}

/// Reads the state of a user's erasure.
pub async fn erasure_status(db: &impl ConnectionTrait, user: &UserId) -> Result<ErasureStatus, DbErr> {
    let sql =
        "SELECT erasing_at IS NOT NULL AS erasing, erased_at IS NOT NULL AS erased FROM users WHERE id = $1";
    let row = db.query_one_raw(statement(sql, [user.as_str().into()])).await?;
    let Some(row) = row else { return Ok(ErasureStatus::UnknownUser) };
    Ok(match (row.try_get_by("erasing")?, row.try_get_by("erased")?) {
        (_, true) => ErasureStatus::Erased,
        (true, false) => ErasureStatus::UnderWay,
        (false, false) => ErasureStatus::Present,
    })
}

/// Removes the name and picture of a user, blocks the user, and records that the erasure has begun. The first call for
/// a user adds an entry to the audit log; later calls add none. `actor` is None if an operator runs a job.
pub async fn begin_erasure(
    db: &impl ConnectionTrait,
    user: &UserId,
    actor: Option<&UserId>,
) -> Result<(), DbErr> {
    // Of simultaneous calls, the later ones wait for the row, read it again and change nothing.
    let sql = "WITH begun AS (UPDATE users SET blocked = true, name = NULL, picture = NULL, updated_at = now(), \
                 erasing_at = now() WHERE id = $1 AND erasing_at IS NULL RETURNING id) \
               INSERT INTO audit_log (actor, action, target) SELECT $2::text, $3::text, b.id FROM begun b";
    let values = [user.as_str().into(), actor.map(UserId::as_str).into(), audit::USER_ERASE.into()];
    db.execute_raw(statement(sql, values)).await.map(drop)
}

/// Takes the lease of an erasure, or renews it if the caller holds the lease (`holds`). Returns false if the erasure is
/// finished, or if `holds` is false and another replica has the lease.
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

/// Some rooms of the user.
pub async fn some_rooms(db: &impl ConnectionTrait, user: &UserId) -> Result<Vec<RoomId>, DbErr> {
    let sql = "SELECT room_id FROM members WHERE user_id = $1 ORDER BY room_id LIMIT $2";
    let values = [user.as_str().into(), MAX_ROOMS_PER_STATEMENT.into()];
    let rows = db.query_all_raw(statement(sql, values)).await?;
    rows.iter().map(|row| room_column(row, "room_id")).collect()
}

/// Makes a failed erasure due again after `pause`. If this statement fails, the erasure is due when its lease expires.
pub async fn postpone_erasure(
    db: &impl ConnectionTrait,
    user: &UserId,
    pause: Duration,
) -> Result<(), DbErr> {
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
    rows.iter().map(|row| user_column(row, "id")).collect()
}

/// Marks the erasure as finished, unless the user is a member of a room. Returns whether it is marked.
pub async fn finish_erasure(db: &DatabaseConnection, user: &UserId) -> Result<bool, DbErr> {
    let transaction = db.begin().await?;
    // Before the lock of the user: a creation of a room counts first, and then locks the users.
    let sql = "DELETE FROM daily_usage WHERE user_id = $1";
    transaction.execute_raw(statement(sql, [user.as_str().into()])).await?;
    // A new membership refers to this row, so its transaction and this lock wait for each other. The next statement
    // sees every membership that was being written, and a later membership sees the finished erasure.
    let lock = "SELECT FROM users WHERE id = $1 FOR UPDATE";
    transaction.execute_raw(statement(lock, [user.as_str().into()])).await?;
    let sql = "UPDATE users SET erased_at = now(), erasure_lease = NULL WHERE id = $1 AND erasing_at IS NOT NULL \
               AND NOT EXISTS (SELECT FROM members m WHERE m.user_id = $1)";
    let finished = transaction.execute_raw(statement(sql, [user.as_str().into()])).await?;
    let sql = "DELETE FROM rejoin_roles WHERE user_id = $1";
    transaction.execute_raw(statement(sql, [user.as_str().into()])).await?;
    transaction.commit().await?;
    Ok(finished.rows_affected() == 1)
}

/// Turns the next messages of the user in a room into tombstones: at most `MAX_ROWS_PER_TRANSACTION`, in the order of
/// their client ids, after the client id `after`. Returns the last client id, or None if no message is left.
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
    let values = [room.into(), user.as_str().into(), after.into(), MAX_ROWS_PER_TRANSACTION.into()];
    let rows = transaction.query_all_raw(statement(sql, values)).await?;
    let (mut seqs, mut last) = (Vec::with_capacity(rows.len()), None);
    for row in &rows {
        seqs.push(row.try_get_by::<i64, _>("seq")?);
        last = Some(row.try_get_by("client_id")?);
    }
    if !seqs.is_empty() {
        for sql in TOMBSTONE_STATEMENTS {
            transaction.execute_raw(statement(sql, [room.into(), seqs.clone().into()])).await?;
        }
        search::reindex_messages(&transaction, room, &seqs).await?;
    }
    transaction.commit().await?;
    Ok(last)
}

/// The statements that make tombstones. The first one locks the messages in the same order as the writer, so that this
/// transaction and a batch cannot deadlock.
const TOMBSTONE_STATEMENTS: [&str; 5] = [
    "WITH locked AS MATERIALIZED (SELECT m.seq FROM messages m WHERE m.room_id = $1 AND m.seq = ANY ($2) \
       ORDER BY m.seq FOR NO KEY UPDATE) \
     UPDATE messages m SET deleted = true, content = '', attachments = NULL, metadata = NULL, mentions = NULL FROM locked \
     WHERE m.room_id = $1 AND m.seq = locked.seq \
       AND NOT (m.deleted AND m.content = '' AND m.attachments IS NULL AND m.metadata IS NULL AND m.mentions IS NULL)",
    "DELETE FROM message_versions WHERE room_id = $1 AND seq = ANY ($2)",
    "DELETE FROM messages_archive WHERE room_id = $1 AND seq = ANY ($2)",
    "DELETE FROM reactions WHERE room_id = $1 AND seq = ANY ($2)",
    "UPDATE events SET type = 'void', void_type = type, body = '{}' \
     WHERE room_id = $1 AND type = 'message:edited' AND target = ANY ($2)",
];

/// Edits and reactions of a user. For each room: the seqs of these events, and the seqs of the edited messages.
#[derive(Debug, Default)]
pub struct UserChanges(BTreeMap<RoomId, (Vec<i64>, Vec<i64>)>);

/// The first `MAX_ROWS_PER_TRANSACTION` events by which the user edited or reacted; empty when none is left.
pub async fn next_changes(db: &impl ConnectionTrait, user: &UserId) -> Result<UserChanges, DbErr> {
    let sql = "SELECT e.room_id, e.seq, CASE WHEN e.type = 'message:edited' THEN e.target END AS edited FROM events e \
               WHERE e.actor_id = $1 AND e.type IN ('message:edited', 'reaction:added', 'reaction:removed') \
               ORDER BY e.room_id, e.seq LIMIT $2";
    let values = [user.as_str().into(), MAX_ROWS_PER_TRANSACTION.into()];
    let rows = db.query_all_raw(statement(sql, values)).await?;
    let mut changes = UserChanges::default();
    for row in &rows {
        let (seqs, edited) = changes.0.entry(room_column(row, "room_id")?).or_default();
        seqs.push(row.try_get_by("seq")?);
        edited.extend(row.try_get_by::<Option<i64>, _>("edited")?);
    }
    Ok(changes)
}

impl UserChanges {
    /// The rooms in which the user edited or reacted.
    #[must_use]
    pub fn rooms(&self) -> Vec<RoomId> {
        self.0.keys().cloned().collect()
    }

    /// Turns the events into voids, and restores the earlier text of messages of other users that the user edited, room
    /// by room.
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
        transaction.execute_raw(statement(RESTORE_LATEST_SQL, values(edited))).await?;
        search::reindex_messages(transaction, room.as_str(), edited).await?;
    }
    let void = "UPDATE events SET type = 'void', void_type = type, body = '{}' WHERE room_id = $1 AND seq = ANY ($2)";
    transaction.execute_raw(statement(void, values(seqs))).await.map(drop)
}

/// Restores the text of messages from the last of their versions, unless they are deleted.
const RESTORE_LATEST_SQL: &str = "\
    UPDATE messages m SET content = v.content, metadata = v.metadata, \
      edited_at = CASE WHEN v.version > m.seq THEN v.at END \
    FROM unnest($2::bigint[]) AS e (seq) CROSS JOIN LATERAL (SELECT v.version, v.content, v.at, \
        (SELECT d.metadata FROM message_versions d WHERE d.room_id = $1 AND d.seq = e.seq \
           AND d.metadata IS NOT NULL ORDER BY d.version DESC LIMIT 1) AS metadata \
      FROM message_versions v WHERE v.room_id = $1 AND v.seq = e.seq ORDER BY v.version DESC LIMIT 1) v \
    WHERE m.room_id = $1 AND m.seq = e.seq AND NOT m.deleted";

/// Reactions of a user: the room, the seq and the emoji of each, in this order.
#[derive(Debug, Default)]
pub struct UserReactions {
    rooms: Vec<RoomId>,
    seqs: Vec<i64>,
    emojis: Vec<String>,
}

/// The first `MAX_ROWS_PER_TRANSACTION` reactions of the user; empty when none is left.
pub async fn next_reactions(db: &impl ConnectionTrait, user: &UserId) -> Result<UserReactions, DbErr> {
    let sql =
        "SELECT room_id, seq, emoji FROM reactions WHERE user_id = $1 ORDER BY room_id, seq, emoji LIMIT $2";
    let rows =
        db.query_all_raw(statement(sql, [user.as_str().into(), MAX_ROWS_PER_TRANSACTION.into()])).await?;
    let mut reactions = UserReactions::default();
    for row in &rows {
        reactions.rooms.push(room_column(row, "room_id")?);
        reactions.seqs.push(row.try_get_by("seq")?);
        reactions.emojis.push(row.try_get_by("emoji")?);
    }
    Ok(reactions)
}

impl UserReactions {
    /// The rooms in which the user reacted.
    #[must_use]
    pub fn rooms(&self) -> Vec<RoomId> {
        let mut rooms = self.rooms.clone();
        rooms.dedup();
        rooms
    }

    /// Deletes these reactions of the user, and no others. Locks their messages first, in the same order as the writer, so
    /// that this transaction and a batch cannot deadlock.
    pub async fn delete(self, db: &DatabaseConnection, user: &UserId) -> Result<(), DbErr> {
        let transaction = db.begin().await?;
        let lock = "SELECT FROM messages m WHERE (m.room_id, m.seq) IN \
                      (SELECT k.room_id, k.seq FROM unnest($1::text[], $2::bigint[]) AS k (room_id, seq)) \
                    ORDER BY m.room_id, m.seq FOR NO KEY UPDATE";
        let rooms = || column(&self.rooms, |room| room.as_str().to_owned());
        transaction.execute_raw(statement(lock, [rooms(), self.seqs.clone().into()])).await?;
        let sql = "DELETE FROM reactions r USING unnest($2::text[], $3::bigint[], $4::text[]) AS k (room_id, seq, emoji) \
                   WHERE r.user_id = $1 AND r.room_id = k.room_id AND r.seq = k.seq AND r.emoji = k.emoji";
        let values = [user.as_str().into(), rooms(), self.seqs.clone().into(), self.emojis.into()];
        transaction.execute_raw(statement(sql, values)).await?;
        transaction.commit().await
    }
}

/// Deletes the row of `presence`, which holds when the user was last seen.
pub async fn delete_last_seen(db: &impl ConnectionTrait, user: &UserId) -> Result<(), DbErr> {
    let sql = "DELETE FROM presence WHERE user_id = $1";
    db.execute_raw(statement(sql, [user.as_str().into()])).await.map(drop)
}

/// Marks all files of the user for removal, also those that no message names. `tidings-files` removes their contents.
pub async fn remove_files(db: &impl ConnectionTrait, user: &UserId) -> Result<(), DbErr> {
    let sql = "UPDATE files SET state = 'removed', due_at = now() WHERE uploader = $1 AND state <> 'removed'";
    db.execute_raw(statement(sql, [user.as_str().into()])).await.map(drop)
}

/// Deletes the devices of the user, and the rooms that the user has muted. No device is registered later, because the user
/// is blocked.
pub async fn delete_devices(db: &impl ConnectionTrait, user: &UserId) -> Result<(), DbErr> {
    // The devices are locked in the order in which push locks them.
    let devices = "WITH locked AS MATERIALIZED (SELECT id FROM push_devices WHERE user_id = $1 ORDER BY id FOR UPDATE) \
        DELETE FROM push_devices d USING locked WHERE d.id = locked.id";
    for sql in [devices, "DELETE FROM push_mutes WHERE user_id = $1"] {
        db.execute_raw(statement(sql, [user.as_str().into()])).await?;
    }
    Ok(())
}

pub async fn one_room_of_each_partition(db: &impl ConnectionTrait) -> Result<Vec<RoomId>, DbErr> {
    let sql = "SELECT r.id FROM partitions p CROSS JOIN LATERAL \
                 (SELECT id FROM rooms WHERE partition = p.partition LIMIT 1) r";
    let rows = db.query_all_raw(statement(sql, [])).await?;
    rows.iter().map(|row| room_column(row, "id")).collect()
}
