//! Writes the search index: a signature of the words of each block of messages. Every transaction that changes the
//! index of a room first locks the room's row in `search_progress`, and reads the messages afterwards. So content that
//! an erasure removes is never indexed again. A block is always made from the present texts of all its messages.

mod blocks;

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait, Value};
use tidings_shared::ids::RoomId;

use crate::search::signature::IS_OUTDATED_SQL;
use crate::search::{BLOCK_SEQS, block_of};
use crate::sql::{column, room_column, statement};
pub use blocks::Block;
use blocks::rebuild_blocks;

/// The result of one indexing transaction.
#[derive(Debug, Default)]
pub struct IndexOutcome {
    /// Number of messages in the blocks that were written.
    pub messages: usize,
    /// Rooms that are not indexed up to the requested seq.
    pub behind: BTreeSet<RoomId>,
}

/// The range of a room's log to index: the seqs above `since` up to `upto`.
struct IndexRange {
    room: String,
    since: i64,
    upto: i64,
}

/// Indexes the next seqs of these rooms, each up to the given seq, at most `limit` blocks in total.
pub async fn index_rooms(
    db: &DatabaseConnection,
    rooms: &[(RoomId, i64)],
    limit: i64,
) -> Result<IndexOutcome, DbErr> {
    let mut indexed = IndexOutcome::default();
    let ranges = ranges_to_index(db, rooms, limit, &mut indexed).await?;
    if ranges.is_empty() {
        return Ok(indexed);
    }
    let transaction = db.begin().await?;
    let requested: Vec<String> = ranges.iter().map(|range| range.room.clone()).collect();
    let ranges = advance_progress(&transaction, ranges).await?;
    let lost = requested.iter().filter(|room| ranges.iter().all(|range| range.room != **room));
    indexed.behind.extend(lost.filter_map(|room| RoomId::parse(room).ok()));
    let mut changed = edited_blocks(&transaction, &ranges).await?;
    for range in &ranges {
        let blocks = block_of(range.since + 1)..=block_of(range.upto);
        changed.extend(blocks.map(|block| Block { room: range.room.clone(), block }));
    }
    indexed.messages = rebuild_blocks(&transaction, &changed).await?;
    transaction.commit().await?;
    Ok(indexed)
}

/// Indexes messages again after a change of their content without an event. The caller has locked the index of the room
/// with [`lock_room`].
pub async fn reindex_messages(
    transaction: &DatabaseTransaction,
    room: &str,
    seqs: &[i64],
) -> Result<(), DbErr> {
    let block = |seq: &i64| Block { room: room.to_owned(), block: block_of(*seq) };
    rebuild_blocks(transaction, &seqs.iter().map(block).collect()).await.map(drop)
}

/// Removes the messages up to a seq from the index, after their contents were removed. The caller has locked the index
/// of the room with [`lock_room`].
pub async fn unindex_up_to(transaction: &DatabaseTransaction, room: &str, upto: i64) -> Result<(), DbErr> {
    let sql = "DELETE FROM search_blocks WHERE room_id = $1 AND block < $2";
    transaction.execute_raw(statement(sql, [room.into(), block_of(upto).into()])).await?;
    reindex_messages(transaction, room, &[upto]).await
}

