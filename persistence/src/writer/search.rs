//! Writes the search index. Every transaction that changes the index of a room first locks the room's row in
//! `search_progress`, and reads the messages afterwards. So content that an erasure removes is never indexed again.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, QueryResult, TransactionTrait, Value,
};
use tidings_shared::ids::RoomId;

use crate::search::{slice_of, slice_prefix, words::DistinctWords};
use crate::sql::{column, flagged_ids, room as room_of, statement};

/// The words of a message after this size are not indexed, because a `tsvector` is limited to a megabyte.
const MAX_TSVECTOR_BYTES: usize = 512 * 1024;

/// The result of one indexing transaction.
#[derive(Debug, Default)]
pub struct Indexed {
    pub messages: usize,
    /// Rooms that are not indexed up to their heads yet.
    pub behind: Vec<RoomId>,
}

/// The range of a room's log to index: the seqs above `since` up to `upto`.
struct IndexRange {
    room: String,
    since: i64,
    upto: i64,
}

/// What the index holds of a message in its present state.
struct IndexedMessage {
    at: DateTime<Utc>,
    /// The words of the message. A message without words is not in the index.
    words: DistinctWords,
}

/// Key of a message: room and seq.
type MessageKey = (String, i64);

/// Indexes the next seqs of these rooms up to their stored heads, at most `limit` seqs in total.
pub async fn index(db: &DatabaseConnection, rooms: &[RoomId], limit: i64) -> Result<Indexed, DbErr> {
    let mut indexed = Indexed::default();
    let ranges = ranges_to_index(db, rooms, limit, &mut indexed).await?;
    if ranges.is_empty() {
        return Ok(indexed);
    }
    let transaction = db.begin().await?;
    let requested: Vec<String> = ranges.iter().map(|range| range.room.clone()).collect();
    let ranges = advance(&transaction, ranges).await?;
    let lost = requested.iter().filter(|room| ranges.iter().all(|range| range.room != **room));
    indexed.behind.extend(lost.filter_map(|room| RoomId::parse(room).ok()));
    let changed = read(&transaction.query_all_raw(statement(CHANGED, columns(&ranges))).await?)?;
    indexed.messages = changed.len();
    index_messages(&transaction, &changed).await?;
    transaction.commit().await?;
    Ok(indexed)
}

/// Indexes messages again after a change of their content without an event. The caller has called [`lock_room`].
pub async fn refresh(transaction: &DatabaseTransaction, room: &str, seqs: &[i64]) -> Result<(), DbErr> {
    let sql = "SELECT room_id, seq, at, CASE WHEN deleted THEN '' ELSE content END AS content FROM messages \
               WHERE room_id = $1 AND seq = ANY ($2)";
    let rows = transaction.query_all_raw(statement(sql, [room.into(), seqs.to_vec().into()])).await?;
    index_messages(transaction, &read(&rows)?).await
}

/// Writes the words of messages into the index, and removes messages without words from it.
async fn index_messages(
    transaction: &DatabaseTransaction,
    changed: &BTreeMap<MessageKey, IndexedMessage>,
) -> Result<(), DbErr> {
    let without_words = changed.iter().filter(|(_, message)| message.words.is_empty());
    let (rooms, seqs): (Vec<String>, Vec<i64>) = without_words.map(|(key, _)| key.clone()).unzip();
    if !rooms.is_empty() {
        let sql = "DELETE FROM message_search s USING unnest($1::text[], $2::bigint[]) AS v (room, seq) \
                   WHERE s.room_id = v.room AND s.seq = v.seq";
        transaction.execute_raw(statement(sql, [rooms.into(), seqs.into()])).await?;
    }
    let kept: BTreeMap<&MessageKey, &IndexedMessage> =
        changed.iter().filter(|(_, message)| !message.words.is_empty()).collect();
    if kept.is_empty() {
        return Ok(());
    }
    let keys = slice_keys(transaction, &kept).await?;
    write_words(transaction, &kept, &keys).await
}

/// Divides `limit` seqs among the rooms, in the given order. Adds rooms that do not reach their heads to `indexed`.
async fn ranges_to_index(
    db: &DatabaseConnection,
    rooms: &[RoomId],
    limit: i64,
    indexed: &mut Indexed,
) -> Result<Vec<IndexRange>, DbErr> {
    let sql = "SELECT r.id, COALESCE(p.indexed_seq, 0) AS indexed_seq, r.head_seq \
               FROM unnest($1::text[]) WITH ORDINALITY AS v (room, place) JOIN rooms r ON r.id = v.room \
               LEFT JOIN search_progress p ON p.room_id = r.id \
               WHERE r.head_seq > COALESCE(p.indexed_seq, 0) ORDER BY v.place";
    let rows = db.query_all_raw(statement(sql, [column(rooms, RoomId::to_string)])).await?;
    let (mut ranges, mut left) = (Vec::new(), limit);
    let mut waiting = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    for row in &rows {
        // Each room gets an equal share of the seqs that are left. The unused part of a share is left for the later
        // rooms.
        let share = (left / waiting.max(1)).max(1);
        waiting -= 1;
        let (since, head): (i64, i64) = (row.try_get_by("indexed_seq")?, row.try_get_by("head_seq")?);
        let room = room_of(row, "id")?;
        let upto = head.min(since + left.min(share));
        if upto < head {
            indexed.behind.push(room.clone());
        }
        if upto > since {
            left -= upto - since;
            ranges.push(IndexRange { room: room.into(), since, upto });
        }
    }
    Ok(ranges)
}

