//! Finds the blocks of the search index whose words were folded by an earlier version. The service rebuilds these
//! blocks in the background (docs/decisions/0085-one-folding-for-every-search.md).

use crate::online::Step;

/// The size of a signature tells how its words were folded: `persistence/src/search/signature.rs`. Until a block is
/// rebuilt, a search reads its texts. Nodes of the previous version still write outdated signatures, and the index
/// has them too. When all blocks are rebuilt the index is empty.
pub const UP: &[Step] = &[Step::Index {
    name: "search_blocks_outdated",
    create: "CREATE INDEX CONCURRENTLY search_blocks_outdated ON search_blocks (room_id, block) \
             WHERE octet_length(signature) % 8 = 0",
}];

/// TRUNCATE lets the previous version index all messages again, because it folds some words in another way.
pub const DOWN: &[Step] = &[
    Step::Sql("TRUNCATE search_progress, search_blocks"),
    Step::Sql("DROP INDEX CONCURRENTLY IF EXISTS search_blocks_outdated"),
];