/// Divides `limit` blocks among the rooms, in the given order. Adds rooms that cannot be indexed up to their seqs to
/// `indexed.behind`.
async fn ranges_to_index(
    db: &DatabaseConnection,
    rooms: &[(RoomId, i64)],
    limit: i64,
    indexed: &mut IndexOutcome,
) -> Result<Vec<IndexRange>, DbErr> {
    let sql = "SELECT r.id, COALESCE(p.indexed_seq, 0) AS indexed_seq, LEAST(v.upto, r.head_seq) AS upto \
               FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS v (room, upto, place) \
               JOIN rooms r ON r.id = v.room LEFT JOIN search_progress p ON p.room_id = r.id \
               WHERE LEAST(v.upto, r.head_seq) > COALESCE(p.indexed_seq, 0) ORDER BY v.place";
    let values = [column(rooms, |(room, _)| room.to_string()), column(rooms, |(_, upto)| *upto)];
    let rows = db.query_all_raw(statement(sql, values)).await?;
    let (mut ranges, mut left) = (Vec::new(), limit);
    let mut waiting = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    for row in &rows {
        // Each room gets an equal share of the blocks that are left. Later rooms get the unused part of a share.
        let share = left.min((left / waiting.max(1)).max(1));
        waiting -= 1;
        let (since, upto): (i64, i64) = (row.try_get_by("indexed_seq")?, row.try_get_by("upto")?);
        let room = room_column(row, "id")?;
        let first = block_of(since + 1);
        let last = block_of(upto).min(first + share - 1);
        let reached = upto.min((last + 1) * BLOCK_SEQS - 1);
        if reached < upto {
            indexed.behind.insert(room.clone());
        }
        if share > 0 {
            left -= last - first + 1;
            ranges.push(IndexRange { room: room.into(), since, upto: reached });
        }
    }
    Ok(ranges)
}

/// Locks the progress of rooms and moves it. Joins the array with the table before it takes the locks. PostgreSQL does
/// not know how many rows an array has, so in a later join it would compare the array with every locked row.
const ADVANCE_PROGRESS_SQL: &str = "\
    WITH locked AS MATERIALIZED (SELECT p.room_id, v.since, v.upto \
      FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS v (room, since, upto) \
      JOIN search_progress p ON p.room_id = v.room ORDER BY p.room_id FOR UPDATE OF p) \
    UPDATE search_progress p SET indexed_seq = locked.upto FROM locked \
    WHERE p.room_id = locked.room_id AND p.indexed_seq = locked.since RETURNING p.room_id";

/// Locks the rooms in order and moves their progress. Returns the ranges of the moved rooms. Leaves out rooms whose
/// progress another replica has moved, because that replica indexes them.
async fn advance_progress(
    transaction: &DatabaseTransaction,
    ranges: Vec<IndexRange>,
) -> Result<Vec<IndexRange>, DbErr> {
    let new: Vec<String> =
        ranges.iter().filter(|range| range.since == 0).map(|range| range.room.clone()).collect();
    if !new.is_empty() {
        transaction.execute_raw(statement(INSERT_PROGRESS_SQL, [new.into()])).await?;
    }
    let moved = transaction.query_all_raw(statement(ADVANCE_PROGRESS_SQL, range_columns(&ranges))).await?;
    let owned: BTreeSet<String> =
        moved.iter().map(|row| row.try_get_by("room_id")).collect::<Result<_, DbErr>>()?;
    Ok(ranges.into_iter().filter(|range| owned.contains(&range.room)).collect())
}

/// The rooms, `since` and `upto` of ranges, as three array parameters.
fn range_columns(ranges: &[IndexRange]) -> [Value; 3] {
    [
        column(ranges, |range| range.room.clone()),
        column(ranges, |range| range.since),
        column(ranges, |range| range.upto),
    ]
}

/// The blocks of messages that the events of these ranges edit or delete. The LIMIT removes no rows, but keeps the
/// planner from a scan of the whole table.
const EDITED_BLOCKS_SQL: &str = "\
    SELECT DISTINCT e.room_id, e.target / $4 AS block \
    FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS v (room, since, upto) \
    CROSS JOIN LATERAL (SELECT e.room_id, e.target FROM events e \
      WHERE e.room_id = v.room AND e.seq > v.since AND e.seq <= v.upto \
        AND e.type IN ('message:edited', 'message:deleted') ORDER BY e.seq LIMIT v.upto - v.since) e";

async fn edited_blocks(
    transaction: &DatabaseTransaction,
    ranges: &[IndexRange],
) -> Result<BTreeSet<Block>, DbErr> {
    let [rooms, since, upto] = range_columns(ranges);
    let values = [rooms, since, upto, BLOCK_SEQS.into()];
    let rows = transaction.query_all_raw(statement(EDITED_BLOCKS_SQL, values)).await?;
    rows.iter()
        .map(|row| Ok(Block { room: row.try_get_by("room_id")?, block: row.try_get_by("block")? }))
        .collect()
}

