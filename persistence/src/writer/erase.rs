//! Erasure of a user in the tables: their texts, name and picture go; places, ids and client ids stay, so that nothing is
//! renumbered. Every step may be repeated, and changes nothing where it was done.

use std::collections::BTreeMap;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait};
use tidings_shared::ids::{RoomId, UserId};
use tidings_shared::log::Record;

use super::search;
use super::sql::{bigint, room as room_of, statement};

/// Rows of one transaction.
const ROWS_AT_ONCE: i64 = 1000;

/// How far a user is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Unknown,
    /// Not at all, and blocked or not.
    Present {
        blocked: bool,
    },
    UnderWay,
    Erased,
}

/// How a user stands.
///
/// # Errors
/// When the database cannot be read.
pub async fn standing(db: &impl ConnectionTrait, user: &UserId) -> Result<Standing, DbErr> {
    let sql = "SELECT blocked, erasing_at IS NOT NULL, erased_at IS NOT NULL FROM users WHERE id = $1";
    let row = db.query_one_raw(statement(sql, [user.as_str().into()])).await?;
    let Some(row) = row else { return Ok(Standing::Unknown) };
    Ok(match (row.try_get_by_index(1)?, row.try_get_by_index(2)?) {
        (_, true) => Standing::Erased,
        (true, false) => Standing::UnderWay,
        (false, false) => Standing::Present { blocked: row.try_get_by_index(0)? },
    })
}

/// Takes name and picture away, blocks the user, and says that the rest is to go too.
///
/// # Errors
/// When the database cannot be written; then nothing was.
pub async fn begin(db: &impl ConnectionTrait, user: &UserId) -> Result<(), DbErr> {
    db.execute_raw(statement(
        "UPDATE users SET blocked = true, name = NULL, picture = NULL, updated_at = now(), \
           erasing_at = COALESCE(erasing_at, now()) WHERE id = $1 AND erased_at IS NULL",
        [user.as_str().into()],
    ))
    .await
    .map(drop)
}

/// Takes or keeps the lease of an erasure; false when another replica has it, or there is nothing left to do.
///
/// # Errors
/// When the database cannot be written.
pub async fn lease(
    db: &impl ConnectionTrait,
    user: &UserId,
    holds: bool,
    lease: Duration,
) -> Result<bool, DbErr> {
    let taken = db
        .execute_raw(statement(
            "UPDATE users SET erasure_lease = clock_timestamp() + $2 * interval '1 millisecond' \
             WHERE id = $1 AND erasing_at IS NOT NULL AND erased_at IS NULL \
               AND ($3 OR erasure_lease IS NULL OR erasure_lease < clock_timestamp())",
            [user.as_str().into(), bigint(lease.as_millis() as u64).into(), holds.into()],
        ))
        .await?;
    Ok(taken.rows_affected() == 1)
}

/// Gives the lease back, so that whoever comes next need not wait for its end.
///
/// # Errors
/// When the database cannot be written; then it runs out by itself.
pub async fn release(db: &impl ConnectionTrait, user: &UserId) -> Result<(), DbErr> {
    let sql = "UPDATE users SET erasure_lease = NULL WHERE id = $1";
    db.execute_raw(statement(sql, [user.as_str().into()])).await.map(drop)
}

/// Users whose erasure was begun, is not at its end, and is nobody's just now.
///
/// # Errors
/// When the database cannot be read.
pub async fn due(db: &impl ConnectionTrait, most: i64) -> Result<Vec<UserId>, DbErr> {
    let rows = db
        .query_all_raw(statement(
            "SELECT id FROM users WHERE erasing_at IS NOT NULL AND erased_at IS NULL \
               AND (erasure_lease IS NULL OR erasure_lease < clock_timestamp()) ORDER BY id LIMIT $1",
            [most.into()],
        ))
        .await?;
    rows.iter()
        .map(|row| {
            let id: String = row.try_get_by_index(0)?;
            UserId::parse(&id).map_err(|error| DbErr::Custom(error.to_string()))
        })
        .collect()
}

/// The erasure is done.
///
/// # Errors
/// When the database cannot be written.
pub async fn finish(db: &impl ConnectionTrait, user: &UserId) -> Result<(), DbErr> {
    let sql =
        "UPDATE users SET erased_at = now(), erasure_lease = NULL WHERE id = $1 AND erasing_at IS NOT NULL";
    db.execute_raw(statement(sql, [user.as_str().into()])).await.map(drop)
}