/// Joins the array with the table before it takes the locks. PostgreSQL does not know how many rows an array has, so in
/// a later join it would compare the array with every locked row.
const ADVANCE: &str = "\
    WITH locked AS MATERIALIZED (SELECT p.room_id, v.since, v.upto \
      FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS v (room, since, upto) \
      JOIN search_progress p ON p.room_id = v.room ORDER BY p.room_id FOR UPDATE OF p) \
    UPDATE search_progress p SET indexed_seq = locked.upto FROM locked \
    WHERE p.room_id = locked.room_id AND p.indexed_seq = locked.since RETURNING p.room_id";

/// Locks the rooms in order and moves their progress. Returns the ranges of the moved rooms. Leaves out rooms whose
/// progress another replica has moved, because that replica indexes them.
async fn advance(
    transaction: &DatabaseTransaction,
    ranges: Vec<IndexRange>,
) -> Result<Vec<IndexRange>, DbErr> {
    let new: Vec<String> =
        ranges.iter().filter(|range| range.since == 0).map(|range| range.room.clone()).collect();
    if !new.is_empty() {
        let sql = "INSERT INTO search_progress (room_id, indexed_seq) \
                   SELECT v.room, 0 FROM unnest($1::text[]) AS v (room) ORDER BY v.room ON CONFLICT DO NOTHING";
        transaction.execute_raw(statement(sql, [new.into()])).await?;
    }
    let moved = transaction.query_all_raw(statement(ADVANCE, columns(&ranges))).await?;
    let ours: BTreeSet<String> =
        moved.iter().map(|row| row.try_get_by("room_id")).collect::<Result<_, DbErr>>()?;
    Ok(ranges.into_iter().filter(|range| ours.contains(&range.room)).collect())
}

/// The rooms, `since` and `upto` of ranges, as three array parameters.
fn columns(ranges: &[IndexRange]) -> [Value; 3] {
    [
        column(ranges, |range| range.room.clone()),
        column(ranges, |range| range.since),
        column(ranges, |range| range.upto),
    ]
}

/// Selects new messages, and the targets of edits and deletes. The LIMITs remove no rows, but prevent scans of whole
/// tables.
const CHANGED: &str = "\
    SELECT m.room_id, m.seq, m.at, m.content FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS v (room, since, upto) \
    CROSS JOIN LATERAL (SELECT n.room_id, n.seq, n.at, CASE WHEN n.deleted THEN '' ELSE n.content END AS content \
      FROM messages n WHERE n.room_id = v.room AND n.seq > v.since AND n.seq <= v.upto \
      ORDER BY n.seq LIMIT v.upto - v.since) m \
    UNION ALL \
    SELECT m.room_id, m.seq, m.at, m.content FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS v (room, since, upto) \
    CROSS JOIN LATERAL (SELECT e.target FROM events e \
      WHERE e.room_id = v.room AND e.seq > v.since AND e.seq <= v.upto \
        AND e.type IN ('message:edited', 'message:deleted') ORDER BY e.seq LIMIT v.upto - v.since) e \
    CROSS JOIN LATERAL (SELECT n.room_id, n.seq, n.at, CASE WHEN n.deleted THEN '' ELSE n.content END AS content \
      FROM messages n WHERE n.room_id = v.room AND n.seq = e.target LIMIT 1) m";

/// Reads rows with the columns `room_id`, `seq`, `at` and `content`.
fn read(rows: &[QueryResult]) -> Result<BTreeMap<MessageKey, IndexedMessage>, DbErr> {
    let mut changed = BTreeMap::new();
    for row in rows {
        let content: String = row.try_get_by("content")?;
        let message = IndexedMessage { at: row.try_get_by("at")?, words: DistinctWords::of(&content) };
        changed.insert((row.try_get_by("room_id")?, row.try_get_by("seq")?), message);
    }
    Ok(changed)
}