/// Adds a row of progress for each of the rooms `$1` that has none.
const INSERT_PROGRESS_SQL: &str = "\
    INSERT INTO search_progress (room_id, indexed_seq) \
    SELECT v.room, 0 FROM unnest($1::text[]) AS v (room) ORDER BY v.room ON CONFLICT DO NOTHING";

/// Locks the search index of a room: the indexer does not change it until the transaction ends.
pub async fn lock_room(transaction: &DatabaseTransaction, room: &str) -> Result<(), DbErr> {
    lock_rooms(transaction, &[room]).await
}

/// Locks the search index of rooms, in the order of all transactions that lock several.
async fn lock_rooms(transaction: &DatabaseTransaction, rooms: &[&str]) -> Result<(), DbErr> {
    let lock =
        "SELECT FROM search_progress p WHERE p.room_id = ANY ($1::text[]) ORDER BY p.room_id FOR UPDATE";
    for sql in [INSERT_PROGRESS_SQL, lock] {
        let rooms = column(rooms, |room| (*room).to_owned());
        transaction.execute_raw(statement(sql, [rooms])).await?;
    }
    Ok(())
}

/// Up to `limit` blocks after `after` whose signatures are outdated, in their order. Reads only the index
/// `search_blocks_outdated`, which has no other blocks.
pub async fn outdated_blocks(
    db: &impl ConnectionTrait,
    after: &Block,
    limit: i64,
) -> Result<Vec<Block>, DbErr> {
    let sql = format!(
        "SELECT room_id, block FROM search_blocks WHERE {IS_OUTDATED_SQL} AND (room_id, block) > ($1, $2) \
         ORDER BY room_id, block LIMIT $3"
    );
    let values = [after.room.as_str().into(), after.block.into(), limit.into()];
    let rows = db.query_all_raw(statement(&sql, values)).await?;
    rows.iter()
        .map(|row| Ok(Block { room: row.try_get_by("room_id")?, block: row.try_get_by("block")? }))
        .collect()
}

/// Rebuilds blocks from the present texts. Returns the number of their messages.
pub async fn rebuild(db: &DatabaseConnection, blocks: BTreeSet<Block>) -> Result<usize, DbErr> {
    let transaction = db.begin().await?;
    let rooms: BTreeSet<&str> = blocks.iter().map(|block| block.room.as_str()).collect();
    lock_rooms(&transaction, &Vec::from_iter(rooms)).await?;
    let messages = rebuild_blocks(&transaction, &blocks).await?;
    transaction.commit().await?;
    Ok(messages)
}

/// A page of all rooms: the id of its last room, and the rooms that are not indexed up to their heads, each with the
/// first seq that is not indexed and its head.
type RoomsBehind = (String, Vec<(RoomId, i64, i64)>);

/// Reads the next page of all rooms, after the room id `after`. None if no room is left.
pub async fn rooms_behind(
    db: &impl ConnectionTrait,
    after: &str,
    limit: i64,
) -> Result<Option<RoomsBehind>, DbErr> {
    let sql = "SELECT r.id, COALESCE(p.indexed_seq, 0) AS indexed_seq, r.head_seq FROM rooms r \
               LEFT JOIN search_progress p ON p.room_id = r.id WHERE r.id > $1 ORDER BY r.id LIMIT $2";
    let rows = db.query_all_raw(statement(sql, [after.into(), limit.into()])).await?;
    let Some(last) = rows.last() else { return Ok(None) };
    let mut behind = Vec::new();
    for row in &rows {
        let (indexed, head): (i64, i64) = (row.try_get_by("indexed_seq")?, row.try_get_by("head_seq")?);
        if head > indexed {
            behind.push((room_column(row, "id")?, indexed + 1, head));
        }
    }
    Ok(Some((last.try_get_by("id")?, behind)))
}