/// Makes tombstones of the user's next messages in a room, by client id behind `after`; the client id of the last one.
///
/// # Errors
/// When the database cannot be written; then nothing was.
pub async fn messages(
    db: &DatabaseConnection,
    user: &UserId,
    room: &str,
    after: &str,
) -> Result<Option<String>, DbErr> {
    let transaction = db.begin().await?;
    search::lock(&transaction, room).await?;
    let rows = transaction
        .query_all_raw(statement(
            "SELECT m.seq, m.client_id FROM messages m WHERE m.room_id = $1 AND m.sender_id = $2 AND m.client_id > $3 \
             ORDER BY m.client_id LIMIT $4",
            [room.into(), user.as_str().into(), after.into(), ROWS_AT_ONCE.into()],
        ))
        .await?;
    let (mut seqs, mut last) = (Vec::with_capacity(rows.len()), None);
    for row in &rows {
        seqs.push(row.try_get_by_index::<i64>(0)?);
        last = Some(row.try_get_by_index(1)?);
    }
    if !seqs.is_empty() {
        for sql in TOMBSTONES {
            transaction.execute_raw(statement(sql, [room.into(), seqs.clone().into()])).await?;
        }
    }
    transaction.commit().await?;
    Ok(last)
}

/// The messages first, in the order in which the writer locks them.
const TOMBSTONES: [&str; 6] = [
    "WITH locked AS MATERIALIZED (SELECT m.seq FROM messages m WHERE m.room_id = $1 AND m.seq = ANY ($2) \
       ORDER BY m.seq FOR NO KEY UPDATE) \
     UPDATE messages m SET deleted = true, content = '', attachments = NULL, metadata = NULL FROM locked \
     WHERE m.room_id = $1 AND m.seq = locked.seq \
       AND NOT (m.deleted AND m.content = '' AND m.attachments IS NULL AND m.metadata IS NULL)",
    "DELETE FROM message_versions WHERE room_id = $1 AND seq = ANY ($2)",
    "DELETE FROM messages_archive WHERE room_id = $1 AND seq = ANY ($2)",
    "DELETE FROM message_search WHERE room_id = $1 AND seq = ANY ($2)",
    "DELETE FROM reactions WHERE room_id = $1 AND seq = ANY ($2)",
    "UPDATE events SET type = 'void', void_type = type, body = '{}' \
     WHERE room_id = $1 AND type = 'message:edited' AND target = ANY ($2)",
];

/// Makes voids of the user's next edits and reactions, and gives others' messages that they edited back the text of
/// before. The rooms; none at the end.
///
/// # Errors
/// When the database cannot be written; then the last room was not.
pub async fn changes(db: &DatabaseConnection, user: &UserId) -> Result<Vec<RoomId>, DbErr> {
    let rows = db
        .query_all_raw(statement(
            "SELECT e.room_id, e.seq, CASE WHEN e.type = 'message:edited' THEN e.target END FROM events e \
             WHERE e.actor_id = $1 AND e.type IN ('message:edited', 'reaction:added', 'reaction:removed') \
             ORDER BY e.room_id, e.seq LIMIT $2",
            [user.as_str().into(), ROWS_AT_ONCE.into()],
        ))
        .await?;
    let mut rooms: BTreeMap<RoomId, (Vec<i64>, Vec<i64>)> = BTreeMap::new();
    for row in &rows {
        let (seqs, edited) = rooms.entry(room_of(row, 0)?).or_default();
        seqs.push(row.try_get_by_index(1)?);
        edited.extend(row.try_get_by_index::<Option<i64>>(2)?);
    }
    for (room, (seqs, edited)) in &mut rooms {
        edited.sort_unstable();
        edited.dedup();
        let transaction = db.begin().await?;
        search::lock(&transaction, room.as_str()).await?;
        give_back(&transaction, room, seqs, edited).await?;
        transaction.commit().await?;
    }
    Ok(rooms.into_keys().collect())
}

async fn give_back(
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
        transaction.execute_raw(statement(LATEST, values(edited))).await?;
        search::refresh(transaction, room.as_str(), edited).await?;
    }
    let void = "UPDATE events SET type = 'void', void_type = type, body = '{}' WHERE room_id = $1 AND seq = ANY ($2)";
    transaction.execute_raw(statement(void, values(seqs))).await.map(drop)
}

