//! Text processing for search: the words that are indexed and queried, the signatures of blocks, and the snippets of
//! results. Pure. The index, queries and snippets split a text into the same words.

pub mod fold;
pub mod signature;
pub mod snippet;
pub mod words;

/// Number of consecutive seqs of a room in one block. Part of the stored format. With more seqs a search tests fewer
/// blocks, but reads more texts for each block that may contain the words.
pub const BLOCK_SEQS: i64 = 64;

#[must_use]
pub fn block_of(seq: i64) -> i64 {
    seq / BLOCK_SEQS
}

/// The last seq of the last complete block of a log that ends with `head`; -1 if no block is complete.
#[must_use]
pub fn last_complete_seq(head: i64) -> i64 {
    block_of(head + 1) * BLOCK_SEQS - 1
}