/// The keys of the slices of these messages. Extends the time range of each slice, so that it includes its messages.
async fn slice_keys(
    transaction: &DatabaseTransaction,
    messages: &BTreeMap<&MessageKey, &IndexedMessage>,
) -> Result<BTreeMap<MessageKey, String>, DbErr> {
    let mut spans: BTreeMap<MessageKey, (DateTime<Utc>, DateTime<Utc>)> = BTreeMap::new();
    for ((room, seq), message) in messages {
        let span = spans.entry((room.clone(), slice_of(*seq))).or_insert((message.at, message.at));
        *span = (span.0.min(message.at), span.1.max(message.at));
    }
    let mut keys = BTreeMap::new();
    for sql in [
        "UPDATE search_slices s SET first_at = LEAST(s.first_at, v.first_at), last_at = GREATEST(s.last_at, v.last_at) \
         FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::timestamptz[]) AS v (room, slice, first_at, last_at) \
         WHERE s.room_id = v.room AND s.slice = v.slice RETURNING s.room_id, s.slice, s.key",
        // Inserts only missing slices, because an insert that conflicts uses up a key.
        "INSERT INTO search_slices (room_id, slice, first_at, last_at) \
         SELECT * FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::timestamptz[]) \
         RETURNING room_id, slice, key",
    ] {
        spans.retain(|slice, _| !keys.contains_key(slice));
        if spans.is_empty() {
            break;
        }
        let (rooms, slices): (Vec<String>, Vec<i64>) = spans.keys().cloned().unzip();
        let (first, last): (Vec<_>, Vec<_>) = spans.values().copied().unzip();
        let values = [rooms.into(), slices.into(), first.into(), last.into()];
        for row in &transaction.query_all_raw(statement(sql, values)).await? {
            let slice = (row.try_get_by("room_id")?, row.try_get_by("slice")?);
            keys.insert(slice, slice_prefix(row.try_get_by("key")?));
        }
    }
    Ok(keys)
}

async fn write_words(
    transaction: &DatabaseTransaction,
    messages: &BTreeMap<&MessageKey, &IndexedMessage>,
    keys: &BTreeMap<MessageKey, String>,
) -> Result<(), DbErr> {
    let mut texts = Vec::with_capacity(messages.len());
    let mut last: Option<(&String, i64, &str)> = None;
    for ((room, seq), message) in messages {
        // Messages are in the order of rooms and seqs, so the slice is mostly the same as that of the previous message.
        let slice = slice_of(*seq);
        if last.is_none_or(|(of, at, _)| of != room || at != slice) {
            let key = keys
                .get(&(room.clone(), slice))
                .ok_or_else(|| DbErr::Custom(format!("no slice of seq {seq} of {room}")))?;
            last = Some((room, slice, key));
        }
        let Some((_, _, key)) = last else { continue };
        let mut text = String::new();
        for word in message.words.iter() {
            if text.len() + word.len() > MAX_TSVECTOR_BYTES {
                break;
            }
            for part in ["'", key, ":", word, "' "] {
                text.push_str(part);
            }
        }
        texts.push(text);
    }
    let (rooms, seqs): (Vec<String>, Vec<i64>) = messages.keys().map(|key| (*key).clone()).unzip();
    let times: Vec<DateTime<Utc>> = messages.values().map(|message| message.at).collect();
    let sql = "INSERT INTO message_search (room_id, seq, at, tsv) \
               SELECT v.room, v.seq, v.at, v.words::tsvector \
               FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::text[]) AS v (room, seq, at, words) \
               ON CONFLICT (room_id, seq) DO UPDATE SET tsv = EXCLUDED.tsv";
    let values = [rooms.into(), seqs.into(), times.into(), texts.into()];
    transaction.execute_raw(statement(sql, values)).await.map(drop)
}

/// Locks the search index of a room, so that the indexer does not change it until the transaction ends.
pub async fn lock_room(transaction: &DatabaseTransaction, room: &str) -> Result<(), DbErr> {
    for sql in [
        "INSERT INTO search_progress (room_id, indexed_seq) VALUES ($1, 0) ON CONFLICT DO NOTHING",
        "SELECT FROM search_progress WHERE room_id = $1 FOR UPDATE",
    ] {
        transaction.execute_raw(statement(sql, [room.into()])).await?;
    }
    Ok(())
}

/// Reads the next page of all rooms, after the room id `after`. Returns the id of its last room, and the rooms that are
/// not indexed up to their heads. None if no room is left.
pub async fn rooms_behind(
    db: &impl ConnectionTrait,
    after: &str,
    limit: i64,
) -> Result<Option<(String, Vec<String>)>, DbErr> {
    let sql = "SELECT r.id, r.head_seq > COALESCE(p.indexed_seq, 0) AS behind FROM rooms r \
               LEFT JOIN search_progress p ON p.room_id = r.id WHERE r.id > $1 ORDER BY r.id LIMIT $2";
    let rows = db.query_all_raw(statement(sql, [after.into(), limit.into()])).await?;
    flagged_ids(&rows, "behind")
}