/// A message that is not deleted says what the last of its versions says.
const LATEST: &str = "\
    UPDATE messages m SET content = v.content, metadata = v.metadata, \
      edited_at = CASE WHEN v.version > m.seq THEN v.at END \
    FROM unnest($2::bigint[]) AS e (seq) CROSS JOIN LATERAL (SELECT v.version, v.content, v.at, \
        (SELECT d.metadata FROM message_versions d WHERE d.room_id = $1 AND d.seq = e.seq \
           AND d.metadata IS NOT NULL ORDER BY d.version DESC LIMIT 1) AS metadata \
      FROM message_versions v WHERE v.room_id = $1 AND v.seq = e.seq ORDER BY v.version DESC LIMIT 1) v \
    WHERE m.room_id = $1 AND m.seq = e.seq AND NOT m.deleted";

/// Takes the user's next reactions away; the rooms, none at the end.
///
/// # Errors
/// When the database cannot be written; then nothing was.
pub async fn reactions(db: &impl ConnectionTrait, user: &UserId) -> Result<Vec<RoomId>, DbErr> {
    let rows = db
        .query_all_raw(statement(
            "WITH gone AS (DELETE FROM reactions r USING (SELECT room_id, seq, emoji FROM reactions \
                 WHERE user_id = $1 ORDER BY room_id, seq LIMIT $2) g \
               WHERE r.room_id = g.room_id AND r.seq = g.seq AND r.emoji = g.emoji AND r.user_id = $1 \
               RETURNING r.room_id) \
             SELECT DISTINCT room_id FROM gone",
            [user.as_str().into(), ROWS_AT_ONCE.into()],
        ))
        .await?;
    rows.iter().map(|row| room_of(row, 0)).collect()
}

/// Deletes dead letters of the user, and those that cannot be read and name them.
///
/// # Errors
/// When the database cannot be written.
pub async fn dead_letters(db: &impl ConnectionTrait, user: &UserId) -> Result<(), DbErr> {
    const AT_ONCE: i64 = 100;
    let mut after = 0;
    loop {
        let sql = "SELECT id, record FROM dead_letters WHERE id > $1 ORDER BY id LIMIT $2";
        let rows = db.query_all_raw(statement(sql, [after.into(), AT_ONCE.into()])).await?;
        let mut theirs: Vec<i64> = Vec::new();
        for row in &rows {
            after = row.try_get_by_index(0)?;
            let record: Vec<u8> = row.try_get_by_index(1)?;
            if is_of(record, user) {
                theirs.push(after);
            }
        }
        if !theirs.is_empty() {
            let sql = "DELETE FROM dead_letters WHERE id = ANY ($1)";
            db.execute_raw(statement(sql, [theirs.into()])).await?;
        }
        if (rows.len() as i64) < AT_ONCE {
            return Ok(());
        }
    }
}

fn is_of(record: Vec<u8>, user: &UserId) -> bool {
    let raw = bytes::Bytes::from(record);
    match Record::parse(raw.clone()) {
        Ok(record) => record.sender() == user.as_str(),
        Err(_) => raw.windows(user.as_str().len()).any(|part| part == user.as_str().as_bytes()),
    }
}

/// Deletes when the user was seen.
///
/// # Errors
/// When the database cannot be written.
pub async fn presence(db: &impl ConnectionTrait, user: &UserId) -> Result<(), DbErr> {
    let sql = "DELETE FROM presence WHERE user_id = $1";
    db.execute_raw(statement(sql, [user.as_str().into()])).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_is_of_its_sender_or_of_whom_it_names_when_it_cannot_be_read() {
        let alice = UserId::parse("alice").unwrap();
        let record = |sender: &str| {
            format!(
                "1\u{1f}1\u{1f}1\u{1f}1\u{1f}r\u{1f}message:new\u{1f}{sender}\u{1f}c\u{1f}i\u{1f}\u{1f}\u{1f}\n{{\"of\":\"alice\"}}"
            )
        };
        assert!(is_of(record("alice").into_bytes(), &alice));
        assert!(!is_of(record("bob").into_bytes(), &alice), "others may speak of them");
        assert!(is_of(b"9\x1falice\x1fnonsense".to_vec(), &alice));
        assert!(!is_of(b"9\x1fbob".to_vec(), &alice));
    }
}
