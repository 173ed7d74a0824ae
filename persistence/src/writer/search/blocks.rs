//! Writes blocks of the search index from the present texts of their messages. The caller holds the locks of the rooms.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use crate::search::signature::SignatureBuilder;
use crate::search::words::DistinctWords;
use crate::search::{BLOCK_SEQS, block_of};
use crate::sql::{column, statement, write_rows};

/// Maximum number of blocks whose texts are in memory at a time.
const MAX_BLOCKS_IN_MEMORY: usize = 64;

/// A block of a room. The default is before all blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    pub room: String,
    pub block: i64,
}

/// What the index holds of a block with words.
struct BlockContent {
    first_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
    words: SignatureBuilder,
}

/// Selects the texts of the messages in the blocks `$2` of the rooms `$1`. `$3` is the number of seqs in a block. The
/// LIMIT removes no rows, but keeps the planner from a scan of the whole table.
const TEXTS_OF_BLOCKS_SQL: &str = "\
    SELECT m.room_id, m.seq, m.at, m.content FROM unnest($1::text[], $2::bigint[]) AS v (room, block) \
    CROSS JOIN LATERAL (SELECT n.room_id, n.seq, n.at, n.content FROM messages n WHERE n.room_id = v.room \
      AND n.seq >= v.block * $3 AND n.seq < (v.block + 1) * $3 AND NOT n.deleted ORDER BY n.seq LIMIT $3) m";
const WRITE_BLOCKS_SQL: &str = "\
    INSERT INTO search_blocks (room_id, block, first_at, last_at, signature) \
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::bytea[]) \
    ON CONFLICT (room_id, block) DO UPDATE \
      SET first_at = EXCLUDED.first_at, last_at = EXCLUDED.last_at, signature = EXCLUDED.signature";
const REMOVE_BLOCKS_SQL: &str = "\
    DELETE FROM search_blocks b USING unnest($1::text[], $2::bigint[]) AS v (room, block) \
    WHERE b.room_id = v.room AND b.block = v.block";

/// Writes the blocks that have words, and removes the other ones. Returns the number of messages in all of them.
pub async fn rebuild_blocks(
    transaction: &DatabaseTransaction,
    blocks: &BTreeSet<Block>,
) -> Result<usize, DbErr> {
    let blocks: Vec<&Block> = blocks.iter().collect();
    let mut messages = 0;
    for blocks in blocks.chunks(MAX_BLOCKS_IN_MEMORY) {
        messages += rebuild_chunk(transaction, blocks).await?;
    }
    Ok(messages)
}

async fn rebuild_chunk(transaction: &DatabaseTransaction, blocks: &[&Block]) -> Result<usize, DbErr> {
    let keys =
        |blocks: &[&Block]| [column(blocks, |block| block.room.clone()), column(blocks, |block| block.block)];
    let [rooms, numbers] = keys(blocks);
    let rows = transaction
        .query_all_raw(statement(TEXTS_OF_BLOCKS_SQL, [rooms, numbers, BLOCK_SEQS.into()]))
        .await?;
    let mut contents: BTreeMap<Block, BlockContent> = BTreeMap::new();
    for row in &rows {
        let words = DistinctWords::from_text(&row.try_get_by::<String, _>("content")?);
        if words.is_empty() {
            continue;
        }
        let at: DateTime<Utc> = row.try_get_by("at")?;
        let key = Block { room: row.try_get_by("room_id")?, block: block_of(row.try_get_by("seq")?) };
        let content = contents.entry(key).or_insert_with(|| BlockContent {
            first_at: at,
            last_at: at,
            words: SignatureBuilder::default(),
        });
        (content.first_at, content.last_at) = (content.first_at.min(at), content.last_at.max(at));
        content.words.add(&words);
    }
    let empty: Vec<&Block> = blocks.iter().copied().filter(|block| !contents.contains_key(block)).collect();
    write_rows(transaction, empty.len(), REMOVE_BLOCKS_SQL, keys(&empty)).await?;
    let written: Vec<&Block> = contents.keys().collect();
    let [rooms, numbers] = keys(&written);
    let count = written.len();
    let (first, last): (Vec<_>, Vec<_>) =
        contents.values().map(|content| (content.first_at, content.last_at)).unzip();
    let signatures: Vec<Vec<u8>> = contents.into_values().map(|content| content.words.finish()).collect();
    let values = [rooms, numbers, first.into(), last.into(), signatures.into()];
    write_rows(transaction, count, WRITE_BLOCKS_SQL, values).await?;
    Ok(rows.len())
}
